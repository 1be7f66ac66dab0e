"""`retry-queue`."""

from pipeline_assets.commands.queues import retry_queue
from pipeline_assets.core.names import RETRY_QUEUE
from pipeline_assets.monitoring.derived import derive
from pipeline_assets.resources import Resources
from pipeline_assets_tests.conftest import HOUR, NEXT_HOUR, Goods, Platform


def published(platform: Platform) -> Platform:
    """With the retry queue of the hour."""
    tables = platform.resources.tables
    tables.write(RETRY_QUEUE, HOUR, derive(tables, RETRY_QUEUE, HOUR, 0.8))
    return platform


def test_nothing_derived_yet_is_nothing_listed(resources: Resources) -> None:
    """Not an error."""
    assert retry_queue(resources, 10) == []


def test_the_queue_is_listed_up_to_a_limit(platform: Platform, goods: Goods) -> None:
    """What can pass, with its reason."""
    platform.feed(
        [
            goods.product("a", image_fault="503x99"),
            goods.product("b", image_fault="404"),
            goods.product("c", image_fault="503x99"),
        ]
    )
    platform.items()
    platform.run()
    published(platform)
    queue = retry_queue(platform.resources, 10)
    assert [(row["item_id"], row["error_kind"]) for row in queue] == [
        ("a", "overloaded"),
        ("c", "overloaded"),
    ]
    assert len(retry_queue(platform.resources, 1)) == 1


def test_slices_of_older_programs_are_listed_with_the_newer(
    platform: Platform, goods: Goods
) -> None:
    """They do not say when a trouble was first seen."""
    platform.feed([goods.product("a", image_fault="503x99")])
    platform.items()
    platform.run()
    tables = published(platform).resources.tables
    newer = tables.read(RETRY_QUEUE, HOUR)
    tables.write(RETRY_QUEUE, NEXT_HOUR, newer.drop_columns(["first_seen", "last_seen"]))
    queue = retry_queue(platform.resources, 10)
    assert [(row["hour"], row["first_seen"] is None) for row in queue] == [
        (HOUR, False),
        (NEXT_HOUR, True),
    ]
