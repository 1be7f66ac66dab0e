"""A small feed of things that nobody drew for us, run as it is."""

import functools
import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from pipeline_assets.commands.search import search
from pipeline_assets.core.status import Status
from pipeline_assets.engine.workers import shared_workers
from pipeline_assets.errors import DataError
from pipeline_assets.resources import opened
from pipeline_assets.store.processes import available_cores
from pipeline_assets.store.s3_storage import S3Storage
from pipeline_assets.store.storage import LocalStorage, Storage
from pipeline_assets_tests import REPOSITORY, hours
from pipeline_assets_tests.hours import Finished, Row, command

if TYPE_CHECKING:
    from pipeline_assets_tests.s3 import S3Server

REAL = REPOSITORY / "shared" / "real"
HOURS = ("2026-03-02-06", "2026-03-02-07", "2026-03-02-08")
WRONG = HOURS[2]
TABLES = ("items", "fetched", "validated", "extracted_text", "image_labels", "embeddings")
WRITTEN_FOR = "http://127.0.0.1:8765"
"""Where the feed expects its files; a free port takes its place."""

pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason=f"there is no {REAL}")


@dataclass(frozen=True)
class Ran:
    """The data root after the run, and how the run ended; `folder` is where it was run."""

    data: Storage
    folder: Path
    environment: dict[str, str]
    finished: Finished

    def row(self, table: str, key: str, hour: str = WRONG) -> Row:
        """One row."""
        return hours.rows(self.data, table, hour)[key]


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A file server that keeps its requests to itself."""

    def log_message(self, *_message: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def files() -> Iterator[str]:
    """The address at which the feed's files are served."""
    handler = functools.partial(Quiet, directory=str(REAL / "files"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def feed_of(address: str) -> bytes:
    """The feed, of files that are elsewhere."""
    return (REAL / "items.csv").read_text("utf-8").replace(WRITTEN_FOR, address).encode()


def copied_to(storage: Storage) -> None:
    """The feed's files, in another place."""
    for path in (REAL / "files").rglob("*"):
        if path.is_file():
            storage.put(path.relative_to(REAL / "files").as_posix(), path.read_bytes())


@pytest.fixture(scope="module", params=["local", "s3"])
def ran(
    request: pytest.FixtureRequest, files: str, tmp_path_factory: pytest.TempPathFactory
) -> Ran:
    """All hours of the feed, by the command line: files and data on a disk, and in a bucket."""
    folder = tmp_path_factory.mktemp("real")
    feed = folder / "items.csv"
    feed.write_bytes(feed_of(files))
    values = hours.environment_of(folder / "data", files, feed)
    data: Storage = LocalStorage(folder / "data")
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("s3")
        root, shop, feeds = server.root(), server.root(), server.root()
        data = S3Storage(root, folder / "scratch")
        copied_to(S3Storage(shop, folder / "scratch"))
        S3Storage(feeds, folder / "scratch").put("items.csv", feed_of(str(shop)))
        values |= {
            "PIPELINE_DATA": str(root),
            "PIPELINE_FEED": str(feeds),
            "PIPELINE_FETCH_S3": f"{shop}/",
            "PIPELINE_STATE_URL": f"sqlite:///{folder / 'state.db'}",
            "PIPELINE_CACHE_DIR": str(folder / "cache"),
        }
    shared_workers(available_cores()).close()  # those of the other place know nothing of this one
    with hours.environment(values, folder):
        finished = command("run", "--from", HOURS[0], "--to", HOURS[-1])
    return Ran(data, folder, values, finished)


def test_the_feed_runs(ran: Ran) -> None:
    """To its end, with 0, and every row of it is an item of its hour."""
    assert ran.finished.code == 0, ran.finished.err
    with hours.environment(ran.environment, ran.folder):
        assert len(hours.table(ran.data, "feed_rejects", "all")) == 0
    lines = (REAL / "items.csv").read_text("utf-8").splitlines()
    items = [item for hour in HOURS for item in hours.rows(ran.data, "enriched_items", hour)]
    assert len(items) == len(set(items)) == len(lines) - 1


def test_no_row_of_it_meets_an_unclassified_exception(ran: Ran) -> None:
    """Whatever is in these files has a name of ours."""
    found = {
        (hour, name, key, row["error"])
        for hour in HOURS
        for name in TABLES
        for key, row in hours.rows(ran.data, name, hour).items()
        if row["error_kind"] == "internal" or row["status"] == Status.PENDING
    }
    assert found == set()


def test_a_missing_picture_is_failed_as_not_found(ran: Ran) -> None:
    """And the item is there all the same."""
    row = ran.row("fetched", "gone-001/image")
    assert (row["status"], row["error_kind"]) == (Status.FAILED, "not_found")
    assert not row["retryable"]
    assert ran.row("enriched_items", "gone-001")["status"] == Status.OK


def test_a_page_that_calls_itself_a_picture_is_failed_with_a_data_error(ran: Ran) -> None:
    """It was fetched; what it is was sniffed, not believed."""
    assert ran.row("fetched", "liar-001/image")["status"] == Status.OK
    row = ran.row("validated", "liar-001/image")
    assert row["status"] == Status.FAILED
    assert row["error_kind"] in {str(kind.kind) for kind in DataError.__subclasses__()}
    assert ran.row("enriched_items", "liar-001")["status"] == Status.OK


def test_an_item_of_nothing_but_a_name_is_well_throughout(ran: Ran) -> None:
    """There was nothing to fetch, to read or to look at, and nothing is held against it."""
    keys = [(name, "name-only") for name in (*TABLES, "enriched_items")]
    keys = [
        (name, key)
        for name, item in keys
        for key in (
            [f"{item}/document", f"{item}/image"] if name in ("fetched", "validated") else [item]
        )
    ]
    statuses = {(name, key): ran.row(name, key)["status"] for name, key in keys}
    assert set(statuses.values()) == {Status.OK, Status.NOT_APPLICABLE}
    assert statuses["embeddings", "name-only"] == Status.OK
    assert ran.row("enriched_items", "name-only")["quality"] == pytest.approx(1.0)


@pytest.mark.parametrize("mode", ["keyword", "hybrid"])
def test_a_grocery_is_found_by_its_name(ran: Ran, mode: Literal["keyword", "hybrid"]) -> None:
    """First but for a few, whose names are in those of others: "Orange" is half a shelf."""
    groceries = {
        item: row["name"]
        for hour in HOURS
        for item, row in hours.rows(ran.data, "items", hour).items()
        if "/grocer" in (row["image_url"] or "")
    }
    assert len(groceries) == 40
    with hours.environment(ran.environment, ran.folder), opened() as resources:
        found = {
            item: [hit["name"] for hit in search(resources, name, mode=mode, top=5)]
            for item, name in groceries.items()
        }
    assert {item for item, name in groceries.items() if name not in found[item]} == set()
    firsts = sum(names[0] == groceries[item] for item, names in found.items())
    assert firsts >= 36


def test_the_command_finds_a_grocery_first(ran: Ran) -> None:
    """By the name that it has in the shop."""
    with hours.environment(ran.environment, ran.folder):
        finished = command("search", "Golden Delicious", "--format", "json")
    assert finished.code == 0, finished.err
    assert json.loads(finished.out)[0]["name"] == "Golden Delicious"
