"""Writers that die, and readers that do not wait for writers."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline_assets.search import Mode, SearchIndex, vector
from pipeline_assets_tests.search.killed_writer import NEW_ROWS, POINTS, REBUILD_POINTS
from pipeline_assets_tests.search.samples import (
    EMBEDDERS,
    HOUR,
    NEXT_HOUR,
    embed,
    item,
    pictured,
    table,
)

OLD_ROWS = [pictured(f"old-{n}", "red", name="old mug") for n in range(20)]


@contextmanager
def stopped_writer(root: Path, point: str, what: str = "replace_hour") -> Iterator[None]:
    """A real process in the middle of building; killed at the end."""
    module = "pipeline_assets_tests.search.killed_writer"
    command = [sys.executable, "-m", module, str(root), what, point]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as writer:
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "reached\n"
            yield
        finally:
            writer.kill()
    assert writer.returncode == -9


def state(root: Path) -> tuple[int, set[str], set[str]]:
    """How many items there are, and what keyword and vector search find of old and new."""
    index = SearchIndex(root)

    def names(query: str, mode: Mode) -> set[str]:
        hits = index.search(query, mode=mode, top=100, embedders=EMBEDDERS)
        return {hit.item_id for hit in hits}

    return index.count(), names("mug", "keyword"), names("red blue", "vector")


OLD_IDS = {row["item_id"] for row in OLD_ROWS}
NEW_IDS = {row["item_id"] for row in NEW_ROWS}
OLD, NEW = (len(OLD_IDS), OLD_IDS, OLD_IDS), (len(NEW_IDS), NEW_IDS, NEW_IDS)


@pytest.mark.parametrize("point", [point for point in POINTS if point != "creating"])
def test_a_killed_build_leaves_a_whole_index(root: Path, point: str) -> None:
    """Killed anywhere, what was committed is found, and the next build goes through."""
    SearchIndex(root).replace_hour(HOUR, table(*OLD_ROWS))
    expected = NEW if point == "after the commit" else OLD
    with stopped_writer(root, point):
        assert state(root) == expected
    assert state(root) == expected
    SearchIndex(root).replace_hour(HOUR, table(*NEW_ROWS))
    assert state(root) == NEW
    assert len(list(root.glob("*/*.faiss"))) == 1


@pytest.mark.parametrize("point", REBUILD_POINTS)
def test_a_killed_rebuild_leaves_the_old_index_or_the_new_one(root: Path, point: str) -> None:
    """What it left behind is gone after the next."""
    SearchIndex(root).replace_hour(HOUR, table(*OLD_ROWS))
    expected = NEW if point == "after the swap" else OLD
    with stopped_writer(root, point, "rebuild"):
        assert state(root) == expected
    assert state(root) == expected
    SearchIndex(root).rebuild([(HOUR, table(*NEW_ROWS))])
    assert state(root) == NEW
    assert len(list(root.glob("generation-*"))) == 1


def test_a_writer_killed_before_anything_was_there_leaves_nothing_in_the_way(root: Path) -> None:
    """A first build that dies leaves no half-made database."""
    with stopped_writer(root, "creating"):
        pass
    assert state(root) == (0, set(), set())
    SearchIndex(root).replace_hour(HOUR, table(*NEW_ROWS))
    assert state(root) == NEW


def test_readers_during_rebuilds_see_one_state_or_the_other(root: Path) -> None:
    """Never a mixture, never an error, never a list too few."""
    writer, reader = SearchIndex(root), SearchIndex(root)
    versions = table(*OLD_ROWS), table(*NEW_ROWS)
    writer.replace_hour(HOUR, versions[0])
    done = Event()

    def read() -> int:
        rounds = 0
        while not done.is_set() or rounds == 0:
            hits = reader.search("red blue mug", top=100, embedders=EMBEDDERS)
            assert {hit.item_id for hit in hits} in (OLD_IDS, NEW_IDS)
            assert all(hit.ranks.keys() == {"keyword", "vector:clip-a:image"} for hit in hits)
            rounds += 1
        return rounds

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        try:
            for turn in range(1, 12):
                writer.replace_hour(HOUR, versions[turn % 2])
        finally:
            done.set()
        assert all(one.result() > 0 for one in readers)


def test_readers_during_a_rebuild_get_complete_answers(root: Path) -> None:
    """Also those that open the index just when it is replaced."""
    versions = table(*OLD_ROWS), table(*NEW_ROWS)
    SearchIndex(root).replace_hour(HOUR, versions[0])
    done = Event()

    def read() -> int:
        rounds, kept = 0, SearchIndex(root)
        while not done.is_set() or rounds == 0:
            for reader in (kept, SearchIndex(root)):
                hits = reader.search("red blue mug", top=100, embedders=EMBEDDERS)
                assert {hit.item_id for hit in hits} in (OLD_IDS, NEW_IDS)
                assert all(len(hit.ranks) == 2 for hit in hits)
            rounds += 1
        return rounds

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        try:
            for turn in range(1, 12):
                SearchIndex(root).rebuild([(HOUR, versions[turn % 2])])
        finally:
            done.set()
        assert all(one.result() > 0 for one in readers)


def test_writers_wait_for_each_other(root: Path) -> None:
    """Hours that are indexed at once all arrive."""
    hours = [f"2026-03-02-{n:02}" for n in range(8)]

    def write(hour: str) -> None:
        SearchIndex(root).replace_hour(hour, table(pictured(hour, "red"), item("shared", "mug")))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, hours))
    index = SearchIndex(root)
    assert index.count() == len(hours) + 1
    hits = index.search("red", mode="vector", top=20, embedders=EMBEDDERS)
    assert {hit.item_id for hit in hits} == set(hours)
    (shared,) = index.search("mug", embedders=EMBEDDERS)
    assert shared.hour == hours[-1]


def test_a_reader_whose_vector_file_was_replaced_still_answers(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It makes the index of its snapshot from the vectors of its snapshot."""
    SearchIndex(root).replace_hour(HOUR, table(*OLD_ROWS))
    load = vector.load

    def load_too_late(path: Path) -> Any:
        SearchIndex(root).replace_hour(HOUR, table(*NEW_ROWS))
        assert not path.exists()
        return load(path)

    monkeypatch.setattr(vector, "load", load_too_late)
    hits = SearchIndex(root).search("red blue", mode="vector", top=100, embedders=EMBEDDERS)
    assert {hit.item_id for hit in hits} == OLD_IDS


def test_an_hour_indexed_while_the_query_is_embedded_is_not_half_in(root: Path) -> None:
    """One search is one snapshot, however long its models take."""
    index = SearchIndex(root)
    index.replace_hour(HOUR, table(*OLD_ROWS))

    def slow(texts: Sequence[str]) -> NDArray[np.float32]:
        index.replace_hour(NEXT_HOUR, table(*NEW_ROWS))
        return embed(texts)

    hits = index.search("red mug", top=100, embedders={"clip-a": slow})
    assert {hit.item_id for hit in hits} == OLD_IDS
    assert index.count() == len(OLD_IDS | NEW_IDS)
