"""Tables on a real disk: published whole, or not at all."""

import errno
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline_assets.core.contract import SCHEMA_VERSION, SCHEMA_VERSION_KEY, check_contract
from pipeline_assets.core.rows import Row, to_table
from pipeline_assets.core.status import Status
from pipeline_assets.errors import ContractError, StorageError
from pipeline_assets.stages import extract_text
from pipeline_assets.store.files import Temporary
from pipeline_assets.store.storage import LocalStorage, Storage
from pipeline_assets.store.tables import ROW_GROUP_ROWS, Tables

ASSET, HOUR = "extracted_text", "2026-03-02-06"
STAGE = extract_text.STAGE


@pytest.fixture
def tables(storage: Storage) -> Tables:
    """No table yet, on a disk and in a bucket."""
    return Tables(storage.below("tables"))


@pytest.fixture
def on_disk(tmp_path: Path) -> Tables:
    """No table yet, on a disk."""
    return Tables(tmp_path / "tables")


def values(text: str | None) -> tuple[str | None, ...]:
    """The stage's own values: a text and nothing more."""
    return tuple(text if field.name == "text" else None for field in STAGE.values)


def table_of(*texts: str) -> pa.Table:
    """A sound stage table."""
    rows = [
        Row((f"i{n:06d}",), values(text), Status.OK, rung="structured", quality=1.0)
        for n, text in enumerate(texts)
    ]
    return to_table(rows, STAGE.schema)


def checked(table: pa.Table) -> None:
    """The contract's rules."""
    check_contract(f"{ASSET} of {HOUR}", table, STAGE.required)


def only_the_table_is_left(tables: Tables) -> bool:
    """No temp file, beside it or on the way to the bucket."""
    path = tables.path(ASSET, HOUR)
    table = [path] if isinstance(tables.storage, LocalStorage) else []
    return list(path.parent.iterdir()) == table


def test_a_published_table_is_read_back_as_it_was_written(tables: Tables) -> None:
    """Rows, types and schema version, by us and by anybody who reads Parquet."""
    table = table_of("one", "two")
    tables.write(ASSET, HOUR, table, checked)
    assert tables.read(ASSET, HOUR).equals(table)
    assert tables.rows(ASSET, HOUR) == 2
    assert tables.schema(ASSET, HOUR).metadata[SCHEMA_VERSION_KEY] == b"1"
    with tables.connect() as connection:
        plain = connection.read_parquet(tables.url(ASSET, HOUR)).to_arrow_table()
    assert plain["text"].to_pylist() == ["one", "two"]
    assert only_the_table_is_left(tables)


def test_an_hour_without_rows_is_a_table_of_none(tables: Tables) -> None:
    """It has its columns and types all the same."""
    tables.write(ASSET, HOUR, table_of(), checked)
    assert tables.exists(ASSET, HOUR)
    assert tables.read(ASSET, HOUR).schema.equals(STAGE.schema)
    assert tables.pieces(ASSET, HOUR, ROW_GROUP_ROWS) == []


def test_a_table_that_is_not_there_says_what_to_materialize(tables: Tables) -> None:
    """Nothing to read is no table of 0 rows."""
    assert not tables.exists(ASSET, HOUR)
    assert tables.rows(ASSET, HOUR) == 0
    assert tables.pieces(ASSET, HOUR, ROW_GROUP_ROWS) == []
    with pytest.raises(FileNotFoundError, match=f"{ASSET} has no table for hour {HOUR}"):
        tables.read(ASSET, HOUR)


def test_hours_are_listed_oldest_first(tables: Tables) -> None:
    """A folder without a table is no hour, nor is another table's."""
    for hour in ("2026-03-02-07", "2025-12-31-23", "2026-03-02-06"):
        tables.write(ASSET, hour, table_of())
    tables.storage.put(f"{ASSET}/hour=2027-01-01-00/other", b"")
    tables.write(f"{ASSET}_too", "2027-01-01-01", table_of())
    assert tables.hours(ASSET) == ["2025-12-31-23", "2026-03-02-06", "2026-03-02-07"]


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 6, 4096])
def test_pieces_cover_every_item_once(tables: Tables, rows: int) -> None:
    """In order, and none is larger than asked for."""
    tables.write(ASSET, HOUR, table_of(*"abcde"))
    pieces = tables.pieces(ASSET, HOUR, rows)
    read = [tables.read(ASSET, HOUR, items=piece)["text"].to_pylist() for piece in pieces]
    assert "".join(text for piece in read for text in piece) == "abcde"
    assert max(map(len, read)) == min(rows, 5)


def test_pieces_lie_in_row_groups_and_a_range_reads_just_its_items(tables: Tables) -> None:
    """However the range lies to the groups; columns can be picked."""
    count = 2 * ROW_GROUP_ROWS + 5
    tables.write(ASSET, HOUR, table_of(*map(str, range(count))))
    pieces = tables.pieces(ASSET, HOUR, ROW_GROUP_ROWS)
    assert [first for first, _last in pieces] == ["i000000", "i004096", "i008192"]
    assert pieces[-1][1] == f"i{count - 1:06d}"
    whole = [tables.read(ASSET, HOUR, items=piece).num_rows for piece in pieces]
    assert whole == [ROW_GROUP_ROWS, ROW_GROUP_ROWS, 5]
    across = tables.read(ASSET, HOUR, ["text"], ("i004095", "i004097"))
    assert across.column_names == ["item_id", "text"]
    assert across["text"].to_pylist() == ["4095", "4096", "4097"]
    assert tables.read(ASSET, HOUR, items=("j", "k")).num_rows == 0


def test_a_broken_rule_is_not_published_and_the_old_table_stays(tables: Tables) -> None:
    """The message names table, rule and row."""
    tables.write(ASSET, HOUR, table_of("old"), checked)
    broken = to_table(
        [Row(("i1",), values(None), Status.OK, rung="plain", quality=1.0)], STAGE.schema
    )
    with pytest.raises(ContractError, match=r"text is null on an ok row.*'item_id': 'i1'"):
        tables.write(ASSET, HOUR, broken, checked)
    assert tables.read(ASSET, HOUR)["text"].to_pylist() == ["old"]
    assert only_the_table_is_left(tables)


def test_what_is_not_published_is_never_seen(tables: Tables) -> None:
    """An exception in the middle leaves the old table and no temp file."""
    tables.write(ASSET, HOUR, table_of("old"))

    def killed() -> None:
        with tables.writer(ASSET, HOUR, STAGE.schema, checked) as new:
            new.write(table_of("new"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed()
    assert tables.read(ASSET, HOUR)["text"].to_pylist() == ["old"]
    assert only_the_table_is_left(tables)


def test_bytes_that_changed_on_their_way_to_the_disk_are_not_published(tables: Tables) -> None:
    """One flipped bit is enough."""
    tables.write(ASSET, HOUR, table_of("old"))
    with tables.writer(ASSET, HOUR, STAGE.schema, checked) as writer:
        writer.write(table_of(*map(str, range(500))))
        writer._file.flush()
        with writer._temp.path.open("r+b") as file:
            file.seek(100)
            flipped = file.read(1)[0] ^ 1
            file.seek(100)
            file.write(bytes([flipped]))
        with pytest.raises(ContractError, match="differ from those written"):
            writer.publish()
    assert tables.read(ASSET, HOUR)["text"].to_pylist() == ["old"]
    assert only_the_table_is_left(tables)


class FullDisk(io.FileIO):
    """A file on a disk that takes so many bytes and no more."""

    left = 0

    def write(self, data: Any) -> int:
        """Take it all, or nothing."""
        if len(data) > FullDisk.left:
            raise OSError(errno.ENOSPC, "No space left on device")
        FullDisk.left -= len(data)
        return super().write(data) or 0


@pytest.mark.parametrize("room", [0, 6_000])
def test_a_full_disk_is_a_storage_error_and_the_old_table_stays(
    on_disk: Tables, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    """Whether it shows while rows are written or only when the last buffer is flushed."""
    tables = on_disk
    tables.write(ASSET, HOUR, table_of("old"))

    def opened(path: Path, _mode: str, buffering: int) -> io.BufferedWriter:  # noqa: ARG001
        return io.BufferedWriter(FullDisk(path, "w"))

    monkeypatch.setattr(FullDisk, "left", room)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", opened)
        with pytest.raises(StorageError, match=r"No space left.*run again"):
            tables.write(ASSET, HOUR, table_of(*(f"{n * 7919}" for n in range(2000))))
    assert tables.read(ASSET, HOUR)["text"].to_pylist() == ["old"]
    assert only_the_table_is_left(tables)


def test_a_table_of_a_newer_program_is_not_misread(tables: Tables) -> None:
    """The message says what to do."""
    newer = {SCHEMA_VERSION_KEY: str(SCHEMA_VERSION + 1).encode()}
    tables.write(ASSET, HOUR, table_of("x").replace_schema_metadata(newer))
    with pytest.raises(ContractError, match="upgrade pipeline-assets"):
        tables.read(ASSET, HOUR)


def test_what_a_killed_run_left_is_removed_with_the_next_write(tables: Tables) -> None:
    """But nothing that somebody is writing, and nothing that is not a temp file of the table."""
    path = tables.path(ASSET, HOUR)
    path.parent.mkdir(parents=True)
    dead, other = path.parent / ".part.parquet.123.tmp", path.parent / ".other.123.tmp"
    for file in (dead, other):
        file.touch()
    living = Temporary(path)
    with living.open():
        tables.write(ASSET, HOUR, table_of("one"))
        assert set(path.parent.iterdir()) - {path} == {other, living.path}
    living.release()
