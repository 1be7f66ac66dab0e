"""A job without partitions that has a schedule of its own."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    # Dagster exports no name for what is resolved only when the definitions are loaded.
    from dagster._core.definitions.unresolved_asset_job_definition import (
        UnresolvedAssetJobDefinition as AssetJob,
    )


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


def scheduled(name: str, selection: dg.AssetSelection, description: str, when: When) -> Scheduled:
    """The job of what is selected, in one process, with its schedule."""
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
