"""Whether items are found by their own names."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline_assets.core.names import ENRICHED
from pipeline_assets.monitoring.findable import PATIENCE_S, SAMPLE, TOP, findable
from pipeline_assets.resources import Resources
from pipeline_assets.search.store import DATABASE
from pipeline_assets.settings import load_settings
from pipeline_assets_tests.search.samples import HOUR, NEXT_HOUR, item, table


@dataclass(frozen=True)
class Shelf:
    """A data root of enriched items and their index."""

    resources: Resources

    def hour(self, *rows: dict[str, Any], hour: str = HOUR, indexed: bool = True) -> None:
        """Publish an hour's items, and index them."""
        self.resources.tables.write(ENRICHED, hour, table(*rows))
        if indexed:
            self.resources.search.replace_hour(hour, table(*rows))

    def found(self, hour: str = HOUR) -> tuple[int | None, int | None]:
        """How many were searched for, and found."""
        found = findable(self.resources, hour)
        return found.attempted, found.succeeded


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data root."""
    return tmp_path / "data"


@pytest.fixture
def shelf(root: Path) -> Iterator[Shelf]:
    """A data root with nothing in it."""
    resources = Resources(load_settings(data=root, accelerator="cpu"))
    yield Shelf(resources)
    resources.close()


def test_an_indexed_item_is_found_by_its_name(shelf: Shelf) -> None:
    """One without a name is not searched for."""
    shelf.hour(item("a", "Red enamel kettle"), item("b", "Green kettle"), item("c"))
    assert shelf.found() == (2, 2)
    assert findable(shelf.resources, HOUR).note == "in the first 10 hits; 2 of 2 items asked"


def test_an_item_that_the_index_lacks_is_not_found_though_its_namesake_is(shelf: Shelf) -> None:
    """Nor is one whose name has no word to search for."""
    shelf.hour(item("a", "Kettle"), item("silent", "?!"))
    shelf.hour(item("a", "Kettle"), item("b", "Kettle"), item("silent", "?!"), indexed=False)
    assert shelf.found() == (3, 1)


def test_namesakes_are_found_together(shelf: Shelf) -> None:
    """More of them than hits: words cannot tell which is meant."""
    shelf.hour(*(item(f"k{n}", "Kettle", description=f"number {n}") for n in range(TOP + 5)))
    assert shelf.found() == (TOP + 5, TOP + 5)


def test_a_superseded_item_is_not_searched_for(shelf: Shelf) -> None:
    """Its newer self is another hour's."""
    shelf.hour(item("a", "Kettle"), item("b", "Teapot"))
    shelf.hour(item("a", "Cauldron", minutes=60), hour=NEXT_HOUR)
    assert shelf.found() == (1, 1)
    assert shelf.found(NEXT_HOUR) == (1, 1)


def test_of_many_items_the_same_sample_is_searched_for(shelf: Shelf) -> None:
    """So that two runs of an hour differ by what changed, and little by chance."""
    shelf.hour(*(item(f"i{n:04}", f"Kettle no {n}") for n in range(3 * SAMPLE)))
    first = findable(shelf.resources, HOUR, timer=lambda: 0.0)
    assert (first.attempted, first.note) == (
        SAMPLE,
        f"in the first 10 hits; {SAMPLE} of {3 * SAMPLE} items asked",
    )
    assert findable(shelf.resources, HOUR, timer=lambda: 0.0) == first


def test_no_more_is_searched_for_than_there_is_time(shelf: Shelf) -> None:
    """A huge index answers slowly; one item is asked for at least."""
    shelf.hour(*(item(f"i{n:04}", f"Kettle no {n}") for n in range(10)))
    seconds = itertools.count(step=PATIENCE_S / 2)
    found = findable(shelf.resources, HOUR, timer=lambda: next(seconds))
    assert (found.attempted, found.succeeded) == (2, 2)


def test_without_an_index_nothing_is_measured_and_that_is_said(shelf: Shelf) -> None:
    """It is no rate of zero."""
    shelf.hour(item("a", "Kettle"), indexed=False)
    assert shelf.found() == (None, None)
    assert "there is no search index" in findable(shelf.resources, HOUR).note


def test_a_damaged_index_is_not_measured_and_that_is_said(shelf: Shelf, root: Path) -> None:
    """The other figures stand all the same."""
    shelf.hour(item("a", "Kettle"))
    for path in root.rglob(f"{DATABASE}*"):
        path.write_bytes(b"no database" * 1000)
    assert shelf.found() == (None, None)
    assert "cannot be read" in findable(shelf.resources, HOUR).note


def test_an_hour_without_items_asks_for_none(shelf: Shelf) -> None:
    """Whether there is an index or not."""
    shelf.hour(indexed=False)
    assert shelf.found() == (0, 0)
