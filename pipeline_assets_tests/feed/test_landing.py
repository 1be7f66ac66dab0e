"""A feed, landed: each row is kept once, in the hour that it belongs to, in its order."""

import csv
import gzip
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.core.forgotten import ITEM, URL, Forgotten, mark
from pipeline_assets.core.hours import hour_name
from pipeline_assets.errors import FeedError
from pipeline_assets.feed import landing as landing_module
from pipeline_assets.feed.files import FeedFile, list_local
from pipeline_assets.feed.landing import PROBLEM_HOLDS_S, Landed, Landing, Landings
from pipeline_assets.feed.mapping import AS_THEY_ARE
from pipeline_assets.feed.reading import Reading, read_rows
from pipeline_assets.feed.rows import FeedRow
from pipeline_assets.state.database import State
from pipeline_assets.store.queries import queries
from pipeline_assets.store.storage import LocalStorage
from pipeline_assets_tests.conftest import Clock

START = datetime(2026, 3, 2, tzinfo=UTC)
FIELDS = ["item_id", "name", "kind", "event_time"]
NOBODY = Forgotten()


@pytest.fixture
def landings(tmp_path: Path, database_url: str, clock: Clock) -> Iterator[Landings]:
    """Nothing landed yet, on either database."""
    state = State(database_url, clock=clock.seconds)
    yield Landings(state, LocalStorage(tmp_path), tmp_path / "work")
    state.close()


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rows each."""
    monkeypatch.setattr(landing_module, "BATCH_ROWS", 3)


def written(folder: Path, hours: list[int]) -> FeedFile:
    """A file with a row for each of these hours, the negative ones without a time."""
    path = folder / "feed.csv.gz"
    with gzip.open(path, "wt", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(FIELDS)
        for number, hour in enumerate(hours):
            time = (START + timedelta(hours=hour)).isoformat() if hour >= 0 else "never"
            writer.writerow([f"{number % 5}", "two\nlines", "product", time])
    [file_] = list_local(str(path))
    return file_


def rows_of(file: FeedFile) -> list[FeedRow]:
    """Its rows."""
    return list(read_rows(file, Reading(AS_THEY_ARE)))


def keys(landed: Landed, folder: Path, view: str, hours: set[str] | None = None) -> list[str]:
    """The keys of a view, in the feed's order."""
    with queries(landed.storage, folder) as connection:
        landed.show(connection, hours)
        found = connection.view(view).order("hour, file, number").project("key").fetchall()
    return [key for (key,) in found]


@given(st.lists(st.integers(-1, 4), max_size=20), st.sets(st.integers(0, 5)))
def test_an_hours_rows_are_all_found_and_only_once(
    tmp_path_factory: pytest.TempPathFactory, hours: list[int], wanted: set[int]
) -> None:
    """Whatever order the file is in; of an item's rows the last counts."""
    folder = tmp_path_factory.mktemp("feed")
    file, state = written(folder, hours), State(f"sqlite:///{folder}/state.db")
    landings = Landings(state, LocalStorage(folder), folder / "work")
    rows = rows_of(file)
    landing = landings.land(file, "1", rows, NOBODY)
    landed = Landed("1", (landings.load([file])[file.path],), landings.storage)
    assert landed.files == (landing,)
    by_hour = Counter(hour_name(row.event_time) for row in rows if row.event_time)
    assert {hour: share.rows for hour, share in landed.hours().items()} == by_hour
    assert landing.lost == hours.count(-1)
    names = {hour_name(START + timedelta(hours=hour)) for hour in wanted}
    mine = [row for row in rows if row.event_time and hour_name(row.event_time) in names]
    in_order = sorted(mine, key=lambda row: hour_name(row.event_time or START))
    assert keys(landed, folder, "landed", names) == [row.key for row in in_order]
    latest = {(row.event_time, row.item_id): row.key for row in in_order}
    assert Counter(keys(landed, folder, "latest", names)) == Counter(latest.values())
    state.close()


def test_the_digest_of_an_hour_tells_its_rows_and_their_order(
    landings: Landings, tmp_path: Path
) -> None:
    """Of an item's rows the last one counts."""
    file = written(tmp_path, [0, 0, 1])
    a, b, c = rows_of(file)
    digests = []
    for number, rows in enumerate(([a, b, c], [a, b, c], [b, a, c], [a, c], [a, b])):
        landed = Landed("", (landings.land(file, str(number), rows, NOBODY),), landings.storage)
        digests.append(landed.hours()[hour_name(START)].digest)
    assert digests[0] == digests[1] == digests[4]
    assert len(set(digests)) == 3


def test_what_is_forgotten_is_not_landed(landings: Landings, tmp_path: Path) -> None:
    """Only that there was a row; a URL is as if it were not there, and the row's key says so."""
    file = written(tmp_path, [0, 0])
    gone, stays = rows_of(file)
    stays = stays._replace(image_url="http://shop/secret.jpg")
    forgotten = Forgotten(frozenset({mark(ITEM, "0"), mark(URL, "http://shop/secret.jpg")}))
    landing = landings.land(file, "1", [gone, stays], forgotten)
    landed = Landed("1", (landing,), landings.storage)
    [path] = tmp_path.rglob("*.parquet")
    assert b"secret" not in path.read_bytes()
    assert keys(landed, tmp_path, "latest") == [stays._replace(image_url=None).key]
    assert landed.hours()[hour_name(START)].rows == 2


def test_the_version_before_stays_for_its_readers_and_older_ones_go(
    landings: Landings, tmp_path: Path
) -> None:
    """And what is landed of a file that the feed no longer has."""
    file = written(tmp_path, [0])
    for version in "123":
        landings.land(file, version, rows_of(file), NOBODY)
    assert landings.known(problems=False) == {file.path: "3"}
    assert len(landings.storage.names("", "*.parquet")) == 2
    landings.forget_all_but([])
    assert landings.known(problems=False) == {}
    assert landings.storage.names("", "*.parquet") == []


def test_a_file_that_cannot_be_read_is_left_alone_for_a_while(
    landings: Landings, tmp_path: Path, clock: Clock
) -> None:
    """Not where it is the only one."""
    file = written(tmp_path, [])
    assert landings.lost() == (0, 0)
    assert landings.refuse(file, "1", "damaged") == Landing(file.name, problem="damaged")
    assert landings.lost() == (0, 1)
    assert landings.known(problems=False) == {}
    assert landings.known(problems=True) == {file.path: "1"}
    clock.advance(PROBLEM_HOLDS_S)
    assert landings.known(problems=True) == {}


def test_what_is_being_landed_is_not_seen_before_it_is_whole(
    landings: Landings, tmp_path: Path
) -> None:
    """A reader that fails in the middle leaves nothing."""
    file = written(tmp_path, [0, 0, 0, 0])

    def cut_off() -> Iterator[FeedRow]:
        yield from rows_of(file)
        raise FeedError(file.name, "cut off")

    with pytest.raises(FeedError, match="cut off"):
        landings.land(file, "1", cut_off(), NOBODY)
    assert landings.known(problems=True) == {}
    assert list(tmp_path.rglob("*.parquet")) == []
