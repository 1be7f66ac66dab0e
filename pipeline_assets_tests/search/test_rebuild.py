"""An index made anew from the tables."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline_assets.search import DimensionMismatch, SearchIndex
from pipeline_assets_tests.search.samples import (
    EMBEDDERS,
    HOUR,
    NEXT_HOUR,
    item,
    pictured,
    table,
)

HOURS = [
    (HOUR, table(pictured("a", "red", name="old mug"), item("b", "pot"))),
    (NEXT_HOUR, table(pictured("a", "blue", name="new mug", minutes=60))),
]


def answers(index: SearchIndex) -> dict[str, list[tuple[str, str, float]]]:
    """What some queries find, and how well."""

    def answer(query: str) -> list[tuple[str, str, float]]:
        hits = index.search(query, embedders=EMBEDDERS)
        return [(hit.item_id, hit.hour, hit.score) for hit in hits]

    return {query: answer(query) for query in ("red", "blue", "mug", "old", "pot")}


def test_a_rebuilt_index_answers_as_one_that_grew(tmp_path: Path) -> None:
    """Whatever order the hours came in."""
    grown, rebuilt = SearchIndex(tmp_path / "grown"), SearchIndex(tmp_path / "rebuilt")
    for hour, rows in reversed(HOURS):
        grown.replace_hour(hour, rows)
    done = rebuilt.rebuild(HOURS)
    assert (done.hours, done.items) == (2, 2)
    assert answers(rebuilt) == answers(grown)
    assert rebuilt.hours() == [HOUR, NEXT_HOUR]
    grown.rebuild(HOURS)
    assert answers(grown) == answers(rebuilt)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "index.db").write_bytes(b"not a database" * 1_000),
        lambda folder: (folder / "index.db").unlink(),
        shutil.rmtree,
        lambda folder: shutil.rmtree(folder.parent),
        lambda folder: (folder.parent / "current").write_text("elsewhere"),
    ],
)
def test_a_damaged_or_missing_index_is_made_anew(
    index: SearchIndex, root: Path, damage: Callable[[Path], object]
) -> None:
    """From the tables alone."""
    index.rebuild(HOURS)
    before = answers(index)
    damage(root / (root / "current").read_text())
    index.rebuild(HOURS)
    assert answers(index) == answers(SearchIndex(root)) == before
    assert len(list(root.glob("generation-*"))) == 1


def test_a_rebuild_that_fails_changes_nothing(index: SearchIndex) -> None:
    """The old index goes on."""
    index.rebuild(HOURS)
    before = answers(index)
    bad = table(pictured("x", "red"), pictured("y", "red", embedding=[1.0]))

    def hours() -> Iterator[tuple[str, pa.Table]]:
        yield HOURS[0]
        yield NEXT_HOUR, bad

    with pytest.raises(DimensionMismatch):
        index.rebuild(hours())
    assert answers(index) == before


def test_an_hour_goes_on_from_a_rebuilt_index(index: SearchIndex) -> None:
    """As from any other."""
    index.rebuild(HOURS)
    index.replace_hour(NEXT_HOUR, table())
    assert [hit.hour for hit in index.search("old mug", embedders=EMBEDDERS)][:1] == [HOUR]
    assert index.count() == 2


def test_no_hours_make_an_empty_index(index: SearchIndex) -> None:
    """Which is an index."""
    assert index.rebuild([]).items == 0
    assert (index.exists(), index.count(), index.vector_indexes()) == (True, 0, [])
