"""Connections that are kept for the next reader, and what must not be read through them."""

import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline_assets.search import IndexDamaged, SearchIndex
from pipeline_assets.search.readers import KEPT, Readers
from pipeline_assets_tests.search.samples import HOUR, item, table

COUNT = "SELECT items FROM total"


def _items(readers: Readers) -> int:
    with readers.snapshot() as snapshot:
        assert snapshot is not None
        return int(snapshot.connection.execute(COUNT).fetchone()[0])


def _fail(readers: Readers) -> None:
    with readers.snapshot() as snapshot:
        assert snapshot is not None
        snapshot.connection.execute("SELECT nothing FROM nowhere")


@pytest.fixture
def readers(index: SearchIndex, root: Path) -> Readers:
    """Of an index with one item."""
    index.replace_hour(HOUR, table(item("a", "one")))
    return Readers(root)


def test_the_next_reader_has_the_same_connection_and_the_newest_state(
    readers: Readers, index: SearchIndex
) -> None:
    """A connection that waits holds no snapshot."""
    with readers.snapshot() as first:
        assert _items(readers) == 1  # a reader of its own
    index.replace_hour(HOUR, table(item("a", "one"), item("b", "two")))
    with readers.snapshot() as second:
        assert first is not None
        assert second is not None
        assert second.connection is first.connection
        assert second.connection.execute(COUNT).fetchone() == (2,)


def test_a_reader_sees_one_state_throughout(readers: Readers, index: SearchIndex) -> None:
    """Whatever is written meanwhile."""
    with readers.snapshot() as snapshot:
        assert snapshot is not None
        index.replace_hour(HOUR, table(item("a", "one"), item("b", "two")))
        assert snapshot.connection.execute(COUNT).fetchone() == (1,)


def test_a_connection_to_an_index_that_was_replaced_is_closed(
    readers: Readers, index: SearchIndex
) -> None:
    """It would answer from the old one, and hold its space on the disk."""
    with readers.snapshot() as old:
        assert old is not None
    index.rebuild([(HOUR, table(item("a", "one"), item("b", "two"), item("c", "three")))])
    assert _items(readers) == 3
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        old.connection.execute(COUNT)


def test_an_old_index_is_let_go_in_whatever_order_its_readers_end(
    readers: Readers, index: SearchIndex
) -> None:
    """Also where one of the new index waits above them."""
    with readers.snapshot() as first, readers.snapshot() as second:
        index.rebuild([(HOUR, table(item("a", "one"), item("b", "two")))])
        with readers.snapshot():
            pass
    assert _items(readers) == 2
    for old in (first, second):
        assert old is not None
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            old.connection.execute(COUNT)


def test_an_index_that_is_put_back_from_a_copy_is_read(
    readers: Readers, index: SearchIndex, root: Path
) -> None:
    """It has the names of the one that is gone; a kept connection would answer from that."""
    assert _items(readers) == 1
    copy = root.with_name("copy")
    shutil.copytree(root, copy)
    shutil.rmtree(root)
    with readers.snapshot() as nothing:
        assert nothing is None
    assert not readers._waiting
    copy.rename(root)
    index.replace_hour(HOUR, table(item("a", "one"), item("b", "two")))
    assert _items(readers) == 2


def test_a_connection_on_which_something_failed_is_not_used_again(readers: Readers) -> None:
    """Nobody knows what state it is in."""
    with readers.snapshot() as snapshot:
        assert snapshot is not None
    with pytest.raises(IndexDamaged):
        _fail(readers)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        snapshot.connection.execute(COUNT)
    assert _items(readers) == 1


def test_closing_closes_what_waits_and_readers_may_come_again(readers: Readers) -> None:
    """As the resources do at their end."""
    with readers.snapshot() as snapshot:
        assert snapshot is not None
    readers.close()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        snapshot.connection.execute(COUNT)
    assert _items(readers) == 1


def test_a_crowd_leaves_no_more_than_a_few_connections_behind(readers: Readers) -> None:
    """However many read at once, in whatever threads."""
    with ThreadPoolExecutor(3 * KEPT) as crowd:
        assert set(crowd.map(lambda _: _items(readers), range(20 * KEPT))) == {1}
    assert len(readers._waiting) <= KEPT
