"""How much is answered at once, how long it may take, and how much may be sent."""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import BoundedSemaphore
from typing import TypeVar

from starlette.requests import Request

from pipeline_assets.serve.errors import Busy, TooLargeBody

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one service takes on. A query's own limits are in `asked`."""

    at_once: int = max(2, os.cpu_count() or 2)
    """Requests that are worked on: as many as there are cores, since a search is all computing. Two
    at a time answered eight clients within 60 ms (p95, two cores), four at a time within 100."""

    waiting: int = 56
    """Requests that wait for those; any more are told to come back."""

    timeout_s: float = 20.0
    body_bytes: int = 10_000_000


DEFAULTS = Limits()


class Work:
    """Threads for what blocks: a bounded number of calls, and a bounded queue before them."""

    def __init__(self, limits: Limits) -> None:
        self._all = limits.at_once + limits.waiting
        self._places = BoundedSemaphore(self._all)
        self._threads = ThreadPoolExecutor(limits.at_once, thread_name_prefix="serve")

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
