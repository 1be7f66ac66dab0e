"""`drill`, from its arguments to what it prints and its exit code."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline_assets.drill.forcing import keep
from pipeline_assets.drill.judging import Drilled
from pipeline_assets.resources import opened
from pipeline_assets.sample.shop import Shop
from pipeline_assets.stages import STAGES
from pipeline_assets_tests import hours
from pipeline_assets_tests.conftest import HOUR, NEXT_HOUR
from pipeline_assets_tests.hours import command, environment, environment_of

NAMES = [(stage.name, rung.name) for stage in STAGES for rung in stage.rungs[1:]]


@pytest.fixture
def data(finished_root: Path, tmp_path: Path, shop: Shop) -> Iterator[Path]:
    """A copy of the finished hour, as a user has it."""
    copied = tmp_path / "data"
    shutil.copytree(finished_root, copied)
    with environment(environment_of(copied, shop.url), tmp_path):
        yield copied


def test_a_drill_prints_what_each_fallback_came_to(data: Path) -> None:
    """For machines all of it, for people a table; a run in Dagster like any other."""
    told = command("drill", "--format", "json")
    assert told.code == 0, told.err
    said = json.loads(told.out)
    assert [(each["stage"], each["rung"]) for each in said["fallbacks"]] == NAMES
    assert said["wrong"] == []
    kept = hours.table(data, "fallback_drill", "all")
    for each, row in zip(said["fallbacks"], kept, strict=True):
        assert (each["rows"], each["made"]) == (row["rows"], row["made"])
        assert each["agreement"] == pytest.approx(row["agreement"], abs=1e-3)
        assert each["supported"] == row["supported"]
    shown = command("drill", "--items", "5", "--hour", HOUR)
    assert shown.code == 0, shown.err
    assert all(rung in shown.out for _stage, rung in NAMES)
    assert {row["rows"] for row in hours.table(data, "fallback_drill", "all")[len(NAMES) :]} == {5}


def test_suggest_prints_the_factor_beside_the_one_that_is_supported(data: Path) -> None:
    """Lower ones where the evidence says so, and none without evidence."""
    told = command("drill", "--suggest", "--format", "json")
    assert told.code == 0, told.err
    factors = {(e["stage"], e["rung"]): e for e in json.loads(told.out)["fallbacks"]}
    assert list(factors) == NAMES
    kept = {(r["stage"], r["rung"]): r for r in hours.table(data, "fallback_drill", "all")}
    for name, each in factors.items():
        assert each["supported"] == kept[name]["supported"]
        lower = each["supported"] < each["factor"]
        assert each["advice"] == ("lower it" if lower else "supported")
    few = command("drill", "--suggest", "--items", "5")
    assert few.code == 0, few.err
    assert "no evidence: 5 rows compared, of 20 needed" in few.out


def test_a_fallback_that_does_not_work_is_said_and_ends_with_1(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that whoever drills from a script hears of it."""
    shutil.rmtree(data / "blobs")
    monkeypatch.setenv("PIPELINE_DRILL_ERRORS", "0.5")
    told = command("drill", "--items", "5")
    assert told.code == 1
    assert "warning fallback_drill.fallbacks_work: fetched.last_good_copy made no value" in told.out


def test_an_hour_that_has_no_rows_is_refused_in_a_line(data: Path) -> None:
    """Nothing is kept of it."""
    told = command("drill", "--hour", NEXT_HOUR)
    assert (told.code, told.out) == (1, "")
    [line] = told.err.splitlines()
    assert f"items has no table for hour {NEXT_HOUR}" in line
    assert not (data / "tables" / "fallback_drill").exists()


def test_the_last_drill_alone_is_shown(data: Path) -> None:
    """Those before it are in the table."""
    assert data.exists()
    with opened() as resources:
        keep(resources, [Drilled("old", "fallback", 0.5)], resources.clock(), "before")
    told = command("drill", "--items", "1", "--format", "json")
    assert [(e["stage"], e["rung"]) for e in json.loads(told.out)["fallbacks"]] == NAMES
