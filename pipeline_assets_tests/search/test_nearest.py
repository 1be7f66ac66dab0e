"""How near is near: what all vectors have in common with a query says nothing about one."""

import pytest

from pipeline_assets.search import SearchIndex
from pipeline_assets_tests.search.samples import EMBEDDERS, HOUR, pictured, table


@pytest.fixture
def shelf(index: SearchIndex) -> SearchIndex:
    """Round things, one of them red."""
    rows = [pictured(f"i{n:02}", "round", name="thing") for n in range(60)]
    index.replace_hour(HOUR, table(*rows, pictured("red", "red round", name="thing")))
    return index


def test_what_is_no_nearer_than_most_is_no_hit(shelf: SearchIndex) -> None:
    """A picture of the same shop is not yet what was asked for."""
    hits = shelf.search("red round", mode="vector", embedders=EMBEDDERS)
    assert hits[0].item_id == "red"
    gains = [hit.gains["vector:clip-a:image"] for hit in hits]
    assert gains[1].confidence < 0.5


def test_equals_are_equally_near(shelf: SearchIndex) -> None:
    """By the last bit."""
    hits = shelf.search("red round", mode="vector", embedders=EMBEDDERS)
    assert len({hit.gains["vector:clip-a:image"].match for hit in hits[1:]}) == 1
