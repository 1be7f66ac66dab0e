"""Footers: read once for as long as a file stands."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline_assets.adapters.footers import KEPT, Footers


def written(path: Path, *items: str) -> Path:
    """A table of items, two to a row group."""
    table = pa.table({"item_id": pa.array(items, pa.string())})
    pq.write_table(table, path, row_group_size=2)
    return path


def test_the_spans_of_row_groups_say_which_to_read(tmp_path: Path) -> None:
    """Those that may hold an item of the range, whole or in part."""
    _, footer = Footers().open(written(tmp_path / "t", *"abcdef"))
    assert footer.spans == (("a", "b"), ("c", "d"), ("e", "f"))
    assert [footer.groups(*span) for span in ("ab", "bc", "az", "dd", "xz")] == [
        [0], [0, 1], [0, 1, 2], [1], [],
    ]  # fmt: skip


def test_a_footer_is_parsed_once(tmp_path: Path) -> None:
    """However often the file is read; the file is open each time anew."""
    footers, path = Footers(), written(tmp_path / "t", "a", "b")
    first, second = footers.open(path), footers.open(path)
    assert first[1] is second[1]
    assert second[0].read().num_rows == 2


def test_a_file_that_was_replaced_is_another(tmp_path: Path) -> None:
    """Under the same name, and with the same size."""
    footers, path = Footers(), written(tmp_path / "t", "a", "b")
    footers.open(path)
    written(tmp_path / "new", "c", "d").replace(path)
    file, footer = footers.open(path)
    assert footer.spans == (("c", "d"),)
    assert file.read()["item_id"].to_pylist() == ["c", "d"]


@pytest.mark.parametrize("table", [pa.table({"line": [1, 2]}), pa.table({"item_id": [None, None]})])
def test_a_row_group_that_does_not_say_may_hold_any_item(tmp_path: Path, table: pa.Table) -> None:
    """It is read rather than missed."""
    pq.write_table(table, tmp_path / "t")
    assert Footers().open(tmp_path / "t")[1].groups("a", "b") == [0]


def test_just_so_many_are_kept(tmp_path: Path) -> None:
    """A process that lives through many hours does not grow."""
    footers = Footers()
    for number in range(KEPT + 5):
        footers.open(written(tmp_path / str(number), "a"))
    assert len(footers._known) == KEPT
