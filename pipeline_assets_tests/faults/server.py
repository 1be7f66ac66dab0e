"""A server on real sockets whose answers go wrong on their way, each as it is told.

It speaks no HTTP of its own: a fault is the bytes that go over the wire, how fast they go, where
they stop, and how the connection ends.
"""

import asyncio
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from itertools import repeat
from types import TracebackType
from typing import Final, Self

TICK_S: Final = 0.02
"""How often a slow body has its share of the bandwidth."""
RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class Then(StrEnum):
    """What becomes of the connection behind the last byte; kept, it serves the next request."""

    KEEP = "keep"
    CLOSE = "close"
    RESET = "reset"
    HANG = "hang"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """An answer, and what is done to it on its way.

    `sent` gives the answer's pieces anew for each request; there may be no end to them. `latency_s`
    passes before the first; `bytes_per_s` is the bandwidth; after `limit_bytes` nothing more comes.
    None is no limit.
    """

    sent: Callable[[], Iterable[bytes]]
    latency_s: float = 0.0
    bytes_per_s: float | None = None
    limit_bytes: int | None = None
    then: Then = Then.CLOSE


def raw(*pieces: bytes) -> Callable[[], Iterable[bytes]]:
    """Just these pieces."""
    return lambda: pieces


def answer(
    body: Iterable[bytes],
    *headers: str,
    status: str = "200 OK",
    length: int | None = None,
) -> Callable[[], Iterator[bytes]]:
    """A head that declares `length`, if any, and the pieces of a body, whatever their length."""
    declared = () if length is None else (f"Content-Length: {length}",)
    lines = (f"HTTP/1.1 {status}", *headers, *declared, "", "")
    head = "\r\n".join(lines).encode("latin-1")

    def pieces() -> Iterator[bytes]:
        yield head
        yield from body

    return pieces


def sound(body: bytes, *headers: str, status: str = "200 OK") -> Callable[[], Iterator[bytes]]:
    """An answer with nothing wrong about it."""
    return answer([body], *headers, status=status, length=len(body))


@dataclass(frozen=True, slots=True)
class Repeated:
    """The same piece over and over, `times` or for ever, so that a huge body needs no memory."""

    piece: bytes
    times: int | None = None
    first: bytes = b""

    def __iter__(self) -> Iterator[bytes]:
        """What comes first, and the pieces behind it."""
        yield self.first
        yield from repeat(self.piece) if self.times is None else repeat(self.piece, self.times)


class FaultServer:
    """Answers each path by the fault of that name, in a thread of its own.

    `asked` counts requests by name, `requests` all of them; a name that it does not know is closed
    on without an answer.
    """

    def __init__(self, faults: Mapping[str, Fault]) -> None:
        self._faults = faults
        self.asked: Counter[str] = Counter()
        self.requests = 0
        self.port = 0
        self._started = threading.Event()
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    @property
    def host(self) -> str:
        """Its entry for PIPELINE_FETCH_ALLOW."""
        return f"127.0.0.1:{self.port}"

    def url(self, name: str) -> str:
        """The address of a fault."""
        return f"http://{self.host}/{name}"

    def __enter__(self) -> Self:
        """Listen on a free port of loopback."""
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Cut off what is under way."""
        assert self._loop is not None
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._met, "127.0.0.1", 0, backlog=256)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stop.wait()
        server.close()

    async def _met(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A client that has had enough goes away in the middle: that is its right.
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while await self._answered(reader, writer) is Then.KEEP:
                pass
        writer.transport.abort()

    async def _answered(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Then:
        request = await reader.readuntil(b"\r\n\r\n")
        name = request.split(b" ", 2)[1].decode("latin-1").lstrip("/").partition("?")[0]
        self.asked[name] += 1
        self.requests += 1
        fault = self._faults.get(name, Fault(sent=raw()))
        await _send(fault, writer)
        if fault.then is Then.HANG:
            await reader.read()  # until the client gives up
        if fault.then is Then.RESET:
            _linger(writer)
        return fault.then


async def _send(fault: Fault, writer: asyncio.StreamWriter) -> None:
    writer.transport.set_write_buffer_limits(high=0)  # what is drained is with the kernel
    await asyncio.sleep(fault.latency_s)
    for piece in _cut(fault.sent(), fault.limit_bytes):
        if fault.bytes_per_s is None:
            writer.write(piece)
            await writer.drain()
        else:
            await _send_slowly(piece, fault.bytes_per_s, writer)


async def _send_slowly(piece: bytes, bytes_per_s: float, writer: asyncio.StreamWriter) -> None:
    step = max(1, round(bytes_per_s * TICK_S))
    for start in range(0, len(piece), step):
        writer.write(piece[start : start + step])
        await writer.drain()
        await asyncio.sleep(step / bytes_per_s)


def _cut(pieces: Iterable[bytes], limit_bytes: int | None) -> Iterator[bytes]:
    left = limit_bytes
    for piece in pieces:
        if left is None:
            yield piece
            continue
        yield piece[:left]
        left -= len(piece)
        if left <= 0:
            return


def _linger(writer: asyncio.StreamWriter) -> None:
    """Have the next close answer with a reset, where it would say goodbye."""
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)


@contextmanager
def never_accepting(*, full: bool) -> Iterator[str]:
    """A socket that listens and accepts nobody; gives its URL.

    The kernel completes a client's connection all the same, until the queue is `full`: then not
    even that.
    """
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        waiting = [socket.socket() for _ in range(2 if full else 0)]
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        yield f"http://127.0.0.1:{port}/"
        for client in waiting:
            client.close()
