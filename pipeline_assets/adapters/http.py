"""Fetching over HTTP: many URLs at once, politely, safely, with one outcome for each."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, Protocol, Self, TypeVar
from weakref import WeakValueDictionary

from pipeline_assets.adapters.addresses import AddressRules, host_of, shown
from pipeline_assets.errors import NotFound, RowError, Timeout, classify

if TYPE_CHECKING:
    from pipeline_assets.adapters.http_request import Answer, Requests, Resolve

T = TypeVar("T")
S_co = TypeVar("S_co", covariant=True)

PER_HOST: Final = 8  # requests in flight to one host: what a browser of the same user would do


@dataclass(frozen=True, slots=True)
class Fetched(Generic[S_co]):
    """A complete body, handed over: `stored` is what the caller's `store` made of it.

    `url` is the final one, after redirects, without user part; `content_type` is as declared.
    """

    url: str
    status: int
    content_type: str | None
    etag: str | None
    last_modified: str | None
    stored: S_co


class Fetcher(Protocol):
    """The seam: `HttpFetcher`, or `FakeFetcher` in tests."""

    def fetch_all(
        self, urls: Sequence[str], store: Callable[[bytes], T]
    ) -> list[Fetched[T] | RowError]:
        """One outcome per URL, in order; `store` gets each body as it arrives."""
        ...


class HttpFetcher:
    """Fetches on one event loop in one thread of its own, so it also works where a loop runs.

    A resource is asked for once; whether again, and when, is the chain's affair. `allow` are the
    entries of PIPELINE_FETCH_ALLOW; `concurrency` bounds requests in flight, of which at most eight
    go to one host; `timeout_s` is the deadline of a resource with its redirects, from when its turn
    comes; `max_bytes` bounds a body; `resolve` takes a name to its addresses, as the system does
    where it is None.
    """

    def __init__(
        self,
        *,
        allow: Sequence[str],
        concurrency: int,
        timeout_s: float,
        max_bytes: int,
        resolve: "Resolve | None" = None,
    ) -> None:
        self._rules = AddressRules(allow)
        self._timeout_s, self._max_bytes, self._resolve = timeout_s, max_bytes, resolve
        self._slots = asyncio.Semaphore(concurrency)
        self._host_slots: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._requests: Requests | None = None
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def fetch_all(
        self, urls: Sequence[str], store: Callable[[bytes], T]
    ) -> list[Fetched[T] | RowError]:
        """One outcome per URL, in order; a URL that is given twice is fetched once.

        `store` is called with each body as it is complete, one at a time, on the fetcher's thread
        while the caller waits. Never raises for a URL; what `store` raises ends the call.
        """
        loop = self._started()
        done = asyncio.run_coroutine_threadsafe(self._fetch_all(urls, store), loop)
        try:
            return done.result()
        except BaseException:
            done.cancel()
            # Once this has run, the cancellation has reached every task: no more `store`.
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result()
            raise

    def close(self) -> None:
        """Close connections and end the thread. Nothing can be fetched afterwards."""
        with self._starting:
            self._closed = True
            if self._loop is None or self._thread is None:
                return
            asyncio.run_coroutine_threadsafe(self._close_requests(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            self._loop = self._thread = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._closed:
                raise RuntimeError("this fetcher is closed")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._loop.run_forever, name="http-fetcher", daemon=True
                )
                self._thread.start()
            return self._loop

    async def _close_requests(self) -> None:
        if self._requests is not None:
            await self._requests.close()

    def _opened(self) -> "Requests":
        if self._requests is None:
            from pipeline_assets.adapters.http_request import (  # noqa: PLC0415 - aiohttp: 0.3 s
                Requests,
            )

            self._requests = Requests(
                self._rules,
                per_host=PER_HOST,
                max_bytes=self._max_bytes,
                resolve=self._resolve,
            )
        return self._requests

    async def _fetch_all(
        self, urls: Sequence[str], store: Callable[[bytes], T]
    ) -> list[Fetched[T] | RowError]:
        self._opened()  # here, so that no resource's deadline pays for it

        def store_or_end(body: bytes) -> T:
            try:
                return store(body)
            except BaseException:
                # At once, or bodies that are complete by now would still be handed over.
                for task in set(tasks.values()) - {asyncio.current_task()}:
                    task.cancel()
                raise

        tasks = {
            url: asyncio.create_task(self._fetch(url, store_or_end)) for url in dict.fromkeys(urls)
        }
        try:
            await asyncio.gather(*tasks.values())
        finally:
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)
        return [tasks[url].result() for url in urls]

    async def _fetch(self, url: str, store: Callable[[bytes], T]) -> Fetched[T] | RowError:
        host_slots = self._host_slots.setdefault(host_of(url), asyncio.Semaphore(PER_HOST))
        # The host's slot first: a slow host then holds no more than its share of all slots.
        async with host_slots, self._slots:
            answer = await self._answer(url)
            if isinstance(answer, RowError):
                return answer
            return Fetched(
                url=answer.url,
                status=answer.status,
                content_type=answer.content_type,
                etag=answer.etag,
                last_modified=answer.last_modified,
                stored=store(answer.body),
            )

    async def _answer(self, url: str) -> "Answer | RowError":
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._opened().get(url)
        except RowError as error:
            # The traceback's frames would keep half-read bodies alive as long as the outcome.
            return _bare(error)
        except TimeoutError:
            return Timeout(f"{shown(url)}: no complete answer within {self._timeout_s:g} s")
        except Exception as error:  # noqa: BLE001 - one URL never ends the others; kept as Internal
            return classify(error, shown(url))


def _bare(error: RowError) -> RowError:
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


class FakeFetcher:
    """Answers from a mapping of URL to body or error; a URL it does not know is `NotFound`.

    `calls` counts how often each URL was asked for.
    """

    def __init__(self, answers: Mapping[str, bytes | RowError]) -> None:
        self._answers = answers
        self.calls: Counter[str] = Counter()

    def fetch_all(
        self, urls: Sequence[str], store: Callable[[bytes], T]
    ) -> list[Fetched[T] | RowError]:
        """As `HttpFetcher.fetch_all`, in order and at once."""
        outcomes = {url: self._fetch(url, store) for url in dict.fromkeys(urls)}
        return [outcomes[url] for url in urls]

    def _fetch(self, url: str, store: Callable[[bytes], T]) -> Fetched[T] | RowError:
        self.calls[url] += 1
        answer = self._answers.get(url, NotFound(f"{shown(url)}: the server answered 404"))
        if isinstance(answer, RowError):
            return answer
        return Fetched(url, 200, None, None, None, store(answer))
