"""`s3://` addresses of items, from a real S3 server on loopback, and from some that misbehave."""

import http.server
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pipeline_assets.errors import (
    Blocked,
    Forbidden,
    InvalidInput,
    Network,
    NotFound,
    Overloaded,
    RateLimited,
    RowError,
    Timeout,
    TooLarge,
)
from pipeline_assets.fetch.addresses import host_of
from pipeline_assets.fetch.fetcher import Fetched, Unchanged
from pipeline_assets.fetch.s3_source import S3Source
from pipeline_assets.store.bodies import IN_MEMORY_BYTES, Body, Spooled
from pipeline_assets.store.s3_storage import bucket
from pipeline_assets.store.s3_urls import S3Url
from pipeline_assets.store.validators import Validators
from pipeline_assets_tests.s3 import BUCKET, S3Server

MAX_BYTES = 2 * IN_MEMORY_BYTES


@pytest.fixture
def goods(s3: S3Server) -> S3Url:
    """A prefix with an object, and another prefix beside it whose name begins alike."""
    prefix = s3.root()
    bucket(BUCKET).put(
        f"{prefix.key}/a/shirt.jpg", b"a shirt", attributes={"Content-Type": "image/jpeg"}
    )
    bucket(BUCKET).put(f"{prefix.key}/ab/secret", b"secret")
    return prefix / "a"


def source(*prefixes: S3Url, timeout_s: float = 5.0) -> S3Source:
    """What reads below these prefixes."""
    return S3Source(prefixes, concurrency=4, timeout_s=timeout_s, max_bytes=MAX_BYTES)


def stored(body: Body) -> bytes:
    """All of it."""
    return b"".join(body.chunks()) if isinstance(body, Spooled) else body


def ask(url: object, opened: S3Source) -> Fetched[bytes] | Unchanged | RowError:
    """What comes of one address."""
    (outcome,) = opened.fetch_all([str(url)], stored)
    return outcome


def test_an_object_is_fetched_with_what_is_known_of_it(goods: S3Url) -> None:
    """And not again while it is the same."""
    got = ask(goods / "shirt.jpg", source(goods))
    assert isinstance(got, Fetched)
    assert (got.stored, got.content_type, got.status) == (b"a shirt", "image/jpeg", 200)
    assert got.url == str(goods / "shirt.jpg")
    assert got.last_modified is not None
    assert got.last_modified.endswith(" GMT")
    known = {got.url: Validators(got.etag, got.last_modified)}
    (again,) = source(goods).fetch_all([got.url], stored, known)
    assert isinstance(again, Unchanged)
    assert again.validators.etag == got.etag
    bucket(BUCKET).put((goods / "shirt.jpg").key, b"another shirt")
    (changed,) = source(goods).fetch_all([got.url], stored, known)
    assert isinstance(changed, Fetched)
    assert changed.stored == b"another shirt"


def test_outcomes_are_in_order_and_one_does_not_end_the_others(goods: S3Url) -> None:
    """An address that is given twice is asked for once."""
    urls = [f"{goods}/{name}" for name in ("shirt.jpg", "gone", "shirt.jpg", "../ab/secret")]
    handed: list[Body] = []

    def store(body: Body) -> int:
        handed.append(body)
        return len(handed)

    outcomes = source(goods).fetch_all(urls, store)
    assert [type(each) for each in outcomes] == [Fetched, NotFound, Fetched, InvalidInput]
    assert handed == [b"a shirt"]


def test_what_store_raises_ends_the_call(goods: S3Url) -> None:
    """A disk that is full is nobody's row error."""

    def full(_body: Body) -> None:
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        source(goods).fetch_all([f"{goods}/shirt.jpg"], full)


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("s3://{bucket}/{prefix}b/secret", Blocked),
        ("s3://{bucket}/", Blocked),
        ("s3://{bucket}", Blocked),
        ("s3://{bucket}-2/{prefix}/shirt.jpg", Blocked),
        ("s3://{bucket}/{prefix}%2f..%2fab/secret", Blocked),
        ("s3://{bucket}/{prefix}/%2e%2e/ab/secret", NotFound),
        ("s3://{bucket}/{prefix}/../ab/secret", InvalidInput),
        ("s3://{bucket}/{prefix}/./shirt.jpg", InvalidInput),
        ("s3://{bucket}/{prefix}//shirt.jpg", InvalidInput),
        ("s3://{bucket}/{prefix}/shirt.jpg/", InvalidInput),
        ("s3://{bucket}/{prefix}", NotFound),
        ("s3://{bucket}/{prefix}/shirt.jpg?versionId=1", NotFound),
        ("s3://user:secret@{bucket}/{prefix}/shirt.jpg", InvalidInput),
        ("S3://{bucket}/{prefix}/shirt.jpg", InvalidInput),
    ],
)
def test_only_what_lies_below_a_prefix_is_read(
    goods: S3Url, address: str, kind: type[RowError]
) -> None:
    """Whatever the address looks like; no secret is in the message."""
    got = ask(address.format(bucket=goods.bucket, prefix=goods.key), source(goods))
    assert type(got) is kind
    assert "user:secret" not in str(got)


def test_without_a_prefix_nothing_is_read(goods: S3Url) -> None:
    """And the setting is named."""
    got = ask(goods / "shirt.jpg", source())
    assert isinstance(got, Blocked)
    assert "PIPELINE_FETCH_S3 (which is empty)" in got.message


def test_an_object_over_the_limit_is_too_large(goods: S3Url) -> None:
    """A large one below it goes through a file."""
    for name, size in (("large", MAX_BYTES), ("larger", MAX_BYTES + 1)):
        bucket(BUCKET).put((goods / name).key, bytes(size))
    large = ask(goods / "large", source(goods))
    assert isinstance(large, Fetched)
    assert large.stored == bytes(MAX_BYTES)
    assert isinstance(ask(goods / "larger", source(goods)), TooLarge)


def test_a_bucket_that_is_not_there_is_not_found(s3: S3Server) -> None:
    """As an object that is not."""
    assert s3.endpoint
    assert isinstance(ask("s3://no-such-bucket/a", source(S3Url("no-such-bucket"))), NotFound)


@contextmanager
def answering(status: int) -> Iterator[str]:
    """A server that answers every request with one status."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_message: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "kind"),
    [(403, Forbidden), (401, Forbidden), (429, RateLimited), (500, Overloaded), (503, Overloaded)],
)
def test_a_refusal_is_classified(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch, status: int, kind: type[RowError]
) -> None:
    """By its status; it is asked for once, since trying again is the chain's affair."""
    assert s3.endpoint
    with answering(status) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        assert type(ask("s3://bucket/a", source(S3Url("bucket")))) is kind


def test_a_server_that_does_not_answer_is_a_timeout_and_none_at_all_a_network_error(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each ends by itself."""
    assert s3.endpoint
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        assert type(ask("s3://bucket/a", source(S3Url("bucket"), timeout_s=0.2))) is Timeout
    assert type(ask("s3://bucket/a", source(S3Url("bucket")))) is Network


def test_its_breaker_is_the_buckets() -> None:
    """One bucket that is down says nothing of another."""
    assert host_of("s3://my-bucket/a/b.jpg") == "my-bucket"
