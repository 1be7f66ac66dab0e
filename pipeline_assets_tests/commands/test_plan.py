"""`plan`: what a run would do, and nothing done."""

from pathlib import Path
from typing import Any

import pytest

from pipeline_assets.accelerator.accelerator import Fault, InjectedFault
from pipeline_assets.commands import output
from pipeline_assets.commands.feed_news import CHANGED, NEW
from pipeline_assets.commands.plan import BLOCKED, NOTHING_TO_DO, plan
from pipeline_assets.core.plan import Reason
from pipeline_assets.sample.drawing import Subject
from pipeline_assets.sample.shop import Shop
from pipeline_assets.stages import accelerated_rungs
from pipeline_assets_tests.conftest import HOUR, ITEMS, Goods, Platform, open_resources

NO_ITEMS: frozenset[str] = frozenset()


def planned(platform: Platform, **options: Any) -> dict[str, dict[str, Any]]:
    """What each stage would do."""
    chosen = {"items": NO_ITEMS, "force": False, **options}
    return {s["stage"]: s for s in plan(platform.resources, HOUR, **chosen)["stages"]}


def files(platform: Platform) -> set[Path]:
    """Every file of the data root but the database."""
    found = platform.resources.data.rglob("*")
    return {path for path in found if path.is_file() and "state.db" not in path.name}


def test_a_new_hour_is_all_pending(platform: Platform, goods: Goods) -> None:
    """The first stage can say what it would call; the later ones wait for it."""
    platform.feed([goods.product("a"), goods.product("b", has_image=False)])
    platform.items()
    before = files(platform)
    stages = planned(platform)
    assert stages["fetched"]["planned"] == {"pending": 3, NOTHING_TO_DO: 1}
    assert stages["fetched"]["calls"] == 3
    assert stages["validated"]["planned"] == {BLOCKED: 4}
    assert stages["validated"]["calls"] == 0
    assert files(platform) == before


def test_a_finished_hour_has_nothing_to_do(finished: Platform) -> None:
    """Everything is current; the cost is nothing."""
    whole = plan(finished.resources, HOUR, items=NO_ITEMS, force=False)
    assert (whole["items"], whole["feed_rows"], whole["cost_usd"]) == (ITEMS, ITEMS, 0)
    assert whole["seconds"] == 0
    for stage in whole["stages"]:
        assert (stage["planned"], stage["calls"]) == ({}, 0)
        assert sum(stage["standing"].values()) in (ITEMS, 2 * ITEMS)


def test_an_upgrade_is_named_with_its_rows_and_time(platform: Platform, goods: Goods) -> None:
    """After an outage, once the breaker lets a probe through; before, the rows stand."""
    shirts = [goods.product(f"p{n}", Subject("shirt", "red", n)) for n in range(8)]
    platform.feed(shirts)
    platform.items()
    platform.resources.accelerator.fail(InjectedFault(Fault.OOM, after_rows=2))
    platform.run()
    stage = planned(platform)["image_labels"]
    assert stage["standing"] == {"current": 2, "no better rung available": 6}
    resources = platform.resources
    resources.breakers.probe_again(accelerated_rungs(resources.settings))
    stage = planned(platform)["image_labels"]
    assert stage["rows"] == {"upgrade": [f"p{n}" for n in range(2, 8)]}
    assert stage["calls"] == 6
    assert stage["seconds"] > 0


def test_items_and_force_narrow_and_widen_it(finished: Platform) -> None:
    """As they would a run."""
    item = next(iter(finished.rows("items")))
    stages = planned(finished, items=frozenset({item}), force=True)
    assert stages["enriched_items"]["rows"] == {"forced": [item]}
    assert stages["enriched_items"]["standing"] == {"not asked for": ITEMS - 1}


def test_a_feed_that_cannot_be_read_is_no_reason_not_to_plan(finished_copy: Platform) -> None:
    """The tables are there."""
    Path(finished_copy.resources.settings.feed).unlink()
    whole = plan(finished_copy.resources, HOUR, items=NO_ITEMS, force=False)
    assert whole["feed_rows"] is None
    assert whole["items"] == ITEMS


def test_an_hour_without_tables_is_an_empty_plan(platform: Platform, goods: Goods) -> None:
    """Nothing to do yet, not an error."""
    platform.feed([goods.product("a")])
    whole = plan(platform.resources, "2026-03-05-01", items=NO_ITEMS, force=False)
    assert (whole["feed_rows"], whole["items"]) == (0, 0)
    assert all(stage["planned"] == {} for stage in whole["stages"])


def test_rows_of_the_feed_that_have_no_hour_are_counted(platform: Platform, goods: Goods) -> None:
    """They are in nobody's plan, and are not to be forgotten."""
    platform.feed([goods.product("a"), goods.product("")])
    whole = plan(platform.resources, HOUR, items=NO_ITEMS, force=False)
    assert (whole["feed_rows"], whole["feed_lost"]) == (1, 1)


@pytest.mark.parametrize("force", [False, True])
def test_a_failed_item_is_waited_for(platform: Platform, goods: Goods, force: bool) -> None:
    """Reported as blocked, and never as a call."""
    platform.feed([goods.product("a", name=" ")])
    platform.items()
    platform.run()
    for stage in planned(platform, force=force).values():
        assert stage["calls"] == 0


def test_what_the_feed_changed_is_planned(platform: Platform, goods: Goods) -> None:
    """A corrected row in every stage, with its rows' names; a new one has none yet."""
    platform.feed([goods.product("a"), goods.product("b")])
    platform.items()
    platform.run()
    platform.feed([goods.product("a"), goods.product("b", name="corrected"), goods.product("c")])
    whole = plan(platform.resources, HOUR, items=NO_ITEMS, force=False)
    assert (whole["new_items"], whole["changed_items"]) == (1, 1)
    for stage in whole["stages"]:
        rows = 2 if stage["stage"] in {"fetched", "validated"} else 1
        assert stage["planned"] == {NEW: rows, CHANGED: rows}
        assert stage["calls"] == 2 * rows
        assert {row.partition("/")[0] for row in stage["rows"][CHANGED]} == {"b"}


def test_people_are_told_what_is_not_counted(
    platform: Platform, goods: Goods, capsys: pytest.CaptureFixture[str]
) -> None:
    """And where it is; a plan without work leaves nothing out."""
    platform.feed([goods.product("a")])
    platform.items()
    output.plan(plan(platform.resources, HOUR, items=NO_ITEMS, force=False))
    command = f"pipeline-assets plan --from {HOUR} --to {HOUR}"
    assert (
        f"what follows from these is not counted here; `{command}` counts it"
        in capsys.readouterr().out
    )
    platform.run()
    output.plan(plan(platform.resources, HOUR, items=NO_ITEMS, force=False))
    assert "not counted" not in capsys.readouterr().out


def test_an_hour_without_a_row_in_the_feed_is_said(
    platform: Platform, goods: Goods, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing of it is new."""
    platform.feed([goods.product("a")])
    output.plan(plan(platform.resources, "2030-03-03-07", items=NO_ITEMS, force=False))
    told = capsys.readouterr().out
    assert "the feed has no row of that hour" in told
    assert "is new" not in told


def test_people_are_told_that_it_may_be_a_setting(
    finished: Platform, shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wider allow list makes no new producer; machines have the reason's one name."""
    allowed = (shop.url.removeprefix("http://"), "shop.example")
    opened = open_resources(finished.resources.data, finished.clock, fetch_allow=allowed)
    whole = plan(opened, HOUR, items=NO_ITEMS, force=False)
    opened.close()
    again = whole["stages"][0]["planned"][Reason.PRODUCER_CHANGED]
    output.plan(whole)
    assert f"{again} producer or settings changed" in capsys.readouterr().out
