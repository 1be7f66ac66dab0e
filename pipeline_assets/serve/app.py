"""The application: routes, what every answer carries, and what becomes of errors."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline_assets.resources import Resources
from pipeline_assets.serve.answers import Problem
from pipeline_assets.serve.api import JSON, OPERATIONS, Operation, Served
from pipeline_assets.serve.errors import RETRY_AFTER_S, BadRequest, refusal
from pipeline_assets.serve.limits import DEFAULTS, ServiceLimits, WorkPool, body_of
from pipeline_assets.serve.openapi import description
from pipeline_assets.serve.pages import Pages
from pipeline_assets.serve.queries import parsed
from pipeline_assets.serve.runs import Runs
from pipeline_assets.serve.traffic import Traffic

STATIC = Path(__file__).with_name("static")
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
ASKED_AGAIN = "private, no-cache"
"""What is answered is of this moment; a picture says how long it may be kept."""

Endpoint = Callable[[Request], Awaitable[Response]]


def application(
    resources: Resources, limits: ServiceLimits = DEFAULTS, hosts: Sequence[str] = ("*",)
) -> ASGIApp:
    """The service over one data root, for requests that name one of `hosts`.

    A page elsewhere that has its own name lead here by DNS could read what it finds on loopback.
    """
    served, work = Served(resources, Runs(), Traffic()), WorkPool(limits)
    pages = Pages(served, work, limits)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        work.close()
        served.runs.close()

    routes: list[BaseRoute] = [
        *(_route(each, served, work, limits) for each in OPERATIONS),
        Route("/openapi.json", _described, methods=["GET"]),
        *(
            Route(path, _guarded(page, limits, pages.refused, served.traffic), methods=methods)
            for path, page, methods in pages.routes()
        ),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    say = partial(_unrouted, limits, pages)
    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        middleware=[Middleware(OnlyFor, hosts=hosts, say=say)],
        exception_handlers={404: say, 405: say},
    )
    return WithHeaders(app)


def _route(operation: Operation, served: Served, work: WorkPool, limits: ServiceLimits) -> Route:
    async def answered(request: Request) -> Response:
        query = parsed(operation.query, request.query_params)
        body = await body_of(request, limits.body_bytes) if operation.takes else b""
        answer = await work.do(lambda: operation.act(served, query, body), beside=operation.beside)
        text = answer if isinstance(answer, str) else answer.model_dump_json()
        return Response(text, media_type=operation.gives)

    endpoint = _guarded(answered, limits, refused, served.traffic)
    return Route(operation.path, endpoint, methods=[operation.method])


def _guarded(
    endpoint: Endpoint,
    limits: ServiceLimits,
    say: Callable[[Request, Exception, float], Response],
    traffic: Traffic,
) -> Endpoint:
    """The endpoint within its time; whatever goes wrong is said in words. It is counted."""

    async def within(request: Request) -> Response:
        try:
            async with asyncio.timeout(limits.timeout_s):
                return await endpoint(request)
        except Exception as error:  # noqa: BLE001 - what is unknown is logged and is a 500
            return say(request, error, limits.timeout_s)

    async def answered(request: Request) -> Response:
        started = time.perf_counter()
        response = await within(request)
        seconds = time.perf_counter() - started
        traffic.answered(request.url.path, response.status_code, seconds)  # the path of its route
        return response

    return answered


def refused(_request: Request, error: Exception, timeout_s: float) -> Response:
    """An error as JSON."""
    said = refusal(error, timeout_s)
    headers = {"Retry-After": str(RETRY_AFTER_S)} if said.kind == "busy" else None
    if isinstance(error, HTTPException):
        headers = dict(error.headers or {})  # the methods that are allowed
    problem = Problem(error=said.kind, message=said.message)
    return JSONResponse(problem.model_dump(), said.status, headers)


async def _unrouted(
    limits: ServiceLimits, pages: Pages, request: Request, error: Exception
) -> Response:
    for_people = "text/html" in request.headers.get("accept", "")
    return (pages.refused if for_people else refused)(request, error, limits.timeout_s)


async def _described(_request: Request) -> Response:
    return JSONResponse(description(), media_type=JSON)


class OnlyFor:
    """Answers requests that name one of `hosts`; others as any other refusal."""

    def __init__(
        self,
        app: ASGIApp,
        hosts: Sequence[str],
        say: Callable[[Request, Exception], Awaitable[Response]],
    ) -> None:
        self._app, self._hosts, self._say = app, list(hosts), say

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or refuse."""
        if scope["type"] != "http":  # a WebSocket, of which the application knows none
            await self._app(scope, receive, send)
            return
        passed = False

        async def known(*request: Any) -> None:
            nonlocal passed
            passed = True
            await self._app(*request)

        async def unless_refused(message: Message) -> None:
            if passed:
                await send(message)

        # It knows how to read the header; its own refusal is plain text, and is left out.
        trusted = TrustedHostMiddleware(known, self._hosts, www_redirect=False)
        await trusted(scope, receive, unless_refused)
        if not passed:
            request = Request(scope, receive)
            named = request.headers.get("host", "")
            wrong = BadRequest("Host", named, f"give one of {', '.join(self._hosts)}")
            await (await self._say(request, wrong))(scope, receive, send)


class WithHeaders:
    """Gives every answer, of whatever part, the headers that browsers are to obey."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on."""

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("Cache-Control", ASKED_AGAIN)
            await send(message)

        await self._app(scope, receive, sent)
