"""Everything that can go wrong, as types.

    PipelineError
    ├── SettingsError               the start is refused: field, value, what is allowed
    ├── FeedError                   the feed as a whole cannot be read
    │   └── NoFeed                  there is nothing where it should be
    ├── ContractError               a table breaks the contract and is not published
    ├── LeaseLost / LeaseHeld       another run owns this asset and hour
    ├── Overtaken                   another run replaced what this one was to replace
    ├── StorageError                disk full, EIO: what is committed stays
    ├── Interrupted                 somebody stopped a run                      (running)
    ├── RunFailed                   a run of an hour ended with a failed step   (running)
    ├── ModelNotLoaded              a model setting names nothing that loads    (adapters.clip)
    ├── IndexDamaged                the search index cannot be read             (search.errors)
    ├── NotIndexed                  no current item of that id is in the index  (search.errors)
    ├── NoQuery                     a line of a file of queries is none         (search.errors)
    ├── BadRequest · NoItem         the HTTP service is asked for what it has not (serve.errors)
    ├── TooLargeBody · Busy         or for more than it takes on                (serve.errors)
    ├── SuiteError                  a check could not be evaluated              (checks.suites)
    └── RowError                    why one row has no (better) value; also a plain value
        ├── DataError               terminal: trying again cannot help
        │   ├── InvalidInput · NotFound · Forbidden · Blocked · TooLarge · Unsupported
        ├── TransientError          trying again, later, can help
        │   ├── RateLimited · Overloaded · Timeout · Network
        │   └── ResourceExhausted · Unavailable
        └── EngineError             decided by the platform itself
            └── CircuitOpen · OverBudget · UpstreamMissing · ConstraintBroken
                WorkerCrash · Internal

Retry code asks for the type, never for the message. `classify` and `from_http_status` are the
only two places where the outside world's failures become these types.
"""

import asyncio
import errno
import re
import socket
from collections.abc import Iterable, Mapping
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import ClassVar

MAX_ERROR_CHARS = 500
# A user part ends at the last @ before the path. Without a scheme it needs a colon; with a slash
# in the password also, and what follows the colon must be no port.
_CREDENTIALS = re.compile(
    r"(?P<start>://)[^/\s?#]*@"
    r"|(?P<bare>(?<![\w:/.-])//)[^/\s?#@:]*:[^/\s?#]*@"
    r"|(?P<slashed>(?:(?<=:)|(?<![\w:/.-]))//)"
    r"[^/\s?#@:\[]*:(?!\d{0,5}(?:[/?#]|$))\S{0,500}@"
)
_SECRET_QUERY = re.compile(
    r"(?i)(?P<name>[?&;#](?:[\w-]*(?:token|key|secret|pass|password|passwd|passphrase|pwd|signature"
    r"|sig|credential|credentials|auth|authorization|jwt|access|access[_-][\w-]{1,30}))=)[^&\s]*"
)


class ErrorKind(StrEnum):
    """Why a row has no value, or no better one. The vocabulary of the column `error_kind`."""

    INVALID_INPUT = "invalid_input"
    NOT_FOUND = "not_found"
    FORBIDDEN = "forbidden"
    BLOCKED = "blocked"
    TOO_LARGE = "too_large"
    UNSUPPORTED = "unsupported"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    TIMEOUT = "timeout"
    NETWORK = "network"
    RESOURCE_EXHAUSTED = "resource_exhausted"
    UNAVAILABLE = "unavailable"
    CIRCUIT_OPEN = "circuit_open"
    BUDGET = "budget"
    UPSTREAM = "upstream"
    CONSTRAINT = "constraint"
    WORKER_CRASH = "worker_crash"
    INTERNAL = "internal"


def _storable(text: str) -> str:
    """`text` without lone surrogates, as broken file names have them: they are no UTF-8."""
    return text.encode("utf-8", "replace").decode()


_KEPT: set[str] = set()
SHORTEST_SECRET = 4
"""What is shorter is in half of all sentences, and hidden by where it stands alone."""


def keep_secret(values: Iterable[str]) -> None:
    """Have `without_secrets` hide these for the life of this process, wherever they turn up."""
    _KEPT.update(value for value in values if len(value) >= SHORTEST_SECRET)


def without_secrets(text: str) -> str:
    """`text` without what is kept secret, the user part of URLs, and what secret names have."""
    for secret in sorted(_KEPT, key=len, reverse=True):
        if secret in text:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "***", text)
    return _SECRET_QUERY.sub(r"\g<name>***", _CREDENTIALS.sub(_start_of_url, text))


def _start_of_url(credentials: re.Match[str]) -> str:
    return "://" if credentials["start"] else "//"


def _restored(
    cls: type["PipelineError"], args: tuple[object, ...], attributes: dict[str, object]
) -> "PipelineError":
    error = cls.__new__(cls, *args)
    error.__dict__.update(attributes)
    return error


class PipelineError(Exception):
    """Base of every error that the platform raises on purpose."""

    def __reduce__(self) -> tuple[object, ...]:
        """Errors cross from workers whole, though their message is made from other arguments."""
        return _restored, (type(self), self.args, self.__dict__)


class SettingsError(PipelineError):
    """A setting is wrong. Names the field, the value and what is allowed."""

    def __init__(self, field: str, value: object, allowed: str) -> None:
        self.field, self.value, self.allowed = field, value, allowed
        super().__init__(f"{field}={without_secrets(str(value))!r} is not usable: {allowed}")


class FeedError(PipelineError):
    """The feed as a whole cannot be read; no item of it is known."""

    def __init__(self, source: str, reason: str) -> None:
        self.source, self.reason = without_secrets(source), reason
        super().__init__(f"cannot read the feed {self.source!r} (PIPELINE_FEED): {reason}")


class NoFeed(FeedError):
    """There is nothing where the feed should be; it may be on its way."""


class ContractError(PipelineError):
    """A table that breaks the contract's structure; it is not published, the old one stays."""

    def __init__(self, table: str, rule: str, example: str) -> None:
        self.table, self.rule, self.example = table, rule, example
        super().__init__(f"{table} is not published, the previous table stays: {rule}; {example}")


class LeaseHeld(PipelineError):
    """Another run is writing this asset and hour."""

    def __init__(self, name: str, owner: str, seconds_left: float) -> None:
        self.name, self.owner, self.seconds_left = name, owner, seconds_left
        super().__init__(
            f"{name} is being written by {owner}; its lease ends in {seconds_left:.0f} s unless "
            "renewed. Wait for that run, or end it and try again."
        )


class LeaseLost(PipelineError):
    """This run slept past its lease; a successor owns the partition and nothing was written."""

    def __init__(self, name: str, token: int, current: int) -> None:
        self.name, self.token, self.current = name, token, current
        super().__init__(
            f"{name}: this run's lease (token {token}) was taken over (token {current}); its "
            "result was not published. The successor's result stands; nothing to do."
        )


class Overtaken(PipelineError):
    """Another writer replaced an object after this one had looked at it; nothing was written."""

    def __init__(self, url: str) -> None:
        self.url = url
        super().__init__(
            f"{url} was replaced by another run after this one had begun; this one's result was "
            "not published, and that one's stands. Run it again: it goes on from what stands."
        )


class StorageError(PipelineError):
    """The disk refused (full, I/O error). What was committed stays; a rerun goes on from there."""

    def __init__(
        self, path: str, reason: str, mend: str = "free some space or mend the disk"
    ) -> None:
        self.path, self.reason = path, reason
        super().__init__(
            f"cannot write {path}: {reason}. Committed rows are safe; {mend} and run again: it "
            "goes on from there."
        )


class RowError(PipelineError):
    """Why one row has no value, or no better one. Raised for a whole call, returned for a row.

    `message` is one sentence for the reader at 3 am; it is cut at 500 characters and freed of
    secrets. `retry_after` is what the other side asked for, if it did.
    """

    kind: ClassVar[ErrorKind]
    transient: ClassVar[bool] = False

    def __init__(self, message: str, *, retry_after: timedelta | None = None) -> None:
        self.retry_after = retry_after
        sentence = " ".join(_storable(message).split())
        super().__init__(without_secrets(sentence)[:MAX_ERROR_CHARS])

    @property
    def message(self) -> str:
        """The sentence in the column `error`."""
        return str(self)


class DataError(RowError):
    """The input itself is at fault: trying again cannot help."""


class TransientError(RowError):
    """Circumstances are at fault: trying again later can help."""

    transient = True


class EngineError(RowError):
    """Decided by the platform itself, without asking the outside."""


class InvalidInput(DataError):
    """The bytes or values are not what they should be."""

    kind = ErrorKind.INVALID_INPUT


class NotFound(DataError):
    """There is nothing at that address."""

    kind = ErrorKind.NOT_FOUND


class Forbidden(DataError):
    """The other side does not want us to have it."""

    kind = ErrorKind.FORBIDDEN


class Blocked(DataError):
    """We may not have it: our own safety rules, the law, or a wish to be kept out of AI."""

    kind = ErrorKind.BLOCKED


class TooLarge(DataError):
    """Over a size, pixel or token limit."""

    kind = ErrorKind.TOO_LARGE


class Unsupported(DataError):
    """A format or a thing that no rung can handle."""

    kind = ErrorKind.UNSUPPORTED


class RateLimited(TransientError):
    """Asked to slow down."""

    kind = ErrorKind.RATE_LIMITED


class Overloaded(TransientError):
    """The other side is failing (5xx)."""

    kind = ErrorKind.OVERLOADED


class Timeout(TransientError):
    """No answer before the deadline."""

    kind = ErrorKind.TIMEOUT


class Network(TransientError):
    """Connection, name resolution or transport failure."""

    kind = ErrorKind.NETWORK


class ResourceExhausted(TransientError):
    """Out of memory, on the accelerator or the host."""

    kind = ErrorKind.RESOURCE_EXHAUSTED


class Unavailable(TransientError):
    """The accelerator, or another thing a rung needs, is not there or not healthy."""

    kind = ErrorKind.UNAVAILABLE


class CircuitOpen(EngineError):
    """The breaker of this rung is open: no call was made."""

    kind = ErrorKind.CIRCUIT_OPEN
    transient = True


class OverBudget(EngineError):
    """The retry or spend budget of this stage is used up for now."""

    kind = ErrorKind.BUDGET
    transient = True


class UpstreamMissing(EngineError):
    """An upstream stage has nothing to give; this changes when the upstream row does."""

    kind = ErrorKind.UPSTREAM


class ConstraintBroken(EngineError):
    """The rung's value would not agree with what another stage chose."""

    kind = ErrorKind.CONSTRAINT


class WorkerCrash(EngineError):
    """The row killed its worker again and again, as seen by a live supervisor: a dead letter."""

    kind = ErrorKind.WORKER_CRASH


class Internal(EngineError):
    """An unclassified exception: a bug until shown otherwise. Names the type."""

    kind = ErrorKind.INTERNAL
    transient = True


def _leaves(base: type[RowError]) -> list[type[RowError]]:
    below = base.__subclasses__()
    return [leaf for child in below for leaf in _leaves(child)] if below else [base]


BY_KIND: Mapping[ErrorKind, type[RowError]] = MappingProxyType(
    {leaf.kind: leaf for leaf in _leaves(RowError)}
)

_BY_STATUS: Mapping[int, type[RowError]] = MappingProxyType(
    {
        400: InvalidInput,
        401: Forbidden,
        403: Forbidden,
        404: NotFound,
        408: Timeout,
        410: NotFound,
        413: TooLarge,
        415: Unsupported,
        422: InvalidInput,
        425: Overloaded,
        429: RateLimited,
        451: Blocked,
    }
)


def from_http_status(status: int, what: str, *, retry_after: timedelta | None = None) -> RowError:
    """The error that an HTTP answer of 300 or more stands for; `what` names the request."""
    if status in _BY_STATUS:
        error = _BY_STATUS[status]
    elif status >= 500:
        error = Overloaded
    else:
        error = InvalidInput
    return error(f"{what}: the server answered {status}", retry_after=retry_after)


# Types of optional packages are recognised by name, so that this module imports none of them.
_BY_TYPE_NAME: Mapping[str, type[RowError]] = MappingProxyType(
    {
        "OutOfMemoryError": ResourceExhausted,  # torch.OutOfMemoryError, torch.cuda.…
        "DecompressionBombError": TooLarge,
        "DecompressionBombWarning": TooLarge,
        "UnidentifiedImageError": InvalidInput,
    }
)
_OUT_OF_MEMORY = re.compile(r"(?i)out of memory|can't allocate memory|CUBLAS_STATUS_ALLOC_FAILED")
_NO_DEVICE = re.compile(
    r"(?i)no CUDA GPUs|no NVIDIA driver|device-side assert|CUDA error|NVML|cuda driver"
)
_CONTEXT_LOST = re.compile(
    r"(?i)device-side assert|illegal (?:memory access|instruction|address)|misaligned address"
    r"|unspecified launch failure|hardware stack error|uncorrectable ECC|launch timed out"
)
# As providers and model servers word it. Not "too many tokens": so do some of them throttle.
_TOKEN_LIMIT = re.compile(
    r"(?i)context_length_exceeded|maximum context length|exceeds? (?:the )?context limit"
    r"|(?:prompt|input) is too long|exceeds the maximum number of tokens"
    r"|must have less than \d+ tokens"
)
_BY_ERRNO: Mapping[int | None, type[RowError]] = MappingProxyType(
    {
        errno.ECONNREFUSED: Network,
        errno.ECONNRESET: Network,
        errno.EHOSTUNREACH: Network,
        errno.ENETUNREACH: Network,
        errno.EPIPE: Network,
        errno.ENOMEM: ResourceExhausted,
    }
)


def classify(error: BaseException, what: str = "") -> RowError:
    """The `RowError` that an exception stands for; anything unknown is `Internal` with its type.

    `what` names the thing that failed and opens the message.
    """
    if isinstance(error, RowError):
        return error
    return _kind_of(error)(f"{what + ': ' if what else ''}{_describe(error)}")


def is_context_lost(error: BaseException) -> bool:
    """Whether a CUDA error is sticky: every later call of this process would fail likewise."""
    return (
        isinstance(error, RuntimeError)
        and "CUDA" in str(error)
        and _CONTEXT_LOST.search(str(error)) is not None
    )


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _kind_of(error: BaseException) -> type[RowError]:
    if isinstance(error, MemoryError):
        return ResourceExhausted
    for cls in type(error).__mro__:
        if cls.__name__ in _BY_TYPE_NAME:
            return _BY_TYPE_NAME[cls.__name__]
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        return Timeout
    if isinstance(error, ConnectionError | socket.gaierror):
        return Network
    if isinstance(error, OSError) and error.errno in _BY_ERRNO:
        return _BY_ERRNO[error.errno]
    return _kind_of_words(error)


def _kind_of_words(error: BaseException) -> type[RowError]:
    words = str(error)
    if isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(words):
        return ResourceExhausted
    if isinstance(error, RuntimeError) and _NO_DEVICE.search(words):
        return Unavailable
    if _TOKEN_LIMIT.search(words):  # of any type: each provider's package has its own
        return TooLarge
    return Internal
