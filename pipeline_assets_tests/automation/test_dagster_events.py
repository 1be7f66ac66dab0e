"""What Dagster's instance tells of runs, on both databases that it may be in."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pipeline_assets.automation.dagster_events import JobRuns, runs_by_job
from pipeline_assets.automation.dagster_internals import RunsTable
from pipeline_assets_tests.automation.test_storage import home  # noqa: F401 - a fixture

NOW = 1_772_431_200.0
DAY_S = 86_400.0
RUNS = 1_000


@pytest.fixture
def instance(home: Path) -> Iterator[dg.DagsterInstance]:  # noqa: F811 - the fixture
    """An instance without runs."""
    assert home.is_dir()
    with dg.DagsterInstance.get() as found:
        yield found


def run(number: int, job: str, status: str, **times: float) -> dict[str, Any]:
    """A row as Dagster keeps it; what it says of the run itself is not looked at."""
    touched = datetime.fromtimestamp(times.get("end_time", NOW), UTC).replace(tzinfo=None)
    empty: dict[str, float | None] = {"start_time": None, "end_time": None}
    named = {"run_id": f"run-{number}", "pipeline_name": job, "status": status, "run_body": "{}"}
    return {**named, "update_timestamp": touched, **empty, **times}


def keep(instance: dg.DagsterInstance, rows: list[dict[str, Any]]) -> None:
    """Write runs as they are."""
    with instance.run_storage.connect() as connection:  # type: ignore[attr-defined]
        connection.execute(RunsTable.insert(), rows)


def test_runs_are_counted_by_job_and_how_they_ended(instance: dg.DagsterInstance) -> None:
    """Those of the time that is asked for, and those that have not ended, however old they are."""
    before = NOW - 2 * DAY_S
    rows = [
        run(1, "hour", "SUCCESS", start_time=NOW - 90, end_time=NOW - 60),
        run(2, "hour", "SUCCESS", start_time=NOW - 50, end_time=NOW - 40),
        run(3, "hour", "FAILURE", start_time=NOW - 50, end_time=NOW - 45),
        run(4, "hour", "SUCCESS", start_time=before - 50, end_time=before),
        run(5, "heal", "CANCELED", end_time=NOW - 10),
        run(6, "heal", "STARTED", start_time=before),
        run(7, "heal", "QUEUED"),
    ]
    keep(instance, rows)
    assert sorted(
        runs_by_job(instance, NOW - DAY_S), key=lambda each: (each.job, each.outcome)
    ) == [
        JobRuns("heal", "canceled", 1, 0.0),
        JobRuns("heal", "queued", 1, 0.0),
        JobRuns("heal", "started", 1, 0.0),
        JobRuns("hour", "failure", 1, 5.0),
        JobRuns("hour", "success", 2, 40.0),
    ]


def test_a_run_of_dagsters_own_is_counted(instance: dg.DagsterInstance) -> None:
    """As Dagster writes it, and not as this test does."""

    @dg.job
    def hour() -> None:
        """Nothing to do."""

    started = time.time()
    assert hour.execute_in_process(instance=instance).success
    (found,) = runs_by_job(instance, started - 1)
    assert (found.job, found.outcome, found.runs) == ("hour", "success", 1)
    assert 0 < found.seconds <= time.time() - started


def test_many_runs_are_added_up(instance: dg.DagsterInstance) -> None:
    """By the database: those of a day, and not as many that are older."""
    ends = [NOW - (each % 2) * 2 * DAY_S - 1 for each in range(2 * RUNS)]
    rows = [
        run(n, f"job {n % 7}", "SUCCESS", start_time=e - 9, end_time=e) for n, e in enumerate(ends)
    ]
    keep(instance, rows)
    found = runs_by_job(instance, NOW - DAY_S)
    assert len(found) == 7
    assert sum(each.runs for each in found) == RUNS
