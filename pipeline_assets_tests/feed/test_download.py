"""A feed behind a URL: one copy, asked for politely, kept while there is no better one."""

import gzip
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipeline_assets.errors import FeedError
from pipeline_assets.ingest.changes import stale_feeds
from pipeline_assets.resources import Resources
from pipeline_assets_tests.conftest import HOUR, Clock, open_resources
from pipeline_assets_tests.feed.landed import landed_rows

ROWS = b"item_id,name,kind,event_time\na,thing,product,2026-03-02T06:00:00Z\n"
MORE = ROWS + b"b,thing,product,2026-03-02T06:00:00Z\n"
REFRESH = timedelta(minutes=10)


class Site(ThreadingHTTPServer):
    """A web server with one feed, and what it is asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.body, self.status = ROWS, 200
        self.headers: dict[str, str] = {"ETag": '"1"'}
        self.asked: list[str | None] = []
        self.moved: dict[str, str] = {}

    def url(self, path: str = "/export/feed.csv") -> str:
        """The feed's URL."""
        return f"http://127.0.0.1:{self.server_port}{path}"


class _Answers(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        """The feed, or that it is as it was."""
        known = self.headers["If-None-Match"]
        self.server.asked.append(known)
        site = self.server
        if self.path in site.moved:
            self.send_response(302)
            self.send_header("Location", site.moved[self.path])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        unchanged = known is not None and known == site.headers.get("ETag")
        self.send_response(304 if unchanged and site.status == 200 else site.status)
        for name, value in site.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0" if unchanged else str(len(site.body)))
        self.end_headers()
        if not unchanged:
            self.wfile.write(site.body)

    def log_message(self, *_message: object) -> None:
        """Say nothing."""


@pytest.fixture
def site() -> Iterator[Site]:
    """A web server on loopback."""
    with Site() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def resources(tmp_path: Path, clock: Clock, site: Site) -> Iterator[Resources]:
    """Resources whose feed is the site's."""
    opened = open_resources(
        tmp_path / "data",
        clock,
        feed=site.url(),
        fetch_allow=(f"127.0.0.1:{site.server_port}",),
        feed_max_bytes=2_000_000,
    )
    yield opened
    opened.close()


def rows(resources: Resources) -> list[dict[str, Any]]:
    """The rows of the hour."""
    return landed_rows(resources.feed, resources.work, HOUR)


def items(resources: Resources) -> list[str]:
    """Its items."""
    return [row["item_id"] for row in rows(resources)]


def refusal(resources: Resources) -> str | None:
    """Why there is no newer copy."""
    copy = resources.downloads.copy(resources.settings.feed)
    return None if copy is None else copy.refusal


def test_what_has_changed_is_asked_of_the_file_that_was_read(
    resources: Resources, site: Site, clock: Clock
) -> None:
    """Redirects lead to it. Of another file, which they lead to now, it would mean nothing."""
    site.moved["/export/feed.csv"] = "/monday.csv"
    assert items(resources) == ["a"]
    clock.advance(REFRESH.total_seconds())
    assert items(resources) == ["a"]
    site.moved["/export/feed.csv"] = "/tuesday.csv"
    site.body = MORE  # with the same ETag, as counters have it
    clock.advance(REFRESH.total_seconds())
    assert items(resources) == ["a", "b"]
    assert site.asked == [None, None, None, '"1"', None, None]


def test_a_copy_is_read_until_it_is_time_to_ask_again(
    resources: Resources, site: Site, clock: Clock
) -> None:
    """Then only for what has changed; nobody who merely looks asks a server."""
    assert resources.feed.peek() is None
    assert site.asked == []
    assert items(resources) == ["a"]
    version = resources.feed.peek()
    assert items(resources) == ["a"]
    assert site.asked == [None]
    clock.advance(REFRESH.total_seconds())
    assert resources.feed.peek() is None
    assert resources.feed.version() == version
    assert site.asked == [None, '"1"']
    site.body, site.headers = MORE, {"ETag": '"2"'}
    clock.advance(REFRESH.total_seconds())
    assert items(resources) == ["a", "b"]
    assert resources.feed.peek() != version
    assert site.asked == [None, '"1"', '"1"']


@pytest.mark.parametrize("how", ["failing", "gone", "silent", "nonsense", "too large"])
def test_the_copy_stays_where_there_is_no_better_one(
    resources: Resources, site: Site, clock: Clock, how: str
) -> None:
    """With the reason, and since when; until there is one."""
    assert items(resources) == ["a"]
    site.headers = {}
    match how:
        case "failing":
            site.status, said = 503, "the server answered 503"
        case "gone":
            site.status, said = 404, "the server answered 404"
        case "silent":
            site.shutdown()
            site.server_close()
            said = "Cannot connect"
        case "nonsense":
            site.body, said = b"<html>please log in</html>", "it has no column 'item_id'"
        case _:
            site.body, said = ROWS * 100_000, "over the limit of 2000000 bytes"
    clock.advance(REFRESH.total_seconds())
    since = clock.seconds()
    assert items(resources) == ["a"]
    assert said in (refusal(resources) or "")
    clock.advance(REFRESH.total_seconds())
    assert items(resources) == ["a"]
    copy = resources.downloads.copy(resources.settings.feed)
    assert copy is not None
    assert copy.refused_since == since
    if how != "silent":
        site.status, site.body = 200, MORE
        clock.advance(REFRESH.total_seconds())
        assert items(resources) == ["a", "b"]
        assert refusal(resources) is None


def test_a_copy_that_is_not_renewed_is_an_alert_until_it_is(
    resources: Resources, site: Site, clock: Clock
) -> None:
    """With what the server said, and of when the copy is."""
    items(resources)
    assert list(stale_feeds(resources)) == []
    site.status, site.headers = 503, {}
    clock.advance(REFRESH.total_seconds())
    items(resources)
    [alert] = stale_feeds(resources)
    assert "the server answered 503" in alert.happened
    assert "2026-03-03 06:00 UTC is read on" in alert.happened
    assert alert.since == clock.seconds()
    site.status = 200
    clock.advance(REFRESH.total_seconds())
    items(resources)
    assert list(stale_feeds(resources)) == []


def test_a_server_that_asks_for_time_is_given_it(
    resources: Resources, site: Site, clock: Clock
) -> None:
    """Retry-After, beyond the usual wait."""
    items(resources)
    site.status, site.headers = 429, {"Retry-After": "3600"}
    clock.advance(REFRESH.total_seconds())
    items(resources)
    for _ in range(5):
        clock.advance(REFRESH.total_seconds())
        items(resources)
    assert len(site.asked) == 2
    clock.advance(REFRESH.total_seconds())
    items(resources)
    assert len(site.asked) == 3


def test_without_any_copy_there_is_no_feed(resources: Resources, site: Site) -> None:
    """The error names what the server said, and leaves nothing behind."""
    site.body = b"<html></html>"
    with pytest.raises(FeedError, match="no column 'item_id'"):
        items(resources)
    assert list((resources.work / "feed").iterdir()) == []
    site.status = 500
    with pytest.raises(FeedError, match="answered 500"):
        items(resources)


def test_an_address_that_is_not_allowed_is_not_connected_to(
    tmp_path: Path, clock: Clock, site: Site
) -> None:
    """The rules of fetching hold for feeds too."""
    resources = open_resources(tmp_path / "data", clock, feed=site.url(), fetch_allow=())
    with pytest.raises(FeedError, match="PIPELINE_FETCH_ALLOW"):
        resources.feed.files()
    resources.close()
    assert site.asked == []


def test_what_a_url_does_not_say_is_known_by_its_bytes(
    tmp_path: Path, clock: Clock, site: Site
) -> None:
    """And rows without a time are of the file's, as the server has it."""
    site.body = gzip.compress(b"item_id,name\na,thing\n")
    site.headers = {"Last-Modified": "Mon, 02 Mar 2026 06:30:00 GMT"}
    resources = open_resources(
        tmp_path / "data",
        clock,
        feed=site.url("/export?format=1&token=secret"),
        fetch_allow=("127.0.0.0/8",),
        feed_columns="kind='product',event_time=@modified",
    )
    [row] = rows(resources)
    assert (row["event_time"], row["file"]) == (datetime(2026, 3, 2, 6, 30, tzinfo=UTC), "export")
    resources.close()


def test_only_the_copy_and_the_one_before_it_are_kept(
    resources: Resources, site: Site, clock: Clock
) -> None:
    """Somebody may be reading that."""
    for number in range(4):
        site.body, site.headers = ROWS + b"\n" * number, {}
        items(resources)
        clock.advance(REFRESH.total_seconds())
    assert len([each for each in (resources.work / "feed").iterdir() if each.is_file()]) == 2
