"""Time to recovery: each item of an hour from first degraded to healed."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from pipeline_assets.core.names import RECOVERY
from pipeline_assets.healing.rules import OBJECTIVES
from pipeline_assets.monitoring.recovery import SCHEMA, recovery
from pipeline_assets.stages import stage_tables
from pipeline_assets_tests.conftest import HOUR, NEXT_HOUR, Goods, Platform

HEALS = "503x4"
"""Three tries in the first run, one in the second."""


def measured(platform: Platform, healthy_at: datetime | None = None) -> list[dict[str, Any]]:
    """The rows of the table once it has replaced its slice."""
    resources = platform.resources
    stages = stage_tables(resources.settings)
    made = recovery(resources.tables, HOUR, stages, healthy_at, OBJECTIVES)
    resources.tables.write(RECOVERY, HOUR, made)
    return list(resources.tables.read(RECOVERY, HOUR).to_pylist())


def run_later(platform: Platform, seconds: float, **options: Any) -> None:
    """A run of the hour, some time after the one before."""
    platform.clock.advance(seconds - 1)  # a second passes before each run
    platform.run(**options)


@pytest.fixture
def degraded(platform: Platform, goods: Goods) -> Platform:
    """An hour with a good item, a dead letter, and one whose picture comes with a later try."""
    platform.feed(
        [
            goods.product("good"),
            goods.product("lost", image_fault="404"),
            goods.product("late", image_fault=HEALS, file_name="late"),
        ]
    )
    platform.items()
    platform.run()
    return platform


def test_an_item_that_may_be_better_is_open(degraded: Platform) -> None:
    """And no other; it has an objective, but nothing has been met or missed yet."""
    [row] = measured(degraded)
    assert (row["item_id"], row["priority"]) == ("late", "batch")
    assert row["degraded_at"] == degraded.rows("fetched")["late/image"]["updated_at"]
    assert row["quality_then"] == degraded.rows("enriched_items")["late"]["quality"]
    assert row["objective_s"] == 600
    assert row["healed_at"] is row["healthy_at"] is row["seconds"] is row["met"] is None
    assert measured(degraded) == [row]


@pytest.mark.parametrize(("after_s", "met"), [(590, True), (700, False)])
def test_an_item_that_healed_is_measured_against_its_objective(
    degraded: Platform, after_s: float, met: bool
) -> None:
    """From when it was first degraded, where the accelerator was never ill."""
    [before] = measured(degraded)
    run_later(degraded, after_s)
    [row] = measured(degraded)
    assert row["degraded_at"] == before["degraded_at"]
    assert row["healed_at"] == degraded.rows("enriched_items")["late"]["updated_at"]
    assert row["seconds"] == (row["healed_at"] - row["degraded_at"]).total_seconds()
    assert row["met"] is met


def test_the_clock_runs_from_a_healthy_accelerator(degraded: Platform) -> None:
    """What it could not do before is not held against anybody."""
    measured(degraded)
    run_later(degraded, 7200)
    healed_at = degraded.rows("enriched_items")["late"]["updated_at"]
    healthy_at = healed_at - timedelta(seconds=20)
    [row] = measured(degraded, healthy_at)
    assert (row["healthy_at"], row["seconds"], row["met"]) == (healthy_at, 20, True)


def test_what_was_measured_stays(degraded: Platform) -> None:
    """Whatever becomes of the accelerator later, and however often the hour runs."""
    measured(degraded)
    run_later(degraded, 60)
    healed = measured(degraded)
    run_later(degraded, 9000, force=True)
    assert measured(degraded, degraded.clock()) == healed


def test_an_item_that_is_degraded_again_begins_anew(degraded: Platform, goods: Goods) -> None:
    """The table has its latest trouble."""
    measured(degraded)
    run_later(degraded, 60)
    [healed] = measured(degraded)
    degraded.feed([goods.product("late", image_fault="503x99", file_name="again")])
    degraded.items()
    run_later(degraded, 3600)
    late = [row for row in measured(degraded) if row["item_id"] == "late"]
    assert [row["healed_at"] for row in late] == [None]
    assert late[0]["degraded_at"] > healed["healed_at"]


def test_an_item_that_turns_out_to_be_lost_did_not_heal(degraded: Platform, goods: Goods) -> None:
    """It is a dead letter; there is nothing to measure."""
    measured(degraded)
    degraded.feed([goods.product("late", image_fault="404", file_name="late")])
    degraded.items()
    run_later(degraded, 60)
    assert [row["item_id"] for row in measured(degraded)] == []


def test_an_hour_without_items_has_the_table_with_its_types(
    platform: Platform, goods: Goods
) -> None:
    """No rows, and no null-typed column."""
    platform.feed([goods.product("a")])
    platform.items(NEXT_HOUR)
    platform.run(hour=NEXT_HOUR)
    tables = platform.resources.tables
    stages = stage_tables(platform.resources.settings)
    made = recovery(tables, NEXT_HOUR, stages, None, OBJECTIVES)
    assert made.num_rows == 0
    assert made.schema.equals(SCHEMA, check_metadata=True)
