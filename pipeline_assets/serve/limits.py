"""How much is answered at once, how long it may take, and how much may be sent."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import BoundedSemaphore
from typing import TypeVar

from starlette.requests import Request

from pipeline_assets.serve.errors import Busy, TooLargeBody
from pipeline_assets.store.processes import available_cores

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ServiceLimits:
    """What one service takes on. A query's own limits are in `asked`."""

    at_once: int = field(default_factory=lambda: max(2, available_cores()))
    """Requests that are worked on: as many as there are cores for this process, since a search is
    all computing. Two at a time answered eight clients within 60 ms (p95, two cores), four at a
    time within 100."""

    beside: int = 2
    """Requests beside those, of operations that compute next to nothing. Whether the service is
    well must be answered while searches have every core, or it is taken for dead and started again;
    and such an operation, which mostly waits for a database, must not take a search's place."""

    waiting: int = 56
    """Requests that wait for either; any more are told to come back."""

    timeout_s: float = 20.0
    body_bytes: int = 10_000_000


DEFAULTS = ServiceLimits()


class WorkPool:
    """Two lanes for what blocks: one for what computes, and one beside it for what is cheap."""

    def __init__(self, limits: ServiceLimits) -> None:
        self._computing = _Lane(limits.at_once, limits.waiting)
        self._beside = _Lane(limits.beside, limits.waiting)

    async def do(self, call: Callable[[], T], *, beside: bool = False) -> T:
        """What the call gives. Raises `Busy` where nobody may wait in its lane any more."""
        return await (self._beside if beside else self._computing).do(call)

    def close(self) -> None:
        """Begin nothing new; what runs is waited for by nobody."""
        self._computing.close()
        self._beside.close()


class _Lane:
    """Threads: a bounded number of calls, and a bounded queue before them."""

    def __init__(self, at_once: int, waiting: int) -> None:
        self._all = at_once + waiting
        self._places = BoundedSemaphore(self._all)
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="serve")

    async def do(self, call: Callable[[], T]) -> T:
        """What the call gives. Raises `Busy` where nobody may wait any more.

        A call that nobody waits for any more keeps its place until it has ended.
        """
        if not self._places.acquire(blocking=False):
            raise Busy(self._all)
        future = self._threads.submit(call)
        future.add_done_callback(lambda _ended: self._places.release())
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Begin nothing new; what runs is waited for by nobody."""
        self._threads.shutdown(wait=False, cancel_futures=True)


async def body_of(request: Request, limit_bytes: int) -> bytes:
    """The body of a request. Raises `TooLargeBody` as soon as it is known to be."""
    said = request.headers.get("content-length", "")
    if said.isdecimal() and int(said) > limit_bytes:
        raise TooLargeBody(limit_bytes)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit_bytes:
            raise TooLargeBody(limit_bytes)
    return bytes(body)
