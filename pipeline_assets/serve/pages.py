"""The pages for people: search, an item, and quality. HTML from the server, without a script."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from pipeline_assets.core.status import Status
from pipeline_assets.serve import api
from pipeline_assets.serve.answers import Found
from pipeline_assets.serve.errors import BadRequest, TooLargeBody, refusal
from pipeline_assets.serve.items import LARGE, SMALL, Thumbnails
from pipeline_assets.serve.limits import ServiceLimits, WorkPool
from pipeline_assets.serve.queries import (
    MAX_QUERY_CHARS,
    MAX_TOP,
    Filtered,
    Hour,
    HoursQuery,
    ItemId,
    Letters,
    Nothing,
    OneItem,
    Query,
    Rows,
    Search,
    parsed,
)
from pipeline_assets.serve.shown import FILTERS
from pipeline_assets.stages import stage_tables

SHOWN_HITS = 20
SHOWN_ROWS = 10
NO_PICTURE = "/static/no-picture.svg"
PICTURE_KEPT = "private, max-age=300"
FORM_BYTES = 10_000
"""What a form may have beside the picture."""

Page = Callable[[Request], Awaitable[Response]]


class Picture(Query):
    """The picture of an item of an hour, small or large."""

    item: ItemId
    hour: Hour
    large: bool = False


class Pages:
    """The pages over one data root."""

    def __init__(self, served: api.Served, work: WorkPool, limits: ServiceLimits) -> None:
        self._served, self._work, self._limits = served, work, limits
        self._thumbnails = Thumbnails(served.resources)
        self._templates = Environment(
            loader=PackageLoader("pipeline_assets.serve"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(FILTERS)
        self._templates.globals["link"] = link

    def routes(self) -> tuple[tuple[str, Page, list[str]], ...]:
        """Each path with its page and its methods."""
        return (
            ("/", self.search, ["GET"]),
            ("/by-picture", self.by_picture, ["POST"]),
            ("/item", self.item, ["GET"]),
            ("/quality", self.quality, ["GET"]),
            ("/thumbnail", self.thumbnail, ["GET"]),
        )

    async def search(self, request: Request) -> Response:
        """The search box, and what was found."""
        asked = parsed(Search, request.query_params)
        if "top" not in asked.model_fields_set:
            asked = asked.model_copy(update={"top": SHOWN_HITS})
        if asked.q is None and asked.like is None:
            health = await self._do(api.health, Nothing())
            return self._page(request, "search.html", self._form(asked) | {"health": health})
        found = await self._do(api.search, asked)
        return self._found(request, asked, found)

    async def by_picture(self, request: Request) -> Response:
        """What is like a picture that somebody sent."""
        self._check_length(request)
        async with request.form(max_files=1, max_fields=1) as form:
            sent = form.get("picture")
            if not isinstance(sent, UploadFile) or not sent.size:
                raise BadRequest("picture", "", "choose a picture file first")
            data = await sent.read()
        found = await self._do(api.search_picture, Filtered(top=SHOWN_HITS), data)
        return self._found(request, Search(top=MAX_TOP), found)

    async def item(self, request: Request) -> Response:
        """Every stage of one item."""
        asked = parsed(OneItem, request.query_params)
        item = await self._do(api.item, asked)
        return self._page(request, "item.html", {"item": item})

    async def quality(self, request: Request) -> Response:
        """Quality by hour and stage, breakers, dead letters and the retry queue."""
        asked = parsed(HoursQuery, request.query_params)
        return self._page(
            request,
            "quality.html",
            {
                "asked": asked,
                "quality": await self._do(api.quality, asked),
                "breakers": (await self._do(api.breakers, Nothing())).breakers,
                "letters": (await self._do(api.dead_letters, Letters(limit=SHOWN_ROWS))),
                "queue": (await self._do(api.retry_queue, Rows(limit=SHOWN_ROWS))),
            },
        )

    async def thumbnail(self, request: Request) -> Response:
        """The item's picture, made small by us; a drawing where there is none."""
        asked = parsed(Picture, request.query_params)
        blob = await self._work.do(lambda: self._thumbnails.find(asked.item, asked.hour))
        if blob is None:
            return _no_picture()
        pixels = LARGE if asked.large else SMALL
        etag = f'"{blob.sha256}-{pixels}"'
        headers = {"ETag": etag, "Cache-Control": PICTURE_KEPT}
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers=headers)
        jpeg = await self._work.do(lambda: self._thumbnails.jpeg(blob, pixels))
        if jpeg is None:
            return _no_picture()
        return Response(jpeg, media_type="image/jpeg", headers=headers)

    def refused(self, request: Request, error: Exception, timeout_s: float) -> Response:
        """An error as a page."""
        said = refusal(error, timeout_s)
        return self._page(request, "refused.html", {"said": said}, said.status)

    async def _do(self, act: Callable[..., Any], *arguments: Any) -> Any:
        return await self._work.do(lambda: act(self._served, *arguments))

    def _found(self, request: Request, asked: Search, found: Found) -> Response:
        more = asked.top < MAX_TOP and len(found.hits) == asked.top
        after = {**dict(request.query_params), "top": min(asked.top + SHOWN_HITS, MAX_TOP)}
        shown = {
            "hits": found.hits,
            "more": link("/", request.query_params.multi_items(), top=after["top"])
            if more
            else None,
        }
        return self._page(request, "search.html", self._form(asked) | shown)

    def _form(self, asked: Search) -> dict[str, Any]:
        """What the search form offers, and what is chosen in it."""
        filters = asked.model_dump(exclude={"q", "like", "top", "mode"}, exclude_defaults=True)
        settings = self._served.resources.settings
        return {
            "asked": asked,
            "filtered": bool(filters) or asked.mode != "hybrid",
            "labels": settings.labels,
            "stages": stage_tables(settings)[1:-1],
            "statuses": list(Status),
            "max_chars": MAX_QUERY_CHARS,
            "hits": None,
            "more": None,
            "health": None,
        }

    def _page(
        self, request: Request, name: str, context: Mapping[str, Any], status: int = 200
    ) -> Response:
        template = self._templates.get_template(name)
        return HTMLResponse(template.render(path=request.url.path, **context), status)

    def _check_length(self, request: Request) -> None:
        """A form is read as a whole: how much is coming has to be said before."""
        said = request.headers.get("content-length", "")
        if not said.isdecimal():
            raise HTTPException(411, "say how long the body is (Content-Length)")
        if int(said) > self._limits.body_bytes + FORM_BYTES:
            raise TooLargeBody(self._limits.body_bytes)


def link(path: str, given: Any = (), **parameters: Any) -> str:
    """An address of ours: `given` pairs of parameters, with these changed or added."""
    kept = [(name, value) for name, value in given if name not in parameters]
    return f"{path}?{urlencode([*kept, *parameters.items()])}"


def _no_picture() -> Response:
    return RedirectResponse(NO_PICTURE, 302)
