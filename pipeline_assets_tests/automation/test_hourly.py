"""The schedule: which hour it asks for, and when."""

from datetime import UTC, datetime, timedelta, timezone

import dagster as dg
import pytest

from pipeline_assets.assets.partitions import hourly
from pipeline_assets.automation.hourly import hour_job, hourly_schedule
from pipeline_assets.definitions import defs
from pipeline_assets.settings import load_settings

SCHEDULE = defs.resolve_schedule_def("hourly")
BERLIN_IN_SUMMER = timezone(timedelta(hours=2))


def asked_for(schedule: dg.ScheduleDefinition, at: datetime) -> list[str | None]:
    """The partitions that a tick at this time asks for."""
    context = dg.build_schedule_context(
        scheduled_execution_time=at, repository_def=defs.get_repository_def()
    )
    tick = schedule.evaluate_tick(context)
    return [request.partition_key for request in tick.run_requests or ()]


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
    assert asked_for(SCHEDULE, at) == [hour]


def test_ticks_follow_each_other_without_a_gap_or_an_overlap() -> None:
    """A day of ticks asks for a day of hours, each once."""
    first = datetime(2026, 3, 2, 0, 5, tzinfo=UTC)
    asked = [asked_for(SCHEDULE, first + timedelta(hours=step)) for step in range(24)]
    assert [hour for each in asked for hour in each] == [
        "2026-03-01-23",
        *(f"2026-03-02-{hour:02}" for hour in range(23)),
    ]


def test_a_tick_names_its_hour_as_the_run_key() -> None:
    """A tick that is evaluated twice starts one run."""
    at = datetime(2026, 3, 2, 7, 5, tzinfo=UTC)
    context = dg.build_schedule_context(
        scheduled_execution_time=at, repository_def=defs.get_repository_def()
    )
    (request,) = SCHEDULE.evaluate_tick(context).run_requests or ()
    assert request.run_key == "2026-03-02-06"


def test_it_ticks_a_few_minutes_after_each_full_hour() -> None:
    """Late items of the hour have that long to arrive."""
    assert SCHEDULE.cron_schedule == "5 * * * *"


def test_before_the_first_hour_has_closed_there_is_nothing_to_ask_for() -> None:
    """A start in the future is not an error."""
    start = datetime(2026, 3, 2, 6, tzinfo=UTC)
    hours = hourly(load_settings(start=start))
    schedule = hourly_schedule(hour_job(hours))
    assert asked_for(schedule, start + timedelta(minutes=5)) == []
    assert asked_for(schedule, start + timedelta(minutes=65)) == ["2026-03-02-06"]


def test_a_job_without_partitions_is_refused() -> None:
    """There would be no hour to ask for."""
    job = dg.define_asset_job("all", selection="*")
    with pytest.raises(Exception, match="partition"):
        hourly_schedule(job)
