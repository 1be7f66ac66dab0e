"""Footers: read once for as long as a file stands."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline_assets.store.footers import KEPT, Footers
from pipeline_assets.store.storage import LocalStorage, Storage


def write(storage: Storage, name: str, table: pa.Table) -> None:
    """Put a table there, two rows to a row group."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=2)
    storage.put(name, sink.getvalue().to_pybytes())


def written(storage: Storage, name: str, *items: str) -> str:
    """A table of items."""
    write(storage, name, pa.table({"item_id": pa.array(items, pa.string())}))
    return name


def test_the_spans_of_row_groups_say_which_to_read(storage: Storage) -> None:
    """Those that may hold an item of the range, whole or in part."""
    _, footer = Footers(storage).open(written(storage, "t", *"abcdef"))
    assert footer.spans == (("a", "b"), ("c", "d"), ("e", "f"))
    assert [footer.groups(*span) for span in ("ab", "bc", "az", "dd", "xz")] == [
        [0], [0, 1], [0, 1, 2], [1], [],
    ]  # fmt: skip


def test_a_footer_is_parsed_once(storage: Storage) -> None:
    """However often the file is read; the file is open each time anew."""
    footers, name = Footers(storage), written(storage, "t", "a", "b")
    first, second = footers.open(name), footers.open(name)
    assert first[1] is second[1]
    assert second[0].read().num_rows == 2


def test_a_file_that_was_replaced_is_another(storage: Storage) -> None:
    """Under the same name, and with the same size."""
    footers, name = Footers(storage), written(storage, "t", "a", "b")
    footers.open(name)
    written(storage, name, "c", "d")
    file, footer = footers.open(name)
    assert footer.spans == (("c", "d"),)
    assert file.read()["item_id"].to_pylist() == ["c", "d"]


@pytest.mark.parametrize("table", [pa.table({"line": [1, 2]}), pa.table({"item_id": [None, None]})])
def test_a_row_group_that_does_not_say_may_hold_any_item(storage: Storage, table: pa.Table) -> None:
    """It is read rather than missed."""
    write(storage, "t", table)
    assert Footers(storage).open("t")[1].groups("a", "b") == [0]


def test_just_so_many_are_kept(storage: Storage) -> None:
    """A process that lives through many hours does not grow."""
    footers = Footers(storage)
    for number in range(KEPT + 5):
        footers.open(written(storage, str(number), "a"))
    assert len(footers._known) == KEPT


def test_threads_share_them(tmp_path: Path) -> None:
    """As those of the service do; each opens files that make others' go."""
    storage = LocalStorage(tmp_path)
    footers = Footers(storage)
    names = [written(storage, f"t{number}", f"i{number}") for number in range(KEPT + 8)]

    def all_opened(first: int) -> bool:
        turned = [*range(first, len(names)), *range(first)]
        return all(footers.open(names[n])[1].spans == ((f"i{n}", f"i{n}"),) for n in turned)

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(all_opened, range(0, len(names), 2)))
    assert len(footers._known) <= KEPT
