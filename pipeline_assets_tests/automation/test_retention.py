"""Retention's schedule: when, and what it asks for."""

from pathlib import Path

from pipeline_assets.core.names import RETENTION
from pipeline_assets.definitions import defs
from pipeline_assets_tests import hours


def test_it_runs_each_morning() -> None:
    """At an hour in which little else does."""
    schedule = defs.resolve_schedule_def("daily_retention")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("45 3 * * *", "UTC")
    assert schedule.job_name == "clean_up"


def test_the_asset_says_what_went(tmp_path: Path) -> None:
    """Of an empty data root, nothing."""
    values = hours.environment_of(tmp_path / "data", "http://127.0.0.1:9")
    with hours.environment(values, tmp_path):
        result = hours.executed(hours.asset(RETENTION), hour=None)
    assert result.success, hours.failure(result)
    said = hours.shown(result)[RETENTION]
    assert (said["superseded_rows"], said["packs_removed"], said["copies"]) == (0, 0, 0)
