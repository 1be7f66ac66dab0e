"""Store: a score that explains itself."""

import math

import pytest

from pipeline_assets.stages import STAGES
from pipeline_assets.stages.store import SOURCES, VALUES
from pipeline_assets_tests.conftest import ITEMS, Goods, Platform, called


def test_a_score_is_the_product_of_the_factors_that_it_names(finished: Platform) -> None:
    """For every item of an hour, faulty ones included."""
    rows = finished.rows("enriched_items")
    assert len(rows) == ITEMS
    for row in rows.values():
        factors = row["quality_factors"]
        assert [factor["stage"] for factor in factors] == list(SOURCES)
        product = math.prod(factor["factor"] for factor in factors)
        assert row["quality"] == pytest.approx(product, abs=1e-4)


def test_every_factor_below_one_says_why(finished: Platform) -> None:
    """By an error kind of the taxonomy."""
    lost = [
        factor
        for row in finished.rows("enriched_items").values()
        for factor in row["quality_factors"]
        if factor["factor"] < 1
    ]
    assert lost
    assert {factor["reason"] for factor in lost} <= {"not_found", "invalid_input", "too_large"}


def test_upstream_values_are_taken_over_as_they_are(finished: Platform) -> None:
    """Nothing is made up on the way."""
    enriched = finished.rows("enriched_items")
    for column, source, _type in VALUES:
        table, _, name = source.partition(".")
        upstream = {item: row[name] for item, row in finished.rows(table).items()}
        assert {item: row[column] for item, row in enriched.items()} == upstream


def test_the_worst_resource_is_the_stages_factor(platform: Platform, goods: Goods) -> None:
    """One loss, charged once: 0.5 for the picture that is not there."""
    platform.feed([goods.product("a", image_fault="404")])
    platform.items()
    platform.run()
    row = platform.rows("enriched_items")["a"]
    assert row["quality"] == 0.5
    assert row["improvable"] is False
    [fetched] = [f for f in row["quality_factors"] if f["factor"] < 1]
    assert (fetched["stage"], fetched["rung_or_status"]) == ("fetched", "failed")


def test_an_item_is_improvable_when_a_better_rung_may_pass_later(
    platform: Platform, goods: Goods
) -> None:
    """And follows when it did."""
    platform.feed([goods.product("a", image_fault="503x4")])
    platform.items()
    platform.run()
    assert platform.rows("enriched_items")["a"]["improvable"] is True
    assert called(platform.run())["enriched_items.join"] == 1
    row = platform.rows("enriched_items")["a"]
    assert (row["improvable"], row["quality"]) == (False, 1.0)


def test_an_item_with_a_pending_stage_has_no_score(platform: Platform, goods: Goods) -> None:
    """Unknown is not 1.0."""
    platform.feed([goods.product("a")])
    platform.items()
    platform.run(*STAGES[:3], STAGES[5])
    row = platform.rows("enriched_items")["a"]
    assert (row["status"], row["quality"]) == ("pending", None)
    assert row["error"] == "image_labels has no row for it yet"
