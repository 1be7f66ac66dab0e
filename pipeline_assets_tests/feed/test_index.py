"""The index of a file's hours: an hour's rows are read without the others, and none is missed."""

import csv
import gzip
import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.feed import index as feed_index
from pipeline_assets.feed.changes import Tally
from pipeline_assets.feed.files import FeedFile, list_local
from pipeline_assets.feed.index import (
    FileIndex,
    hour_number,
    named_hour,
    numbered_hour,
)
from pipeline_assets.feed.mapping import AS_THEY_ARE
from pipeline_assets.feed.reading import Reading, read_rows
from pipeline_assets.feed.rows import FeedRow

START = datetime(2026, 3, 2, tzinfo=UTC)
FIELDS = ["item_id", "name", "kind", "event_time"]
READING = Reading(AS_THEY_ARE)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rows each."""
    monkeypatch.setattr(feed_index, "BLOCK_ROWS", 3)


def rows_of(hours: list[int]) -> list[dict[str, str]]:
    """A row for each of these hours, the negative ones without a time."""
    return [
        {
            "item_id": f"{number}",
            "name": "two\nlines" if number % 4 == 0 else "one, line",
            "kind": "product",
            "event_time": (START + timedelta(hours=hour)).isoformat() if hour >= 0 else "never",
        }
        for number, hour in enumerate(hours)
    ]


def written(folder: Path, ending: str, rows: list[dict[str, str]]) -> FeedFile:
    """A file of these rows."""
    path = folder / f"feed{ending}"
    if ending == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows, _SCHEMA), path, row_group_size=2)
    else:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, FIELDS)
        writer.writeheader()
        writer.writerows(rows)
        data = b"\xef\xbb\xbf" + text.getvalue().encode()
        path.write_bytes(gzip.compress(data) if ending.endswith(".gz") else data)
    [file] = list_local(str(path))
    return file


_SCHEMA = pa.schema([(name, pa.string()) for name in FIELDS])


def rows_by_index(file: FeedFile, index: FileIndex, hours: set[int]) -> Iterator[FeedRow]:
    """The rows of these hours as a reader of the index finds them."""
    for span in index.spans(hours):
        for placed in islice(read_rows(file, READING, span.start), span.rows):
            time = placed.row.event_time
            if time is not None and hour_number(time) in hours:
                yield placed.row


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet"])
@given(st.lists(st.integers(-1, 4), max_size=20), st.sets(st.integers(0, 5)))
def test_an_hours_rows_are_all_found_and_only_once(
    tmp_path_factory: pytest.TempPathFactory, ending: str, hours: list[int], wanted: set[int]
) -> None:
    """Whatever order the file is in; an index survives being stored."""
    file = written(tmp_path_factory.mktemp("feed"), ending, rows_of(hours))
    whole = [placed.row for placed in read_rows(file, READING)]
    numbers = {hour_number(START) + hour for hour in wanted}
    index = FileIndex.loaded(FileIndex.of(read_rows(file, READING)).stored())
    assert list(rows_by_index(file, index, numbers)) == [
        row for row in whole if row.event_time and hour_number(row.event_time) in numbers
    ]
    assert index.lost == hours.count(-1)
    for hour, share in index.hours.items():
        keys = [r.key for r in whole if r.event_time and hour_number(r.event_time) == hour]
        assert share.tally.digest == Tally.of(keys).digest
    assert sum(block.rows for block in index.blocks) == len(whole)


def test_no_block_begins_behind_a_quote_that_was_never_closed(tmp_path: Path) -> None:
    """There a reader that begins anew could see other rows."""
    good = "x,n,product,2026-03-02T00:00:00Z\n"
    text = ",".join(FIELDS) + "\n" + good * 4 + 'y,"open,product,\n' + good * 30
    (tmp_path / "f.csv").write_text(text)
    [file] = list_local(str(tmp_path / "f.csv"))
    whole = [placed.row for placed in read_rows(file, READING)]
    index = FileIndex.of(read_rows(file, READING))
    assert list(rows_by_index(file, index, set(index.hours))) == [r for r in whole if r.event_time]
    assert [block.start.line for block in index.blocks] == [2, 5]


def test_an_hour_has_a_number_and_a_name() -> None:
    """Each from the other."""
    assert named_hour(hour_number(START)) == "2026-03-02-00"
    assert numbered_hour("2026-03-02-00") == hour_number(START + timedelta(minutes=59))
