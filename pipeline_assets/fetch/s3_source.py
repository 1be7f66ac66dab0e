"""Fetching `s3://` addresses: objects below the prefixes that may be read, and no others.

The credentials are the platform's own, so an address of a stranger's feed opens what those
prefixes (PIPELINE_FETCH_S3) name and nothing beside them. An address is taken as it is written:
nothing in it is decoded, so nothing can hide in it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, TypeVar

from pipeline_assets.errors import (
    Blocked,
    Forbidden,
    InvalidInput,
    Network,
    NotFound,
    RowError,
    Timeout,
    TooLarge,
    classify,
    from_http_status,
)
from pipeline_assets.fetch.addresses import shown
from pipeline_assets.fetch.fetcher import NOTHING_KNOWN, Fetched, Unchanged
from pipeline_assets.store.bodies import Body, Collected, Spooled
from pipeline_assets.store.s3_storage import reason
from pipeline_assets.store.s3_urls import SCHEME, S3Url
from pipeline_assets.store.validators import Validators

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult
    from obstore.store import S3Store

T = TypeVar("T")

AT_ONCE: Final = 32
"""Requests in flight at most, each in a thread; what a bucket bears is far more."""
CHUNK_BYTES: Final = 1 << 18
_STATUS: Final = re.compile(r"status code: (\d{3})")
_TIMED_OUT: Final = re.compile(r"TimedOut|timed out")


@dataclass(frozen=True, slots=True)
class _Answer:
    """An object: its body, or None where it is the one that is known."""

    body: Body | None
    content_type: str | None
    validators: Validators


class S3Source:
    """Reads objects; `prefixes` are the entries of PIPELINE_FETCH_S3.

    An object is asked for once; whether again, and when, is the chain's affair. `timeout_s` is its
    deadline, from when its turn comes; `max_bytes` bounds it.
    """

    def __init__(
        self, prefixes: Sequence[S3Url], *, concurrency: int, timeout_s: float, max_bytes: int
    ) -> None:
        self._prefixes = prefixes
        self._concurrency = min(concurrency, AT_ONCE)
        self._timeout_s, self._max_bytes = timeout_s, max_bytes

    def fetch_all(
        self,
        urls: Sequence[str],
        store: Callable[[Body], T],
        known: Mapping[str, Validators] = NOTHING_KNOWN,
    ) -> list[Fetched[T] | Unchanged | RowError]:
        """One outcome per address, in order; as `HttpFetcher.fetch_all`."""
        distinct = dict.fromkeys(urls)
        pool = ThreadPoolExecutor(self._concurrency, thread_name_prefix="s3-source")
        try:
            asked = {url: pool.submit(self._answer, url, known.get(url)) for url in distinct}
            outcomes = {url: _outcome(url, answer, store) for url, answer in asked.items()}
        finally:
            pool.shutdown(cancel_futures=True)
        return [outcomes[url] for url in urls]

    def _answer(self, url: str, known: Validators | None) -> _Answer | RowError:
        from obstore.exceptions import BaseError, NotModifiedError  # noqa: PLC0415 - only where used

        try:
            return self._get(url, self._allowed(url), known)
        except NotModifiedError:
            return _Answer(None, None, known or Validators())
        except FileNotFoundError:
            return NotFound(f"{shown(url)}: there is no such object")
        except RowError as error:
            return error
        except BaseError as error:
            return _classified(shown(url), error)
        except Exception as error:  # noqa: BLE001 - one object never ends the others
            return classify(error, shown(url))

    def _allowed(self, url: str) -> S3Url:
        try:
            place = S3Url.parse(url)
        except ValueError as error:
            raise InvalidInput(f"{shown(url)}: {error}") from None
        if not any(prefix.holds(place) for prefix in self._prefixes):
            raise Blocked(
                f"{shown(url)}: it is not below a prefix of PIPELINE_FETCH_S3 "
                f"({', '.join(map(str, self._prefixes)) or 'which is empty'})"
            )
        if not place.key or url.endswith("/"):
            raise InvalidInput(f"{shown(url)}: it names no object")
        return place

    def _get(self, url: str, place: S3Url, known: Validators | None) -> _Answer:
        options: GetOptions = {}
        if known is not None and known.etag is not None:
            options["if_none_match"] = known.etag
        got = self._clients[place.bucket].get(place.key, options=options)
        if got.meta["size"] > self._max_bytes:
            raise TooLarge(f"{shown(url)}: {got.meta['size']} bytes, over {self._max_bytes}")
        modified = f"{got.meta['last_modified']:%a, %d %b %Y %H:%M:%S GMT}"
        content_type = got.attributes.get("Content-Type")
        return _Answer(_body(got), content_type, Validators(got.meta["e_tag"], modified))

    @cached_property
    def _clients(self) -> "dict[str, S3Store]":
        from obstore.store import S3Store  # noqa: PLC0415 - only where there is object storage

        timeout = f"{round(self._timeout_s * 1000)}ms"
        return {
            bucket: S3Store(
                bucket,
                client_options={"allow_http": True, "timeout": timeout},
                # Its own retries would outlast the deadline; the chain's keep the budget.
                retry_config={"max_retries": 0},
            )
            for bucket in {prefix.bucket for prefix in self._prefixes}
        }


def is_s3(url: str) -> bool:
    """Whether an address is for `S3Source`."""
    return url[: len(SCHEME)].lower() == SCHEME


def _outcome(
    url: str, answer: "Future[_Answer | RowError]", store: Callable[[Body], T]
) -> Fetched[T] | Unchanged | RowError:
    got = answer.result()
    if isinstance(got, RowError):
        return got
    if got.body is None:
        return Unchanged(url, got.content_type, got.validators)
    try:
        etag, modified = got.validators.etag, got.validators.last_modified
        return Fetched(url, 200, got.content_type, etag, modified, store(got.body))
    finally:
        if isinstance(got.body, Spooled):
            got.body.close()


def _body(got: "GetResult") -> Body:
    collected = Collected()
    try:
        for chunk in got.stream(min_chunk_size=CHUNK_BYTES):
            collected.add(bytes(chunk))
        return collected.taken()
    finally:
        collected.drop()


def _classified(what: str, error: Exception) -> RowError:
    """The store's refusal as an error of ours; obstore tells most of them apart by text alone."""
    from obstore.exceptions import (  # noqa: PLC0415 - see above
        PermissionDeniedError,
        UnauthenticatedError,
    )

    why = reason(error)
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return Forbidden(f"{what}: the bucket does not let these credentials read it")
    status = _STATUS.search(why)
    if status is not None:
        return from_http_status(int(status[1]), what)
    if _TIMED_OUT.search(str(error)):
        return Timeout(f"{what}: {why}")
    return Network(f"{what}: {why}")
