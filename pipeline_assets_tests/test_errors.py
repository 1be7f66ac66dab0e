"""Everything that can go wrong, as types: one class a kind, one place that classifies."""

import errno
import socket
from collections.abc import Iterator
from datetime import timedelta
from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, UnidentifiedImageError

from pipeline_assets.errors import (
    BY_KIND,
    MAX_ERROR_CHARS,
    Blocked,
    CircuitOpen,
    ContractError,
    DataError,
    EngineError,
    ErrorKind,
    FeedError,
    Forbidden,
    Internal,
    InvalidInput,
    LeaseHeld,
    LeaseLost,
    Network,
    NotFound,
    Overloaded,
    PipelineError,
    RateLimited,
    ResourceExhausted,
    RowError,
    SettingsError,
    StorageError,
    Timeout,
    TooLarge,
    TransientError,
    Unavailable,
    Unsupported,
    classify,
    from_http_status,
    keep_secret,
    without_secrets,
)

DATA = {"invalid_input", "not_found", "forbidden", "blocked", "too_large", "unsupported"}
TRANSIENT = {
    "rate_limited",
    "overloaded",
    "timeout",
    "network",
    "resource_exhausted",
    "unavailable",
}
OURS = {"circuit_open", "budget", "upstream", "constraint", "worker_crash", "internal"}
WAITS_FOR_A_CHANGE = {"upstream", "constraint", "worker_crash"}


def leaves(base: type[RowError]) -> Iterator[type[RowError]]:
    """The classes that are raised."""
    for below in base.__subclasses__():
        yield from leaves(below) if below.__subclasses__() else (below,)


def test_every_kind_has_exactly_one_class() -> None:
    """The column's vocabulary and the hierarchy are one."""
    classes = list(leaves(RowError))
    assert sorted(each.kind for each in classes) == sorted(ErrorKind)
    assert {each.kind: each for each in classes} == dict(BY_KIND)
    assert set(ErrorKind) == DATA | TRANSIENT | OURS


@pytest.mark.parametrize("kind", ErrorKind)
def test_terminal_or_transient_is_the_type(kind: ErrorKind) -> None:
    """Retry code asks the type, never the message."""
    error = BY_KIND[kind]("what happened")
    base = DataError if kind in DATA else TransientError if kind in TRANSIENT else EngineError
    assert isinstance(error, base)
    assert error.transient is (kind in TRANSIENT | OURS - WAITS_FOR_A_CHANGE)
    assert (error.kind, error.message, error.retry_after) == (kind, "what happened", None)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (301, InvalidInput),
        (400, InvalidInput),
        (401, Forbidden),
        (403, Forbidden),
        (404, NotFound),
        (405, InvalidInput),
        (408, Timeout),
        (410, NotFound),
        (413, TooLarge),
        (415, Unsupported),
        (418, InvalidInput),
        (422, InvalidInput),
        (425, Overloaded),
        (429, RateLimited),
        (451, Blocked),
        (499, InvalidInput),
        (500, Overloaded),
        (502, Overloaded),
        (503, Overloaded),
        (504, Overloaded),
        (599, Overloaded),
    ],
)
def test_an_http_status_is_classified(status: int, error: type[RowError]) -> None:
    """The message names the request and the answer."""
    found = from_http_status(status, "GET https://shop/a.jpg")
    assert type(found) is error
    assert found.message == f"GET https://shop/a.jpg: the server answered {status}"


@pytest.mark.parametrize("status", [status for status in HTTPStatus if status >= 300])
def test_every_http_status_is_about_the_data_or_can_pass(status: HTTPStatus) -> None:
    """None of them is a bug of ours."""
    assert isinstance(from_http_status(status, "GET"), DataError | TransientError)


def test_a_retry_after_stays_with_its_error() -> None:
    """For the breaker and the row's `retry_at`."""
    error = from_http_status(429, "GET", retry_after=timedelta(seconds=7))
    assert error.retry_after == timedelta(seconds=7)


class OutOfMemoryError(RuntimeError):
    """Named as torch names its own, which this module must not import."""


class CudaOutOfMemoryError(OutOfMemoryError):
    """A class below it."""


class LibraryError(Exception):
    """One that nobody has heard of."""


@pytest.mark.parametrize(
    ("exception", "error"),
    [
        (MemoryError(), ResourceExhausted),
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), ResourceExhausted),
        (CudaOutOfMemoryError("tried to allocate"), ResourceExhausted),
        (RuntimeError("CUDA out of memory"), ResourceExhausted),
        (RuntimeError("CUDA error: out of memory"), ResourceExhausted),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), ResourceExhausted),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), ResourceExhausted),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), ResourceExhausted),
        (RuntimeError("No CUDA GPUs are available"), Unavailable),
        (RuntimeError("Found no NVIDIA driver on your system"), Unavailable),
        (RuntimeError("CUDA error: device-side assert triggered"), Unavailable),
        (TimeoutError(), Timeout),
        (TimeoutError("the read took too long"), Timeout),
        (OSError(errno.ETIMEDOUT, "timed out"), Timeout),
        (ConnectionResetError(errno.ECONNRESET, "reset"), Network),
        (ConnectionRefusedError(), Network),
        (BrokenPipeError(), Network),
        (OSError(errno.EHOSTUNREACH, "No route to host"), Network),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), Network),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), Network),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), Network),
        (UnidentifiedImageError("cannot identify image file"), InvalidInput),
        (Image.DecompressionBombError("exceeds limit"), TooLarge),
        (LibraryError("This model's maximum context length is 8192 tokens"), TooLarge),
        (LibraryError("400 {'error': {'code': 'context_length_exceeded'}}"), TooLarge),
        (LibraryError("prompt is too long: 209353 tokens > 199999 maximum"), TooLarge),
        (LibraryError("input length and `max_tokens` exceed context limit: 9 > 8"), TooLarge),
        (LibraryError("The input token count (9) exceeds the maximum number of tokens"), TooLarge),
        (LibraryError("inputs must have less than 512 tokens. Given: 600"), TooLarge),
        (LibraryError("ValidationException: Input is too long for requested model."), TooLarge),
        (TimeoutError("maximum context length"), Timeout),  # the type comes first
        (LibraryError("Too many tokens, please wait before trying again."), Internal),
        (LibraryError("Rate limit reached: tokens per min: Limit 30000"), Internal),
        (ValueError("out of memory"), Internal),  # the words alone prove nothing
        (RuntimeError("shape mismatch"), Internal),
        (OSError(errno.ENOENT, "No such file"), Internal),
        (LibraryError("?"), Internal),
    ],
)
def test_an_exception_is_classified(exception: Exception, error: type[RowError]) -> None:
    """The message opens with what failed, and keeps the type."""
    found = classify(exception, "cpu_clip")
    assert type(found) is error
    assert found.message.startswith(f"cpu_clip: {type(exception).__name__}")


@pytest.mark.parametrize(
    ("exception", "what", "message"),
    [
        (KeyError("weights"), "cpu_clip", "cpu_clip: KeyError: 'weights'"),
        (MemoryError(), "cpu_clip", "cpu_clip: MemoryError"),
        (LibraryError("line one\nline  two"), "", "LibraryError: line one line two"),
    ],
)
def test_the_message_of_a_classified_exception(
    exception: Exception, what: str, message: str
) -> None:
    """One line, with the type also where the exception says nothing."""
    assert classify(exception, what).message == message


@pytest.mark.parametrize("kind", ErrorKind)
def test_what_is_classified_already_stays_as_it_is(kind: ErrorKind) -> None:
    """The very object."""
    error = BY_KIND[kind]("known")
    assert classify(error, "cpu_clip") is error


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://ann:pw@shop/a.jpg", "https://shop/a.jpg"),
        ("https://ann@shop/a.jpg", "https://shop/a.jpg"),
        ("https://ann:p@ss@w@shop/a.jpg", "https://shop/a.jpg"),
        ("postgresql+psycopg2://u:p%40@db:5432/x", "postgresql+psycopg2://db:5432/x"),
        ("s3://KEY:SECRET@bucket and http://a:b@c", "s3://bucket and http://c"),
        ("https://shop/a?token=abc", "https://shop/a?token=***"),
        ("https://shop/a?x=1&api_key=abc&y=2", "https://shop/a?x=1&api_key=***&y=2"),
        ("/a?X-Amz-Signature=abc", "/a?X-Amz-Signature=***"),
        ("/a?X-Amz-Credential=abc&z=1", "/a?X-Amz-Credential=***&z=1"),
        ("/a?sv=1&sig=a%2Fb%3D&se=2", "/a?sv=1&sig=***&se=2"),
        ("/a?ACCESS_TOKEN=abc", "/a?ACCESS_TOKEN=***"),
        ("/a?a=1;password=abc", "/a?a=1;password=***"),
        ("/a?client-secret=abc def", "/a?client-secret=*** def"),
        ("/a?token=", "/a?token=***"),
        ("/a?page=2&size=3", "/a?page=2&size=3"),
        ("https://shop/@ann/a.jpg", "https://shop/@ann/a.jpg"),
        ("write to ann@shop.example", "write to ann@shop.example"),
        ("token=abc is no query", "token=abc is no query"),
        ("/a?pwd=abc&passwd=abc&db_pass=abc", "/a?pwd=***&passwd=***&db_pass=***"),
        ("/a?auth=abc&jwt=abc&access=abc", "/a?auth=***&jwt=***&access=***"),
        ("/a?access_code=abc&oauth=abc", "/a?access_code=***&oauth=***"),
        ("/a?author=ann&accessories=2", "/a?author=ann&accessories=2"),
        ("//ann:pw@shop/a.jpg", "//shop/a.jpg"),
        ("see (//ann:p/w@shop/a.jpg)", "see (//shop/a.jpg)"),
        ("https://ann:p/w@shop/a.jpg", "https://shop/a.jpg"),
        ("https://ann:p/@w?#@shop/a.jpg and more", "https://shop/a.jpg and more"),
        ("https://ann:pw@shop/@bob/a.jpg", "https://shop/@bob/a.jpg"),
        ("https://medium.com/@user/x", "https://medium.com/@user/x"),
        ("https://h/p?x=a@b", "https://h/p?x=a@b"),
        ("https://h:8080/@user/x?y=a@b", "https://h:8080/@user/x?y=a@b"),
        ("http://[::1]:8080/@user", "http://[::1]:8080/@user"),
        ("//cdn.example/@user/x", "//cdn.example/@user/x"),
        ("https://h//a:b@c", "https://h//a:b@c"),
        ("https://h/a: write to ann@shop.example", "https://h/a: write to ann@shop.example"),
        ("", ""),
    ],
)
def test_secrets_are_taken_out_of_text(text: str, shown: str) -> None:
    """User parts of URLs, and query values whose name sounds secret; nothing else."""
    assert without_secrets(text) == shown


SECRET = st.text("abcXYZ019@:%+-._~!$'()*,", min_size=8, max_size=30)


@given(SECRET, SECRET)
def test_no_user_part_of_a_url_reaches_a_message(user: str, password: str) -> None:
    """Whatever a URL may carry there, also an @."""
    shown = NotFound(f"GET https://{user}:{password}@shop.example/a.jpg?x=1: 404").message
    assert shown == "GET https://shop.example/a.jpg?x=1: 404"


@given(st.sampled_from(["token", "key", "api_key", "signature", "X-Amz-Security-Token"]), SECRET)
def test_no_secret_query_value_reaches_a_message(name: str, secret: str) -> None:
    """Up to the next parameter or the end."""
    shown = NotFound(f"GET https://shop.example/a?w=1&{name}={secret}&h=2").message
    assert shown == f"GET https://shop.example/a?w=1&{name}=***&h=2"


def test_what_is_kept_secret_is_shown_nowhere() -> None:
    """Wherever it turns up as a word of its own; what is too short would hide half of all text."""
    keep_secret(["SEC/RET", "T0/B0/hook", "db", "pass.*word"])
    message = NotFound("SEC/RET of db: POST /T0/B0/hook: SEC/RETS pass.*word passeword").message
    assert message == "*** of db: POST /***: SEC/RETS *** passeword"


@pytest.mark.parametrize(("length", "kept"), [(499, 499), (500, 500), (501, 500), (10_000, 500)])
def test_a_message_is_cut_at_500_characters(length: int, kept: int) -> None:
    """The column holds one sentence."""
    assert len(Internal("x" * length).message) == kept
    assert MAX_ERROR_CHARS == 500


def test_a_secret_that_the_cut_would_halve_is_gone_before() -> None:
    """Secrets go first, then the rest."""
    message = NotFound("x" * 480 + " https://ann:password-of-ann@shop/a.jpg").message
    assert message == "x" * 480 + " https://shop/a.jpg"
    assert "word" not in NotFound("y" * 490 + " ?token=password").message


def test_a_message_can_always_be_stored() -> None:
    """Half a surrogate pair, as broken file names have it, is no UTF-8 and no Arrow string."""
    assert classify(KeyError("weights"), "caf\udce9.jpg").message == "caf?.jpg: KeyError: 'weights'"
    assert NotFound("\ud83d café \N{CHAIR}").message == "? café \N{CHAIR}"


def test_setting_errors_name_field_value_and_what_is_allowed() -> None:
    """Without the password."""
    error = SettingsError("PIPELINE_STATE_URL", "mysql://u:secret@db", "sqlite or postgresql")
    assert str(error) == "PIPELINE_STATE_URL='mysql://db' is not usable: sqlite or postgresql"


@pytest.mark.parametrize(
    ("error", "parts"),
    [
        (
            FeedError("https://u:p@shop/feed.csv", "404"),
            ("'https://shop/feed.csv'", "PIPELINE_FEED", "404"),
        ),
        (ContractError("labels", "a rule", "row 1"), ("labels is not published", "a rule; row 1")),
        (LeaseHeld("labels/h", "run 1", 12.4), ("labels/h", "run 1", "12 s")),
        (LeaseLost("labels/h", 3, 4), ("token 3", "token 4", "not published")),
        (StorageError("/data/x", "disk full"), ("/data/x: disk full", "run again")),
    ],
)
def test_what_ends_a_run_says_what_failed_and_what_to_do(
    error: PipelineError, parts: tuple[str, ...]
) -> None:
    """From typed attributes; none of them is an error of a row."""
    assert all(part in str(error) for part in parts)
    assert not isinstance(error, RowError)


def test_a_breaker_that_is_open_is_transient_but_no_failure_of_the_other_side() -> None:
    """It is ours: the row is retried, the breaker does not hear of it."""
    assert CircuitOpen("open").transient
    assert not isinstance(CircuitOpen("open"), TransientError)


@pytest.mark.parametrize("piece", ["a", "://a:b", "//", "://", "?", "?access_", "x://u:p/"])
def test_a_hostile_text_costs_no_more_than_another(piece: str) -> None:
    """Messages quote strangers."""
    assert without_secrets(piece * (280_000 // len(piece)))
