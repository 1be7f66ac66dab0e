"""`index`: how the search index stands, and how it is made anew."""

import pytest

from pipeline_assets.commands.index import rebuild, show
from pipeline_assets.commands.search import search
from pipeline_assets_tests.conftest import HOUR, Goods, Platform


@pytest.fixture
def enriched(platform: Platform, goods: Goods) -> Platform:
    """An hour whose items are in the tables, and in no index."""
    platform.feed([goods.product("shirt"), goods.product("lamp", name="Storm lantern")])
    platform.items()
    platform.run()
    return platform


def test_an_hour_that_is_not_in_the_index_is_missing(enriched: Platform) -> None:
    """Until the index is made anew from the tables."""
    resources = enriched.resources
    assert (show(resources)["items"], show(resources)["hours_missing"]) == (0, [HOUR])
    done = rebuild(resources, resources.tables.hours("enriched_items"))
    assert (done["hours"], done["items"]) == (1, 2)
    assert show(resources)["hours_missing"] == []
    hits = search(resources, "storm lantern", mode="keyword", top=5)
    assert [hit["item_id"] for hit in hits] == ["lamp"]


def test_the_recall_of_each_vector_index_is_shown(enriched: Platform) -> None:
    """With how it is searched."""
    rebuild(enriched.resources, [HOUR])
    (found,) = show(enriched.resources)["vector_indexes"]
    assert (found["kind"], found["recall"], found["vectors"]) == ("exact", 1.0, 2)
    assert found["space"] == enriched.resources.primary.producer
