"""Finished micro-batches on a real disk."""

import logging
from contextlib import AbstractContextManager
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline_assets.adapters.checkpoints import Checkpoints
from pipeline_assets.adapters.files import TEMP_SUFFIX
from pipeline_assets.errors import LeaseLost

HOUR = "2026-03-02-06"


def shard(*items: str, run: str = "r") -> pa.Table:
    """Rows of a made-up stage."""
    return pa.table({"item_id": list(items), "run": [run] * len(items)})


def reopened(root: Path, *, tidy: bool = True) -> Checkpoints:
    """What the next run finds."""
    return Checkpoints(root, "toy", HOUR, tidy=tidy)


def found(checkpoints: Checkpoints, first: str = "a", last: str = "z") -> list[tuple[str, str]]:
    """The rows between two items, in the order in which they are laid over each other."""
    return [
        (row["item_id"], row["run"])
        for table in checkpoints.read(first, last)
        for row in table.to_pylist()
    ]


def folder(root: Path) -> Path:
    """Where the shards lie."""
    return root / "toy" / f"hour={HOUR}"


def test_a_killed_runs_rows_are_found_by_the_next(tmp_path: Path) -> None:
    """In the order in which they were written, so that the later one wins."""
    before = reopened(tmp_path)
    assert not before
    before.write(shard("a", "b", run="first"))
    before.write(shard("b", "c", run="second"))
    after = reopened(tmp_path)
    assert after
    assert after.recovered_rows == 4
    expected = [("a", "first"), ("b", "first"), ("b", "second"), ("c", "second")]
    assert found(after) == expected
    after.write(shard("a", run="third"))
    assert found(reopened(tmp_path)) == [*expected, ("a", "third")]


def test_only_the_items_asked_for_are_read(tmp_path: Path) -> None:
    """Both ends included."""
    checkpoints = reopened(tmp_path)
    checkpoints.write(shard("a", "c", "e"))
    checkpoints.write(shard("x"))
    assert found(checkpoints, "b", "e") == [("c", "r"), ("e", "r")]
    assert found(checkpoints, "f", "g") == []


def test_cleared_shards_are_gone(tmp_path: Path) -> None:
    """Their rows are in the table by then."""
    checkpoints = reopened(tmp_path)
    checkpoints.write(shard("a"))
    checkpoints.clear()
    assert not checkpoints
    assert not list(folder(tmp_path).iterdir())
    checkpoints.clear()


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty"])
def test_a_damaged_shard_is_thrown_away_and_said_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    """The others stand."""
    checkpoints = reopened(tmp_path)
    checkpoints.write(shard("a"))
    checkpoints.write(shard("b"))
    path = min(folder(tmp_path).iterdir())
    data = path.read_bytes()
    spoiled = {"flipped": data[:50] + bytes([data[50] ^ 1]) + data[51:], "cut": data[:-9]}
    path.write_bytes(spoiled.get(damage, b""))
    with caplog.at_level(logging.WARNING):
        after = reopened(tmp_path)
    assert found(after) == [("b", "r")]
    assert str(path) in caplog.text
    assert not path.exists()


def test_half_written_files_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    """They were never reported."""
    checkpoints = reopened(tmp_path)
    checkpoints.write(shard("a"))
    orphan = folder(tmp_path) / f".000002.arrow.1{TEMP_SUFFIX}"
    orphan.write_bytes(b"half")
    assert reopened(tmp_path).recovered_rows == 1
    assert not orphan.exists()


def test_a_write_that_the_guard_refuses_leaves_no_shard(tmp_path: Path) -> None:
    """The lease went to a successor: what comes late must not be found by anybody."""

    def taken_over() -> AbstractContextManager[None]:
        raise LeaseLost("toy", 1, 2)

    stale = Checkpoints(tmp_path, "toy", HOUR, guard=taken_over)
    with pytest.raises(LeaseLost):
        stale.write(shard("a"))
    assert not reopened(tmp_path)


def test_a_mere_look_removes_nothing(tmp_path: Path) -> None:
    """A dry run must not take the file that a run beside it is just writing."""
    checkpoints = reopened(tmp_path)
    checkpoints.write(shard("a"))
    checkpoints.write(shard("b"))
    damaged = min(folder(tmp_path).iterdir())
    damaged.write_bytes(b"")
    orphan = folder(tmp_path) / f".000003.arrow.1{TEMP_SUFFIX}"
    orphan.write_bytes(b"half")
    assert found(reopened(tmp_path, tidy=False)) == [("b", "r")]
    assert orphan.exists()
    assert damaged.exists()
