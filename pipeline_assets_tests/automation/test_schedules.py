"""The schedule: which hour it asks for, and when."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import dagster as dg
import pytest

from pipeline_assets import definitions
from pipeline_assets.core.names import FALLBACK_DRILL, RETENTION
from pipeline_assets.definitions import defs
from pipeline_assets_tests import hours

BERLIN_IN_SUMMER = timezone(timedelta(hours=2))


def requests(at: datetime, defs: dg.Definitions = definitions.defs) -> Sequence[dg.RunRequest]:
    """What a tick at this time asks for."""
    context = dg.build_schedule_context(
        scheduled_execution_time=at, repository_def=defs.get_repository_def()
    )
    return defs.resolve_schedule_def("hourly").evaluate_tick(context).run_requests or ()


def asked_for(at: datetime, defs: dg.Definitions = definitions.defs) -> list[str | None]:
    """The hours that a tick at this time asks for."""
    return [request.partition_key for request in requests(at, defs)]


@pytest.mark.parametrize(
    ("at", "hour"),
    [
        (datetime(2026, 3, 2, 7, 5, tzinfo=UTC), "2026-03-02-06"),
        (datetime(2026, 3, 2, 0, 5, tzinfo=UTC), "2026-03-01-23"),
        (datetime(2026, 1, 1, 1, 5, tzinfo=UTC), "2026-01-01-00"),
        (datetime(2028, 3, 1, 0, 5, tzinfo=UTC), "2028-02-29-23"),
        (datetime(2026, 10, 25, 3, 5, tzinfo=BERLIN_IN_SUMMER), "2026-10-25-00"),
    ],
)
def test_a_tick_asks_for_exactly_the_hour_that_closed(at: datetime, hour: str) -> None:
    """One hour, the last whole one before the tick, in UTC."""
    assert asked_for(at) == [hour]


def test_ticks_follow_each_other_without_a_gap_or_an_overlap() -> None:
    """A day of ticks asks for a day of hours, each once."""
    first = datetime(2026, 3, 2, 0, 5, tzinfo=UTC)
    asked = [asked_for(first + timedelta(hours=step)) for step in range(24)]
    assert [hour for each in asked for hour in each] == [
        "2026-03-01-23",
        *(f"2026-03-02-{hour:02}" for hour in range(23)),
    ]


def test_a_tick_names_its_hour_as_the_run_key() -> None:
    """A tick that is evaluated twice starts one run."""
    at = datetime(2026, 3, 2, 7, 5, tzinfo=UTC)
    (request,) = requests(at)
    assert request.run_key == "2026-03-02-06"


def test_it_ticks_a_few_minutes_after_each_full_hour() -> None:
    """Late items of the hour have that long to arrive."""
    assert definitions.defs.resolve_schedule_def("hourly").cron_schedule == "5 * * * *"


def test_before_the_first_hour_has_closed_there_is_nothing_to_ask_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A start in the future is not an error."""
    monkeypatch.setenv("PIPELINE_START", "2026-03-02T06:00:00Z")
    late = definitions.build_definitions()
    assert asked_for(datetime(2026, 3, 2, 6, 5, tzinfo=UTC), late) == []
    assert asked_for(datetime(2026, 3, 2, 7, 5, tzinfo=UTC), late) == ["2026-03-02-06"]


def test_the_rejects_are_recorded_ten_past_each_hour() -> None:
    """A tick asks for one run without an hour."""
    at = datetime(2026, 3, 2, 7, 10, tzinfo=UTC)
    schedule = definitions.defs.resolve_schedule_def("hourly_rejects")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("10 * * * *", "UTC")
    context = dg.build_schedule_context(
        scheduled_execution_time=at, repository_def=definitions.defs.get_repository_def()
    )
    (request,) = schedule.evaluate_tick(context).run_requests or ()
    assert request.partition_key is None


def test_it_drills_on_sunday_mornings() -> None:
    """A tick asks for one run, of no hour."""
    schedule = defs.resolve_schedule_def("weekly_drill")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("15 4 * * 0", "UTC")
    sunday = datetime(2026, 3, 1, 4, 15, tzinfo=UTC)
    assert sunday.strftime("%A") == "Sunday"
    context = dg.build_schedule_context(
        scheduled_execution_time=sunday, repository_def=defs.get_repository_def()
    )
    (request,) = schedule.evaluate_tick(context).run_requests or ()
    assert (schedule.job_name, request.partition_key) == ("drill", None)


def test_the_job_is_the_drill_with_its_check() -> None:
    """And no other job has it."""
    layer = defs.resolve_job_def("drill").asset_layer
    assert {key.to_user_string() for key in layer.selected_asset_keys} == {FALLBACK_DRILL}
    assert {key.name for key in layer.asset_graph.asset_check_keys} == {"fallbacks_work"}
    hour = defs.resolve_job_def("hour").asset_layer
    assert dg.AssetKey(FALLBACK_DRILL) not in hour.selected_asset_keys


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
