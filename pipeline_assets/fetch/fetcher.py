"""Fetching over HTTP: many URLs at once, politely, safely, with one outcome for each."""

import asyncio
import threading
from collections import deque
from collections.abc import (
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
    Mapping,
    Sequence,
)
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Generic, Self, TypeVar

from pipeline_assets.errors import RowError, StorageError, Timeout, classify
from pipeline_assets.fetch.addresses import AddressRules, host_of, is_host, shown
from pipeline_assets.fetch.rates import Rates, Unlimited
from pipeline_assets.fetch.turns import Turns
from pipeline_assets.store.bodies import Body, Spooled
from pipeline_assets.store.validators import Validators

if TYPE_CHECKING:
    from pipeline_assets.fetch.request import Requests, Resolve, Response

T = TypeVar("T")
S_co = TypeVar("S_co", covariant=True)

PER_HOST: Final = 8  # requests in flight to one host: what a browser of the same user would do
PROCESSES: Final = 4
"""That share an hour's fetching. More hosts at a time in each are worth more than more of them."""
NOTHING_KNOWN: Final[Mapping[str, Validators]] = {}


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


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The server says that the bytes that its validators name are still the ones."""

    url: str
    content_type: str | None
    validators: Validators


@dataclass(slots=True)
class _Call(Generic[T]):
    """One call of `fetch_all`: what it was given, and what has come of it so far."""

    store: Callable[[Body], T]
    known: Mapping[str, Validators]
    outcomes: dict[str, Fetched[T] | Unchanged | RowError] = field(default_factory=dict)
    ended: bool = False

    def stored(self, body: Body) -> T:
        """Hand a body over, unless that has failed before."""
        if self.ended:
            raise asyncio.CancelledError
        try:
            return self.store(body)
        except BaseException:
            # At once, or bodies that are complete by now would still be handed over.
            self.ended = True
            raise


class HttpFetcher:
    """Fetches on one event loop in one thread of its own, so it also works where a loop runs.

    A resource is asked for once; whether again, and when, is the chain's affair. `allow` are the
    entries of PIPELINE_FETCH_ALLOW; `concurrency` bounds requests in flight, of which at most
    `per_host` go to one host; `timeout_s` is the deadline of a resource with its redirects, from
    when its turn comes; `max_bytes` bounds a body. `rates` is what all processes keep to together;
    `contact` says in each request where we can be found; with `honour_opt_out`, what asks to be
    kept out of AI is `Forbidden`. `resolve` takes a name to its addresses, as the system does where
    it is None.
    """

    def __init__(  # noqa: PLR0913 - each is a setting
        self,
        *,
        allow: Sequence[str],
        concurrency: int,
        timeout_s: float,
        max_bytes: int,
        per_host: int = PER_HOST,
        rates: Rates | None = None,
        contact: str = "",
        honour_opt_out: bool = True,
        resolve: "Resolve | None" = None,
    ) -> None:
        self._addresses = AddressRules(allow)
        self._concurrency, self._per_host = concurrency, per_host
        self._timeout_s, self._max_bytes = timeout_s, max_bytes
        self._contact, self._honour_opt_out = contact, honour_opt_out
        self._resolve = resolve
        self._slots = asyncio.Semaphore(concurrency)
        self._turns = Turns(Unlimited() if rates is None else rates)
        self._requests: Requests | None = None
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def fetch_all(
        self,
        urls: Sequence[str],
        store: Callable[[Body], T],
        known: Mapping[str, Validators] = NOTHING_KNOWN,
    ) -> list[Fetched[T] | Unchanged | RowError]:
        """One outcome per URL, in order; a URL that is given twice is fetched once.

        `store` is called with each body as it is complete, one at a time, on the fetcher's thread
        while the caller waits; a spooled one is dropped behind it. A URL in `known` is asked for
        only if it has changed. Never raises for a URL; what `store` raises ends the call.
        """
        loop = self._started()
        done = asyncio.run_coroutine_threadsafe(self._fetch_all(urls, _Call(store, known)), loop)
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
                # Names are resolved there: one that takes long must not keep others waiting.
                self._loop.set_default_executor(
                    ThreadPoolExecutor(self._concurrency, thread_name_prefix="http-fetcher")
                )
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
            from pipeline_assets.fetch.request import (  # noqa: PLC0415 - aiohttp: 0.3 s
                RequestRules,
                Requests,
            )

            self._requests = Requests(
                RequestRules(
                    addresses=self._addresses,
                    per_host=self._per_host,
                    timeout_s=self._timeout_s,
                    max_bytes=self._max_bytes,
                    contact=self._contact,
                    honour_opt_out=self._honour_opt_out,
                    resolve=self._resolve,
                )
            )
        return self._requests

    async def _fetch_all(
        self, urls: Sequence[str], call: _Call[T]
    ) -> list[Fetched[T] | Unchanged | RowError]:
        self._opened()  # here, so that no resource's deadline pays for it
        lanes: dict[str, deque[str]] = {}
        for url in dict.fromkeys(urls):
            lanes.setdefault(host_of(url), deque()).append(url)
        await self._turns.begin(lanes.keys())
        async with _all_of(
            self._ask(host, lane, call)
            for host, lane in lanes.items()
            for _ in range(min(self._per_host, len(lane)))
        ) as asking:
            looking = asyncio.create_task(self._turns.keep_looking())
            try:
                await asyncio.gather(*asking)
            finally:
                looking.cancel()
        return [call.outcomes[url] for url in urls]

    async def _ask(self, host: str, lane: deque[str], call: _Call[T]) -> None:
        """Take one URL after the other from a host's lane; so many of these are in flight to it."""
        while lane:
            turn = await self._turns.wait(host, len(lane)) if is_host(host) else 0.0
            if isinstance(turn, RowError):
                _answer_all(lane, call, turn)
                return
            # The turn first: a slow host then holds no more than its share of all slots.
            async with self._slots:
                if lane and (not is_host(host) or self._turns.has(host, turn)):
                    url = lane.popleft()
                    call.outcomes[url] = await self._fetch(url, call)

    async def _fetch(self, url: str, call: _Call[T]) -> Fetched[T] | Unchanged | RowError:
        answer = await self._answer(url, call.known.get(url))
        if isinstance(answer, RowError):
            return answer
        if answer.body is None:
            validators = Validators(answer.etag, answer.last_modified, answer.url)
            return Unchanged(answer.url, answer.content_type, validators)
        try:
            return Fetched(
                url=answer.url,
                status=answer.status,
                content_type=answer.content_type,
                etag=answer.etag,
                last_modified=answer.last_modified,
                stored=call.stored(answer.body),
            )
        finally:
            if isinstance(answer.body, Spooled):
                answer.body.close()

    async def _answer(self, url: str, known: Validators | None) -> "Response | RowError":
        try:
            async with asyncio.timeout(self._timeout_s) as deadline:
                return await self._opened().get(url, known, _Visit(self._turns, deadline))
        except RowError as error:
            # The traceback's frames would keep half-read bodies alive as long as the outcome.
            return _bare(error)
        except StorageError:  # our own disk, not the URL's doing
            raise
        except TimeoutError:
            return Timeout(f"{shown(url)}: no complete answer within {self._timeout_s:g} s")
        except Exception as error:  # noqa: BLE001 - one URL never ends the others; kept as Internal
            return classify(error, shown(url))


@dataclass(frozen=True, slots=True)
class _Visit:
    """What hosts are owed while one resource is fetched; its deadline stands still meanwhile."""

    turns: Turns
    deadline: asyncio.Timeout

    async def may_ask(self, host: str) -> None:
        """Wait for a turn of the host to which a redirect leads."""
        async with self._standing_still():
            turn = await self.turns.wait(host, 1)
        if isinstance(turn, RowError):
            raise turn

    async def leave_alone(self, host: str, wait: timedelta, why: str) -> None:
        """A host asked for it."""
        async with self._standing_still():
            await self.turns.leave_alone(host, wait, why)

    @asynccontextmanager
    async def _standing_still(self) -> AsyncIterator[None]:
        now, due = asyncio.get_running_loop().time, self.deadline.when()
        began = now()
        self.deadline.reschedule(None)
        try:
            yield
        finally:
            if due is not None:
                self.deadline.reschedule(due + now() - began)


def _answer_all(lane: deque[str], call: _Call[T], refusal: RowError) -> None:
    """No call is made for what is left of a host's lane."""
    while lane:
        url = lane.popleft()
        call.outcomes[url] = type(refusal)(
            f"{shown(url)}: {refusal.message}", retry_after=refusal.retry_after
        )


@asynccontextmanager
async def _all_of(
    coroutines: Iterable[Coroutine[None, None, None]],
) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Tasks that do not outlive the block: the first failure ends the others at once."""
    tasks = [asyncio.create_task(each) for each in coroutines]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _bare(error: RowError) -> RowError:
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
