"""The jobs, and the schedules that run them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import dagster as dg

from pipeline_assets.assets.location import Location
from pipeline_assets.checks.freshness import freshness_key, hourly_tables
from pipeline_assets.core.names import FALLBACK_DRILL, REJECTS, RETENTION, SEARCH_INDEX
from pipeline_assets.settings import Settings

if TYPE_CHECKING:
    from pipeline_assets.automation.dagster_internals import AssetJob, AssetSchedule

MINUTE_AFTER_THE_HOUR: Final = 5
"""Late items of the hour have a few minutes to arrive; later ones come with the next run of it."""

REJECTS_MINUTE: Final = 10
"""After the hour's run has begun, so that both do not start to read the feed at once."""

FRESHNESS_MINUTE: Final = 50
"""When the hour that closed last should have been built."""

SUNDAY_MORNING: Final = "15 4 * * 0"
"""When the least is asked of the machine; off the minutes of the hourly runs."""

EVERY_MORNING: Final = "45 3 * * *"
"""Likewise; well after an hourly run has begun."""


@dataclass(frozen=True, slots=True)
class When:
    """The name of a schedule, its times in UTC, and what it does then."""

    name: str
    cron: str
    description: str


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A job, and the schedule that runs it."""

    job: "AssetJob"
    schedule: dg.ScheduleDefinition


def hourly_assets(settings: Settings) -> tuple[str, ...]:
    """The assets that have a partition for each hour."""
    return (*hourly_tables(settings), SEARCH_INDEX)


def hour_job(location: Location) -> "AssetJob":
    """Every asset of one hour."""
    names = hourly_assets(location.settings)
    return dg.define_asset_job(
        "hour",
        selection=dg.AssetSelection.assets(*location.keys(names))
        - dg.AssetSelection.checks(freshness_key(location)),
        executor_def=dg.in_process_executor,
        description="One hour, from the feed to search.",
    )


def hourly_schedule(job: "AssetJob") -> "AssetSchedule":
    """Run the job for the hour that has just closed."""
    return dg.build_schedule_from_partitioned_job(
        job,
        name="hourly",
        description="The hour that has just closed, from the feed to search.",
        minute_of_hour=MINUTE_AFTER_THE_HOUR,
    )


def hourly_rejects(location: Location) -> Scheduled:
    """The feed's rows that are in no hour, each hour."""
    return _scheduled(
        "rejects",
        dg.AssetSelection.assets(location.key(REJECTS)),
        "Which rows of the feed are in no hour, and why.",
        When(
            "hourly_rejects",
            f"{REJECTS_MINUTE} * * * *",
            "Records which rows of the feed are in no hour.",
        ),
    )


def hourly_freshness(location: Location) -> Scheduled:
    """The check alone, each hour: no hour that is built can say that none is."""
    return _scheduled(
        "freshness",
        dg.AssetSelection.checks(freshness_key(location)),
        "Whether hours keep coming.",
        When(
            "hourly_freshness",
            f"{FRESHNESS_MINUTE} * * * *",
            "Looks whether hours keep coming; an hour that is not built cannot say so.",
        ),
    )


def weekly_drill(location: Location) -> Scheduled:
    """The drill with its check, each week: a fallback that is never tried is a broken one."""
    return _scheduled(
        "drill",
        dg.AssetSelection.assets(location.key(FALLBACK_DRILL)),
        "Each fallback forced on a sample of recent rows, and measured.",
        When(
            "weekly_drill",
            SUNDAY_MORNING,
            "Measures on a sample how far each fallback agrees with the primary.",
        ),
    )


def daily_retention(location: Location) -> Scheduled:
    """Retention, each day."""
    return _scheduled(
        "clean_up",
        dg.AssetSelection.assets(location.key(RETENTION)),
        "What is old enough goes, by the settings PIPELINE_KEEP_….",
        When(
            "daily_retention",
            EVERY_MORNING,
            "Lets go what is old enough: superseded rows, work, copies, unused bytes.",
        ),
    )


def _scheduled(name: str, selection: dg.AssetSelection, description: str, when: When) -> Scheduled:
    """The job of what is selected, without partitions and in one process, with its schedule."""
    job = dg.define_asset_job(
        name,
        selection=selection,
        executor_def=dg.in_process_executor,
        description=description,
    )
    schedule = dg.ScheduleDefinition(
        name=when.name,
        job=job,
        cron_schedule=when.cron,
        execution_timezone="UTC",
        description=when.description,
    )
    return Scheduled(job, schedule)
