"""`show ITEM`: everything that is known of one item."""

from dataclasses import replace

from pipeline_assets.commands.show import show
from pipeline_assets.monitoring.derived import STAGE_TABLES
from pipeline_assets.resources import Resources
from pipeline_assets_tests.conftest import HOUR, NEXT_HOUR, Goods, Platform


def test_an_item_is_shown_stage_by_stage(finished: Platform) -> None:
    """Both its resources, its score and what it is made of; a vector by its length."""
    item, row = next(iter(finished.rows("enriched_items").items()))
    shown = show(finished.resources, item)
    assert shown is not None
    assert (shown["hour"], shown["other_hours"]) == (HOUR, [])
    assert shown["quality"] == row["quality"]
    assert list(shown["stages"]) == [*STAGE_TABLES, "enriched_items"]
    assert len(shown["stages"]["fetched"]) == 2
    assert shown["stages"]["embeddings"][0]["embedding"].endswith(" numbers")


def test_an_unknown_item_is_none(finished: Platform, resources: Resources) -> None:
    """With tables and without."""
    assert show(finished.resources, "nobody") is None
    assert show(resources, "nobody") is None


def test_the_newest_hour_is_shown_and_the_others_named(platform: Platform, goods: Goods) -> None:
    """Also where later stages have not run for it yet."""
    item = goods.product("a")
    platform.feed([item, replace(item, event_time=item.event_time.replace(hour=7))])
    platform.items()
    platform.run()
    platform.items(NEXT_HOUR)
    shown = show(platform.resources, "a")
    assert shown is not None
    assert (shown["hour"], shown["other_hours"]) == (NEXT_HOUR, [HOUR])
    assert (list(shown["stages"]), shown["quality"]) == (["items"], None)
