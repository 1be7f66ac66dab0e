"""`plan` over a range: what a backfill would do at most, and nothing done."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline_assets.accelerator.accelerator import Fault, InjectedFault
from pipeline_assets.commands import plan_range as module
from pipeline_assets.commands.feed_news import CHANGED, NEW
from pipeline_assets.commands.plan import BLOCKED, NOTHING_TO_DO
from pipeline_assets.commands.plan_range import FOLLOWS, plan_range
from pipeline_assets.core.budget import Backoff
from pipeline_assets.core.hours import hour_name
from pipeline_assets.core.plan import Reason
from pipeline_assets.sample.drawing import Subject
from pipeline_assets.stages import STAGES, accelerated_rungs
from pipeline_assets_tests.conftest import (
    HOUR,
    HOUR_START,
    ITEMS,
    NEXT_HOUR,
    Goods,
    Platform,
    called,
)

NO_ITEMS: frozenset[str] = frozenset()
EARLIER = hour_name(HOUR_START - timedelta(hours=1))


def forecast(platform: Platform, *hours: str, **options: Any) -> dict[str, Any]:
    """The plan over these hours, by default over the one that all tests use."""
    chosen = {"items": NO_ITEMS, "force": False, **options}
    return plan_range(platform.resources, hours or (HOUR,), **chosen)


def calls(platform: Platform) -> int:
    """The rows that any rung was given in a run of the hour."""
    return sum(stats.rows for report in platform.run().values() for stats in report.rungs.values())


def test_finished_hours_have_nothing_to_do(finished: Platform) -> None:
    """A backfill over them calls no rung and costs nothing."""
    told = forecast(finished)
    nothing = {"rows": {}, "calls_at_most": {}, "cost_usd_at_most": 0.0, "seconds": 0.0}
    assert told["total"] == nothing
    [hour] = told["hours"]
    assert (hour["materialized"], hour["feed_rows"], hour["items"]) == (True, ITEMS, ITEMS)


def test_an_hour_that_was_never_materialized_is_counted_from_the_feed(
    platform: Platform, goods: Goods
) -> None:
    """Every rung may be given every row, and a fetch has a row for each resource."""
    platform.feed([goods.product("a"), goods.product("b")])
    told = forecast(platform, EARLIER, HOUR)
    assert [each["new_items"] for each in told["hours"]] == [0, 2]
    assert [each["materialized"] for each in told["hours"]] == [False, False]
    assert told["total"]["rows"]["fetched"] == {NEW: 4}
    assert told["total"]["rows"]["image_labels"] == {NEW: 2}
    assert told["total"]["calls_at_most"]["image_labels.rules"] == 2
    assert set(told["total"]["rows"]) == {stage.name for stage in STAGES}


def test_late_items_of_a_finished_hour_are_new(platform: Platform, goods: Goods) -> None:
    """Those that the items do not have yet."""
    platform.feed([goods.product("a")])
    platform.items()
    platform.run()
    platform.feed([goods.product("a"), goods.product("b")])
    assert forecast(platform)["hours"][0]["new_items"] == 1
    assert forecast(platform, items=frozenset({"a"}))["total"]["rows"] == {}


@pytest.mark.parametrize("has_image", [True, False])
def test_a_run_never_calls_more_than_was_said(
    platform: Platform, goods: Goods, has_image: bool
) -> None:
    """Also where one stage has to wait for another to know."""
    bad = goods.product("b", image_fault="404", has_document=False)
    platform.feed([goods.product("a", has_image=has_image), bad, goods.product("c", name=" ")])
    platform.items()
    told = forecast(platform)["total"]
    assert told["rows"]["fetched"][Reason.PENDING] > 0
    assert told["rows"]["enriched_items"] == {FOLLOWS: 2, BLOCKED: 1}
    assert 0 < calls(platform) <= sum(told["calls_at_most"].values())
    assert forecast(platform)["total"]["calls_at_most"] == {}


def test_rows_without_anything_to_do_need_no_call(platform: Platform, goods: Goods) -> None:
    """They are still rows to be written."""
    platform.feed([goods.product("a", has_image=False, has_document=False)])
    platform.items()
    told = forecast(platform)["total"]
    assert told["rows"]["fetched"] == {NOTHING_TO_DO: 2}
    assert "fetched.http" not in told["calls_at_most"]


def test_what_follows_from_an_upgrade_is_counted(platform: Platform, goods: Goods) -> None:
    """A healed label may change its embedding and its item, and nothing before it."""
    shirts = [goods.product(f"p{n}", Subject("shirt", "red", n)) for n in range(4)]
    platform.feed(shirts)
    platform.items()
    platform.resources.accelerator.fail(InjectedFault(Fault.OOM))
    platform.run()
    platform.resources.breakers.probe_again(accelerated_rungs(platform.resources.settings))
    told = forecast(platform)["total"]
    assert told["rows"]["image_labels"] == {Reason.UPGRADE: 4}
    assert told["rows"]["enriched_items"] == {FOLLOWS: 4}
    assert not {"fetched", "validated", "extracted_text"} & set(told["rows"])
    assert told["calls_at_most"]["image_labels.accelerator_clip"] == 4
    assert "image_labels.cpu_clip" not in told["calls_at_most"]


def test_every_try_of_a_rung_that_bills_costs(
    platform: Platform, goods: Goods, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two items, three tries each, a quarter of a dollar a call."""
    fetch = STAGES[0]
    dear = replace(fetch.rungs[0], cost_usd=0.25, backoff=Backoff(tries=3))
    stage = replace(fetch, rungs=(dear,), retry_usd=1.0)
    monkeypatch.setattr(module, "all_stages", lambda _settings: (stage,))
    platform.feed([goods.product("a", has_image=False), goods.product("b", has_image=False)])
    platform.items()
    told = forecast(platform)
    assert told["total"]["calls_at_most"] == {"fetched.http": 6}
    assert told["total"]["cost_usd_at_most"] == pytest.approx(1.5)


def test_the_hours_add_up(platform: Platform, goods: Goods) -> None:
    """In rows, in calls and in cost."""
    later = replace(goods.product("b"), event_time=HOUR_START + timedelta(hours=1, minutes=5))
    platform.feed([goods.product("a"), later])
    platform.items()
    told = forecast(platform, HOUR, NEXT_HOUR)
    for rung, at_most in told["total"]["calls_at_most"].items():
        assert at_most == sum(each["calls_at_most"].get(rung, 0) for each in told["hours"])
    assert (told["from"], told["to"]) == (HOUR, NEXT_HOUR)


def test_a_feed_that_cannot_be_read_is_said(finished_copy: Platform) -> None:
    """What the tables have is planned all the same."""
    Path(finished_copy.resources.settings.feed).unlink()
    told = forecast(finished_copy, HOUR, NEXT_HOUR)
    assert "no such file" in told["feed_problem"]
    assert [each["feed_rows"] for each in told["hours"]] == [None, None]
    assert told["total"]["rows"] == {}


def test_force_redoes_everything(finished: Platform) -> None:
    """Each item once in each stage that has one row for it."""
    told = forecast(finished, force=True)
    assert told["total"]["rows"]["enriched_items"] == {Reason.FORCED: ITEMS}


def test_a_corrected_row_is_counted_and_no_run_calls_more(platform: Platform, goods: Goods) -> None:
    """As if all of its item were made anew, also where it had no picture before."""
    platform.feed([goods.product("a", has_image=False), goods.product("b"), goods.product("c")])
    platform.items()
    platform.run()
    corrected = goods.product("a", Subject("hat", "blue", 5), name="blue hat")
    platform.feed([corrected, goods.product("b")])
    told = forecast(platform)
    [hour] = told["hours"]
    assert (hour["new_items"], hour["changed_items"]) == (0, 1)
    assert told["total"]["rows"]["fetched"] == {CHANGED: 2}
    assert told["total"]["rows"]["enriched_items"] == {CHANGED: 1}
    assert platform.items().new_or_changed == 1
    reports = platform.run()
    assert sum(called(reports).values()) > 0
    at_most = told["total"]["calls_at_most"]
    assert all(at_most[rung] >= rows for rung, rows in called(reports).items())
    assert forecast(platform)["total"]["rows"] == {}


def test_a_new_row_is_not_hidden_by_one_that_left_the_feed(
    platform: Platform, goods: Goods
) -> None:
    """What left stays in the table, and is not worked on."""
    platform.feed([goods.product("a"), goods.product("b")])
    platform.items()
    platform.run()
    platform.feed([goods.product("a"), goods.product("c")])
    [hour] = forecast(platform)["hours"]
    assert (hour["feed_rows"], hour["items"], hour["new_items"]) == (2, 2, 1)


@pytest.mark.parametrize(("item", "rows"), [("a", {}), ("b", {CHANGED: 1}), ("c", {NEW: 1})])
def test_items_narrow_what_the_feed_changed(
    platform: Platform, goods: Goods, item: str, rows: dict[str, int]
) -> None:
    """As they narrow a run."""
    platform.feed([goods.product("a"), goods.product("b")])
    platform.items()
    platform.run()
    platform.feed([goods.product("a"), goods.product("b", name="corrected"), goods.product("c")])
    told = forecast(platform, items=frozenset({item}))
    assert told["total"]["rows"].get("enriched_items", {}) == rows
