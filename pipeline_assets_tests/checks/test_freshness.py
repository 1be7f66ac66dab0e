"""Whether hours keep coming."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from pipeline_assets.checks.freshness import NAME, age_of, stale
from pipeline_assets.core.hours import hour_name
from pipeline_assets.core.names import ENRICHED
from pipeline_assets.definitions import defs
from pipeline_assets.errors import SettingsError
from pipeline_assets.settings import load_settings
from pipeline_assets.store.tables import Tables
from pipeline_assets_tests import hours


def checked(data: Path, **settings: str) -> dg.AssetCheckEvaluation:
    """What the job says of a data root."""
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    with hours.environment({"PIPELINE_DATA": str(data), **settings}, data.parent):
        result = defs.resolve_job_def("freshness").execute_in_process(run_config=quiet)
    [said] = result.get_asset_check_evaluations()
    return said


def build(data: Path, ago: timedelta, asset: str = ENRICHED) -> str:
    """Publish the hour that began so long ago."""
    hour = hour_name(datetime.now(UTC) - ago)
    table = pa.table({"item_id": pa.array([], pa.string())})
    Tables(data / "tables").write(asset, hour, table)
    return hour


@pytest.mark.parametrize(
    ("ago_h", "within", "fresh"),
    [(2, "36h", True), (36, "36h", True), (38, "36h", False), (38, "2d", True), (4, "2h", False)],
)
def test_the_newest_hour_closed_not_long_ago(
    tmp_path: Path, ago_h: float, within: str, *, fresh: bool
) -> None:
    """However many older ones there are; a warning, that stops nothing."""
    data = tmp_path / "data"
    build(data, timedelta(days=9))
    newest = build(data, timedelta(hours=ago_h))
    said = checked(data, PIPELINE_FRESH_WITHIN=within)
    assert (said.passed, said.blocking) == (fresh, False)
    assert said.severity is dg.AssetCheckSeverity.WARN
    assert said.metadata["newest_hour"].value == newest
    assert (said.description is None) == fresh


def test_no_hour_at_all_is_not_fresh(tmp_path: Path) -> None:
    """It says how to begin."""
    said = checked(tmp_path / "data")
    assert not said.passed
    assert "no hour was ever built" in (said.description or "")


def test_a_table_that_stays_behind_is_named(tmp_path: Path) -> None:
    """Though hours come; one that was never built is not missed."""
    data = tmp_path / "data"
    build(data, timedelta(hours=2))
    build(data, timedelta(hours=2), "fetched")
    assert checked(data).passed
    old = build(data, timedelta(hours=40), "drift")
    said = checked(data)
    assert not said.passed
    assert f"the newest of drift {old}." in (said.description or "")


def test_every_hourly_asset_has_a_freshness_policy() -> None:
    """So that Dagster's own pages say it as well."""
    specs = defs.resolve_all_asset_specs()
    with_hours = {spec.key for spec in specs if spec.partitions_def is not None}
    kept = {spec.key for spec in specs if spec.freshness_policy is not None}
    assert with_hours == kept


def test_what_is_stale_says_how_old_it_is_and_what_to_do() -> None:
    """With the limit and the setting."""
    age = age_of("2026-03-02-06", datetime(2026, 3, 4, 1, 30, tzinfo=UTC))
    assert age == timedelta(hours=42.5)
    said = stale("2026-03-02-06", age, timedelta(hours=36))
    assert said.startswith(
        "the newest hour, 2026-03-02-06, closed 42.5 h ago, which is not within 36 h "
        "(PIPELINE_FRESH_WITHIN)."
    )
    assert "`pipeline-assets run --from H --to H`" in said


@pytest.mark.parametrize(("job", "says"), [("hour", False), ("heal", False), ("freshness", True)])
def test_an_hour_that_is_built_does_not_say_it(job: str, *, says: bool) -> None:
    """A backfill of the past would say it of every hour."""
    steps = defs.resolve_job_def(job).graph.node_dict
    assert any(NAME in step for step in steps) is says


@pytest.mark.parametrize("value", ["1h", "0h", "soon", "36"])
def test_a_wrong_limit_stops_the_start(value: str) -> None:
    """An hour that has just closed is as good as an hour old."""
    with pytest.raises(SettingsError, match="PIPELINE_FRESH_WITHIN"):
        load_settings(fresh_within=value)
