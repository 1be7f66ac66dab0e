"""Reliability figures: each level over a real hour, and over none."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pytest

from pipeline_assets.core.names import RECOVERY
from pipeline_assets.healing.rules import OBJECTIVES
from pipeline_assets.monitoring.findable import Findable
from pipeline_assets.monitoring.recovery import SCHEMA as RECOVERY_SCHEMA
from pipeline_assets.monitoring.recovery import recovery
from pipeline_assets.monitoring.reliability import (
    FINDABLE,
    MEANINGS,
    SCHEMA,
    USABLE,
    WORKFLOW,
    reliability,
)
from pipeline_assets.stages import stage_tables
from pipeline_assets_tests.conftest import HOUR, HOUR_START, NEXT_HOUR, Goods, Platform

THRESHOLD = 0.8
NOT_MEASURED = Findable(None, None, "not measured: there is no search index")
Rows = dict[tuple[str, str], dict[str, Any]]


def figures(
    platform: Platform,
    hour: str = HOUR,
    transitions: Mapping[str, int] | None = None,
    found: Findable = NOT_MEASURED,
) -> Rows:
    """The rows of an hour, by level and name."""
    stages = stage_tables(platform.resources.settings)
    tables = platform.resources.tables
    made = reliability(tables, hour, stages, THRESHOLD, transitions or {}, found)
    assert made.schema.equals(SCHEMA, check_metadata=True)
    return {(row["level"], row["name"]): row for row in made.to_pylist()}


def test_calls_workflow_and_outcome_tell_different_stories(finished: Platform) -> None:
    """Rung calls that failed, items that all got through, some of which are of little use."""
    rows = figures(finished)
    http = rows["task", "fetched.http"]
    assert 0 < http["succeeded"] < http["attempted"]
    assert http["rate"] == pytest.approx(http["succeeded"] / http["attempted"])
    assert http["calls"] > 0
    assert http["seconds"] > 0
    assert rows["workflow", WORKFLOW]["rate"] == 1.0
    assert 0 < rows["outcome", USABLE]["rate"] < 1


def test_a_stage_has_its_retries_and_its_cost(platform: Platform, goods: Goods) -> None:
    """Three tries at a picture are two retries; the stages behind it tried once."""
    platform.feed([goods.product("good"), goods.product("late", image_fault="503x2")])
    platform.items()
    platform.run()
    rows = figures(platform)
    fetched = rows["stage", "fetched"]
    tries = [row["attempts"] for row in platform.rows("fetched").values()]
    assert max(tries) > 1
    assert fetched["retries"] == sum(max(0, each - 1) for each in tries)
    assert (fetched["attempted"], fetched["succeeded"], fetched["rate"]) == (4, 4, 1.0)
    assert {rows[level, name]["cost_usd"] for level, name in rows if level == "stage"} == {0.0}
    assert rows["stage", "image_labels"]["retries"] == 0


def test_what_there_is_nothing_to_do_for_was_not_attempted(
    platform: Platform, goods: Goods
) -> None:
    """An item without a picture is no failure of the stage that labels pictures."""
    platform.feed([goods.product("bare", has_image=False)])
    platform.items()
    platform.run()
    labels = figures(platform)["stage", "image_labels"]
    assert (labels["attempted"], labels["rate"]) == (0, None)


def test_transitions_are_those_of_the_breakers(finished: Platform) -> None:
    """A row for each that had any."""
    rows = figures(finished, transitions={"fetched.http": 4})
    assert rows["breaker", "fetched.http"]["transitions"] == 4
    assert [name for level, name in rows if level == "breaker"] == ["fetched.http"]


@pytest.mark.parametrize(
    ("found", "rate"), [(Findable(8, 6, "of 8"), 0.75), (NOT_MEASURED, None)], ids=str
)
def test_what_is_found_stands_beside_what_is_usable(
    finished: Platform, found: Findable, rate: float | None
) -> None:
    """Where nothing could be measured, the row says why."""
    row = figures(finished, found=found)["outcome", FINDABLE]
    assert (row["attempted"], row["succeeded"], row["rate"]) == (
        found.attempted,
        found.succeeded,
        rate,
    )
    assert row["note"] == found.note


def healed(item: str, seconds: float | None, priority: str = "batch") -> dict[str, Any]:
    """A row of the recovery table; not healed yet without seconds."""
    return {
        "item_id": item,
        "priority": priority,
        "degraded_at": HOUR_START,
        "healed_at": None if seconds is None else HOUR_START,
        "seconds": seconds,
        "objective_s": 600.0,
        "met": None if seconds is None else seconds <= 600,
    }


def test_times_to_recovery_are_those_of_what_healed_and_name_what_waits(
    finished: Platform,
) -> None:
    """A fast median of the few that healed does not hide the many that did not."""
    rows = [*(healed(f"i{n}", n) for n in (100, 200, 700)), healed("w", None)]
    rows.append(healed("u", None, "interactive"))
    table = pa.Table.from_pylist(rows, schema=RECOVERY_SCHEMA)
    finished.resources.tables.write(RECOVERY, HOUR, table)
    found = figures(finished)
    batch = found["recovery", "batch"]
    assert (batch["attempted"], batch["succeeded"], batch["waiting"]) == (3, 2, 1)
    assert batch["rate"] == pytest.approx(2 / 3)
    assert (batch["median_s"], batch["p95_s"]) == (200, pytest.approx(650))
    urgent = found["recovery", "interactive"]
    assert (urgent["attempted"], urgent["rate"], urgent["waiting"]) == (0, None, 1)
    assert urgent["median_s"] is urgent["p95_s"] is None


def test_an_hour_without_items_has_its_figures_with_their_types(
    platform: Platform, goods: Goods
) -> None:
    """Nothing was attempted, and no rate is made up."""
    platform.feed([goods.product("a")])
    platform.items(NEXT_HOUR)
    platform.run(hour=NEXT_HOUR)
    stages = stage_tables(platform.resources.settings)
    tables = platform.resources.tables
    tables.write(RECOVERY, NEXT_HOUR, recovery(tables, NEXT_HOUR, stages, None, OBJECTIVES))
    rows = figures(platform, NEXT_HOUR, found=Findable(0, 0, "of 0"))
    assert set(rows) == {("workflow", WORKFLOW), ("outcome", USABLE), ("outcome", FINDABLE)}
    assert {(row["attempted"], row["rate"]) for row in rows.values()} == {(0, None)}


def test_every_column_says_what_it_holds() -> None:
    """And nothing else is said."""
    assert list(MEANINGS) == SCHEMA.names
