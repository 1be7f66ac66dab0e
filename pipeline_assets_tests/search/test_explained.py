"""Hits that say why they are where they are."""

import pytest

from pipeline_assets.search import SearchIndex, vector_rows
from pipeline_assets_tests.search.samples import EMBEDDERS, HOUR, item, pictured, table
from pipeline_assets_tests.search.test_filters import LABELLED

NEAR = 0.5**0.5
COMMON = (1.0 + NEAR) / (2 + vector_rows.ZEROS)
"""What the query has with the mean of both vectors."""


def test_what_each_list_gave_adds_up_to_the_score(index: SearchIndex) -> None:
    """Rank, match, share of the best, and what the quality left of it."""
    red = pictured("a", "red", name="Red mug", quality=0.9, quality_factors=LABELLED)
    index.replace_hour(HOUR, table(red, pictured("b", "red green", name="Pan")))
    first, second = index.search("red", embedders=EMBEDDERS)
    assert first.score == pytest.approx(sum(gain.gain for gain in first.gains.values()))
    keyword, near = first.gains["keyword"], first.gains["vector:clip-a:image"]
    assert (keyword.rank, keyword.confidence) == (1, 1.0)
    assert near.match == pytest.approx(1.0 - COMMON)
    assert near.gain == pytest.approx(0.9 / 61)
    (other,) = second.gains.values()
    assert other.rank == 2
    assert other.confidence == pytest.approx((NEAR - COMMON) / (1.0 - COMMON))


def test_the_factors_of_the_quality_come_along(index: SearchIndex) -> None:
    """As they are in the tables."""
    index.replace_hour(HOUR, table(item("a", "mug", quality=0.9, quality_factors=LABELLED)))
    (hit,) = index.search("mug", embedders={})
    assert (hit.weight, hit.kind, list(hit.factors)) == (0.9, "product", LABELLED)


def test_a_better_twin_says_whose_score_it_was_given(index: SearchIndex) -> None:
    """It has no list of its own to show."""
    same = {"name": "pot", "image_url": "http://shop/pot"}
    good = pictured("good", "green", **same)
    bad = pictured("bad", "red", label="red", quality=0.5, **same)
    index.replace_hour(HOUR, table(good, bad))
    first, second = index.search("red", embedders=EMBEDDERS)
    assert (first.item_id, first.lifted_over, first.gains) == ("good", "bad", {})
    assert (second.lifted_over, first.score) == (None, second.score)
