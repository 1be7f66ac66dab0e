"""A feed of many files: their order, what is read again, and what one bad file costs."""

import gzip
import os
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipeline_assets.errors import FeedError, NoFeed
from pipeline_assets.feed import feed as feed_module
from pipeline_assets.feed import landing
from pipeline_assets.feed.feed import Feed
from pipeline_assets.feed.files import FeedFile
from pipeline_assets.feed.landing import PROBLEM_HOLDS_S
from pipeline_assets.feed.reading import read_rows
from pipeline_assets.feed.rows import FeedRow
from pipeline_assets_tests.conftest import HOUR, Clock, open_resources
from pipeline_assets_tests.feed.landed import landed_rows

if TYPE_CHECKING:
    from pipeline_assets.resources import Resources

HEADER = "item_id,name,kind,event_time\n"
Open = Callable[..., Feed]
Items = Callable[..., list[str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for feeds."""
    (tmp_path / "feeds").mkdir()
    return tmp_path / "feeds"


@pytest.fixture
def opened(tmp_path: Path, clock: Clock) -> Iterator[Open]:
    """Opens a feed."""
    made: list[Resources] = []

    def opened(source: object, **settings: Any) -> Feed:
        resources = open_resources(tmp_path / "data", clock, feed=str(source), **settings)
        made.append(resources)
        return resources.feed

    yield opened
    for resources in made:
        resources.close()


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are read through, as they are."""
    files: list[str] = []

    def counted(file: FeedFile, *arguments: Any) -> Iterator[FeedRow]:
        files.append(file.name)
        return read_rows(file, *arguments)

    monkeypatch.setattr(feed_module, "read_rows", counted)
    return files


def write(path: Path, *rows: str, hour: str = "06") -> None:
    """A CSV file of these items, each at a minute of the hour."""
    lines = [f"{row},thing,product,2026-03-02T{hour}:00:00Z\n" for row in rows]
    path.write_text(HEADER + "".join(lines))


@pytest.fixture
def items(tmp_path: Path) -> Items:
    """The items of an hour, with their files."""

    def items(feed: Feed, hour: str = HOUR) -> list[str]:
        rows = landed_rows(feed, tmp_path / "data" / "work", hour)
        return [f"{row['item_id']}@{row['file']}" for row in rows]

    return items


def test_the_files_of_a_folder_are_one_feed_by_name(
    folder: Path, opened: Open, items: Items
) -> None:
    """Whichever was written last."""
    write(folder / "2.csv", "b", "a")
    write(folder / "1.csv", "a")
    feed = opened(folder)
    assert items(feed) == ["a@1.csv", "b@2.csv", "a@2.csv"]
    landed = feed.landed()
    assert (len(landed.files), landed.hours()[HOUR].rows) == (2, 3)


def test_only_files_that_changed_are_read_again(
    folder: Path, opened: Open, looked_at: list[str]
) -> None:
    """And none is read where the listing is as it was, in a process begun anew, too."""
    for name in ("1.csv", "2.csv", "3.csv"):
        write(folder / name, name)
    version = opened(folder).landed().version
    assert looked_at == ["1.csv", "2.csv", "3.csv"]
    looked_at.clear()
    assert opened(folder).landed().version == version
    assert opened(folder).peek() == version
    assert looked_at == []
    write(folder / "2.csv", "other", "rows")
    write(folder / "4.csv", "new")
    (folder / "1.csv").unlink()
    later = opened(folder).landed()
    assert looked_at == ["2.csv", "4.csv"]
    assert later.version != version
    assert later.hours()[HOUR].rows == 4


def test_an_hour_is_read_from_the_files_that_have_it(
    folder: Path, opened: Open, items: Items, looked_at: list[str]
) -> None:
    """As they were landed: no file of the feed is opened, and of the landed ones no other."""
    write(folder / "1.csv", "a")
    write(folder / "2.csv", "b", hour="07")
    feed = opened(folder)
    _mine, other = feed.landed().files
    looked_at.clear()
    (feed.landed().storage.place(other.rows or "")).write_bytes(b"not to be opened")
    assert items(feed) == ["a@1.csv"]
    assert looked_at == []


def test_what_was_landed_and_is_gone_is_read_again(
    folder: Path, opened: Open, items: Items, looked_at: list[str]
) -> None:
    """Whoever empties the folder of work loses nothing."""
    write(folder / "1.csv", "a")
    feed = opened(folder)
    landed = feed.landed()
    landed.storage.remove([landed.files[0].rows or ""])
    assert items(feed) == ["a@1.csv"]
    assert looked_at == ["1.csv", "1.csv"]


def test_a_file_that_cannot_be_read_is_said_and_the_others_are_read(
    folder: Path, opened: Open, items: Items, looked_at: list[str], clock: Clock
) -> None:
    """It is tried again after a while, or once it changes."""
    write(folder / "1.csv", "a")
    (folder / "2.csv.gz").write_bytes(b"no gzip")
    feed = opened(folder)
    [unread] = [each for each in feed.landed().files if each.problem is not None]
    assert unread.file == "2.csv.gz"
    assert "damaged or cut off" in (unread.problem or "")
    assert items(feed) == ["a@1.csv"]
    assert looked_at.count("2.csv.gz") == 1
    clock.advance(PROBLEM_HOLDS_S)
    feed.landed()
    assert looked_at.count("2.csv.gz") == 2
    (folder / "2.csv.gz").unlink()
    assert [each.problem for each in feed.landed().files] == [None]


def test_where_no_file_can_be_read_the_feed_cannot(folder: Path, opened: Open) -> None:
    """A mapping that fits no file is one error, not ten thousand rejects."""
    for name in ("1.csv", "2.csv"):
        write(folder / name, "a")
    feed = opened(folder, feed_columns="name=Title")
    for look in (feed.landed, feed.columns):
        with pytest.raises(
            FeedError, match=r"no column 'Title', which .* it has 'item_id', 'name'"
        ):
            look()


def test_a_file_that_changes_while_it_is_read_is_no_feed_yet(
    folder: Path, opened: Open, items: Items, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read of it is kept nowhere."""
    write(folder / "1.csv", "a")
    feed = opened(folder / "1.csv")

    def meanwhile(*arguments: Any) -> Iterator[FeedRow]:
        yield from read_rows(*arguments)
        write(folder / "1.csv", "a", "b")

    monkeypatch.setattr(feed_module, "read_rows", meanwhile)
    with pytest.raises(FeedError, match="it was changed while it was read"):
        feed.landed()
    monkeypatch.undo()
    assert items(feed) == ["a@1.csv", "b@1.csv"]


def test_another_mapping_is_another_version(folder: Path, opened: Open) -> None:
    """Its rows may be others."""
    write(folder / "1.csv", "a")
    plain, mapped = opened(folder), opened(folder, feed_columns="description=name")
    assert plain.version() != mapped.version()
    plain.landed()
    [row] = landed_rows(mapped, folder.parent / "data" / "work")
    assert row["description"] == "thing"


def test_rows_without_a_time_are_of_their_file(folder: Path, opened: Open, items: Items) -> None:
    """Of the time of its last change; a file sent again is of its new time."""
    path = folder / "stock.csv"
    path.write_text("item_id,name\na,thing\n")
    os.utime(path, (0, datetime(2026, 3, 2, 6, 30, tzinfo=UTC).timestamp()))
    feed = opened(path, feed_columns="kind='product',event_time=@modified")
    [row] = landed_rows(feed, folder.parent / "data" / "work", HOUR)
    assert row["problem"] is None
    os.utime(path, (0, datetime(2026, 3, 2, 7, 30, tzinfo=UTC).timestamp()))
    assert items(feed) == []
    assert items(feed, "2026-03-02-07") == ["a@stock.csv"]


def test_the_columns_are_those_of_the_newest_file(folder: Path, opened: Open) -> None:
    """What the shop sends now is what it will send."""
    write(folder / "2.csv", "a")
    os.utime(folder / "2.csv", (0, 0))
    (folder / "1.csv").write_text(HEADER.replace("\n", ",colour\n"))
    assert opened(folder).columns().unknown == ("colour",)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("", "it is not set"),
        ("a\0.csv", "it is not set"),
        ("ftp://me:secret@shop/feed.csv", "none of a path, s3://bucket/prefix, http://"),
        ("s3://B/x", "the bucket of 3 to 63 lower-case letters"),
    ],
)
def test_what_no_feed_can_be_says_what_one_can(opened: Open, source: str, said: str) -> None:
    """Without credentials."""
    with pytest.raises(FeedError, match=said) as caught:
        opened(source).files()
    assert "secret" not in str(caught.value)


def test_a_feed_that_is_not_there_yet_is_told_from_a_bad_one(folder: Path, opened: Open) -> None:
    """A sensor waits for it."""
    with pytest.raises(NoFeed, match="no such file"):
        opened(folder / "gone.csv").peek()
    assert opened(folder).landed().files == ()


def test_files_without_an_ending_are_known_by_their_bytes(
    folder: Path, opened: Open, items: Items
) -> None:
    """CSV and JSONL, packed or not."""
    write(folder / "1", "a")
    line = b'{"item_id":"b","name":"n","kind":"product","event_time":"2026-03-02T06:00:00Z"}\n'
    (folder / "2").write_bytes(gzip.compress(line))
    assert items(opened(folder)) == ["a@1", "b@2"]


def test_memory_does_not_grow_with_the_feed(
    folder: Path, opened: Open, items: Items, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither when it is landed, nor when one of its hours is read: twenty times the rows."""
    monkeypatch.setattr(landing, "BATCH_ROWS", 1000)

    def peak_bytes(rows: int) -> int:
        path = folder / f"{rows}.csv"
        others = [str(number) for number in range(rows)]
        write(path, *others, hour="07")
        with path.open("a") as file:
            file.write("mine,thing,product,2026-03-02T06:00:00Z\n")
        feed = opened(path)
        feed.files()
        tracemalloc.start()
        try:
            feed.landed()
            assert items(feed) == [f"mine@{path.name}"]
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak_bytes(100)
    assert abs(peak_bytes(40_000) - peak_bytes(2_000)) < 1 << 20
