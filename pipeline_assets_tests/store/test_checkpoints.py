"""Finished micro-batches, on a real disk and in a bucket."""

import logging
from contextlib import AbstractContextManager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pipeline_assets.errors import LeaseLost
from pipeline_assets.store.checkpoints import Checkpoints, shard_tables
from pipeline_assets.store.files import TEMP_SUFFIX
from pipeline_assets.store.storage import Storage

HOUR = "2026-03-02-06"


def shard(*items: str, run: str = "r") -> pa.Table:
    """Rows of a made-up stage."""
    return pa.table({"item_id": list(items), "run": [run] * len(items)})


def reopened(root: Storage, *, tidy: bool = True) -> Checkpoints:
    """What the next run finds."""
    return Checkpoints(root, "toy", HOUR, tidy=tidy)


def found(checkpoints: Checkpoints, first: str = "a", last: str = "z") -> list[tuple[str, str]]:
    """The rows between two items, in the order in which they are laid over each other."""
    return [
        (row["item_id"], row["run"])
        for table in checkpoints.read(first, last)
        for row in table.to_pylist()
    ]


def shards(root: Storage) -> list[str]:
    """What there is of shards."""
    return root.names(f"toy/hour={HOUR}", "*.arrow")


def orphan(root: Storage, number: int) -> Path:
    """What a killed run was just writing."""
    path = root.place(f"toy/hour={HOUR}/.{number:06d}.arrow.1{TEMP_SUFFIX}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"half")
    return path


def test_a_killed_runs_rows_are_found_by_the_next(storage: Storage) -> None:
    """In the order in which they were written, so that the later one wins."""
    before = reopened(storage)
    assert not before
    before.write(shard("a", "b", run="first"))
    before.write(shard("b", "c", run="second"))
    after = reopened(storage)
    assert after
    assert after.recovered_rows == 4
    expected = [("a", "first"), ("b", "first"), ("b", "second"), ("c", "second")]
    assert found(after) == expected
    after.write(shard("a", run="third"))
    assert found(reopened(storage)) == [*expected, ("a", "third")]


def test_only_the_items_asked_for_are_read(storage: Storage) -> None:
    """Both ends included."""
    checkpoints = reopened(storage)
    checkpoints.write(shard("a", "c", "e"))
    checkpoints.write(shard("x"))
    assert found(checkpoints, "b", "e") == [("c", "r"), ("e", "r")]
    assert found(checkpoints, "f", "g") == []


def test_cleared_shards_are_gone(storage: Storage) -> None:
    """Their rows are in the table by then."""
    checkpoints = reopened(storage)
    checkpoints.write(shard("a"))
    checkpoints.clear()
    assert not checkpoints
    assert not shards(storage)
    checkpoints.clear()


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty"])
def test_a_damaged_shard_is_thrown_away_and_said_so(
    storage: Storage, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    """The others stand."""
    checkpoints = reopened(storage)
    checkpoints.write(shard("a"))
    checkpoints.write(shard("b"))
    name = shards(storage)[0]
    data = storage.whole(name).to_pybytes()
    spoiled = {"flipped": data[:50] + bytes([data[50] ^ 1]) + data[51:], "cut": data[:-9]}
    storage.put(name, spoiled.get(damage, b""))
    with caplog.at_level(logging.WARNING):
        after = reopened(storage)
    assert found(after) == [("b", "r")]
    assert storage.url(name) in caplog.text
    assert not storage.exists(name)


def test_half_written_files_of_a_killed_run_are_removed(storage: Storage) -> None:
    """They were never reported."""
    checkpoints = reopened(storage)
    checkpoints.write(shard("a"))
    half = orphan(storage, 2)
    assert reopened(storage).recovered_rows == 1
    assert not half.exists()


def test_a_write_that_the_guard_refuses_leaves_no_shard(storage: Storage) -> None:
    """The lease went to a successor: what comes late must not be found by anybody."""

    def taken_over() -> AbstractContextManager[None]:
        raise LeaseLost("toy", 1, 2)

    stale = Checkpoints(storage, "toy", HOUR, guard=taken_over)
    with pytest.raises(LeaseLost):
        stale.write(shard("a"))
    assert not reopened(storage)


def test_a_mere_look_removes_nothing(storage: Storage) -> None:
    """A dry run must not take the file that a run beside it is just writing."""
    checkpoints = reopened(storage)
    checkpoints.write(shard("a"))
    checkpoints.write(shard("b"))
    damaged = shards(storage)[0]
    storage.put(damaged, b"")
    half = orphan(storage, 3)
    assert found(reopened(storage, tidy=False)) == [("b", "r")]
    assert half.exists()
    assert storage.exists(damaged)


def test_a_shard_that_comes_late_lies_over_a_table_that_is_no_more(storage: Storage) -> None:
    """In a bucket no lock holds it back: the successor has published, and its rows stand."""
    slow = Checkpoints(storage, "toy", HOUR, base="first table", tidy=False)
    slow.write(shard("a", run="slow"))
    assert found(Checkpoints(storage, "toy", HOUR, base="first table")) == [("a", "slow")]
    after = Checkpoints(storage, "toy", HOUR, base="second table")
    assert not after
    slow.write(shard("b", run="slow"))
    after.write(shard("a", run="next"))
    again = Checkpoints(storage, "toy", HOUR, base="second table")
    assert found(again) == [("a", "next")]
    assert len(storage.names(f"toy/hour={HOUR}", "*/*.arrow")) == 1


def test_shards_are_rewritten_in_their_order(storage: Storage) -> None:
    """Without some rows, over a table that was changed as well; one without rows left goes."""
    left = Checkpoints(storage, "toy", HOUR, base="v1")
    for table in (shard("a", "b"), shard("a", run="later"), shard("b", run="later")):
        left.write(table)

    def without_a(table: pa.Table) -> pa.Table:
        keep = table.filter(pc.not_equal(table["item_id"], "a"))
        return keep if len(keep) < len(table) else table

    assert left.rewrite(without_a, "v2")
    again = Checkpoints(storage, "toy", HOUR, base="v2")
    assert found(again) == [("b", "r"), ("b", "later")]
    assert len(storage.names(f"toy/hour={HOUR}", "*/*.arrow")) == 2
    assert not again.rewrite(without_a, "v2")


def test_every_sound_shard_can_be_read(storage: Storage) -> None:
    """Whichever table it lies over."""
    for base in ("", "v1", "v2"):
        Checkpoints(storage, "toy", HOUR, base=base, tidy=False).write(shard(f"over {base}"))
    storage.put(f"toy/hour={HOUR}/000009-0123456789abcdef.arrow", b"damaged")
    items = [table["item_id"][0].as_py() for table in shard_tables(storage, "toy", HOUR)]
    assert sorted(items) == ["over ", "over v1", "over v2"]
