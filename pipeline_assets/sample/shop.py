"""A real HTTP server on loopback that serves the sample shop, and misbehaves where asked.

`python -m pipeline_assets.sample.shop --port 8700`, or in a test `with Shop() as shop: shop.url`.
It keeps nothing: the code in an address settles what is served (see codes.py), and a prefix such
as /fault/404 settles how (see faults.py).
"""

import argparse
import asyncio
import hashlib
import threading
from collections import Counter
from functools import lru_cache
from pathlib import PurePosixPath
from types import TracebackType
from typing import Final, Self

from aiohttp import web

from pipeline_assets.sample.codes import decode
from pipeline_assets.sample.documents import html_page, pdf_document
from pipeline_assets.sample.drawing import Subject, draw_jpeg
from pipeline_assets.sample.faults import Reply, split_fault, spoil

_CACHED_REPLIES: Final = 512  # some 4 MB of pictures
_SLOW_PIECES: Final = 8
_SHUTDOWN_S: Final = 0.2  # how long requests under way may take once the shop closes
_NOT_FOUND: Final = Reply(404, b"no such page\n", "text/plain")


@lru_cache(_CACHED_REPLIES)
def render(path: str) -> Reply:
    """Draw or write what a path names; 404 where it names nothing."""
    name = PurePosixPath(path)
    content = decode(name.stem)
    body = None
    match (str(name.parent), name.suffix):
        case ("/images", ".jpg") if isinstance(content, Subject):
            body, kind = draw_jpeg(content), "image/jpeg"
        case ("/pages", ".html") if content is not None:
            body, kind = html_page(content), "text/html"
        case ("/docs", ".pdf") if content is not None:
            body, kind = pdf_document(content), "application/pdf"
    if body is None:
        return _NOT_FOUND
    etag = f'"{hashlib.sha256(body).hexdigest()[:24]}"'
    return Reply(200, body, kind, (("ETag", etag),))


class Shop:
    """The shop in a thread of its own, from `__enter__` to `__exit__`.

    Port 0 takes a free one. A slow body comes in eight pieces, `slow_pause_s` apart.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        slow_pause_s: float = 1.0,
        retry_after_s: int = 1,
    ) -> None:
        self._host = host
        self._port = port
        self._slow_pause_s = slow_pause_s
        self._retry_after_s = retry_after_s
        self._requests: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._started = threading.Event()
        self._failure: OSError | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The shop's address without a slash at the end; known once it is open."""
        return f"http://{self._host}:{self._port}"

    def requests(self, path: str) -> int:
        """Count the requests for one path so far, fault prefix included."""
        with self._lock:
            return self._requests[path]

    def all_requests(self) -> dict[str, int]:
        """Give the number of requests for each path asked for."""
        with self._lock:
            return dict(self._requests)

    def forget_requests(self) -> None:
        """Start counting afresh; faults that had passed come again."""
        with self._lock:
            self._requests.clear()

    def __enter__(self) -> Self:
        """Open the shop; raises OSError where the port is taken."""
        self._thread = threading.Thread(target=self._run, name="sample-shop", daemon=True)
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the shop; answers under way are cut off."""
        if self._loop is not None and self._stop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        runner = web.AppRunner(app, shutdown_timeout=_SHUTDOWN_S, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
            self._port = runner.addresses[0][1]
            self._started.set()
            await self._stop.wait()
        except OSError as error:
            self._failure = error
            self._started.set()
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        with self._lock:
            self._requests[request.path] += 1
            number = self._requests[request.path]
        try:
            fault, path = split_fault(request.path)
        except ValueError as error:
            return web.Response(status=400, text=f"{error}\n")
        reply = await asyncio.get_running_loop().run_in_executor(None, render, path)
        if fault is not None and (fault.times is None or number <= fault.times):
            reply = spoil(reply, fault, self._retry_after_s)
        return await self._send(request, reply)

    async def _send(self, request: web.Request, reply: Reply) -> web.StreamResponse:
        headers = {"Content-Type": reply.content_type, **dict(reply.headers)}
        known = request.headers.get("If-None-Match")
        if reply.status == 200 and known is not None and known == headers.get("ETag"):
            return web.Response(status=304, headers={"ETag": known})
        if not reply.slow:
            return web.Response(status=reply.status, body=reply.body, headers=headers)
        return await self._send_slowly(request, reply, headers)

    async def _send_slowly(
        self, request: web.Request, reply: Reply, headers: dict[str, str]
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=reply.status, headers=headers)
        response.content_length = len(reply.body)
        await response.prepare(request)
        piece = max(1, -(-len(reply.body) // _SLOW_PIECES))
        for start in range(0, len(reply.body), piece):
            await response.write(reply.body[start : start + piece])
            await asyncio.sleep(self._slow_pause_s)
        await response.write_eof()
        return response


def main() -> None:
    """Keep the shop open until it is interrupted."""
    parser = argparse.ArgumentParser(description="Serve the sample shop.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8700)
    arguments = parser.parse_args()
    with Shop(host=arguments.host, port=arguments.port) as shop:
        print(f"The sample shop is open at {shop.url}; Ctrl-C closes it.", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print("closed")


if __name__ == "__main__":
    main()
