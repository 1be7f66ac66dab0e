"""The jobs for a whole hour and for the feed's rejects, each with its hourly schedule."""

from typing import TYPE_CHECKING

import dagster as dg

from pipeline_assets.automation.scheduled import Scheduled, When, scheduled
from pipeline_assets.checks.freshness import KEY as FRESHNESS
from pipeline_assets.core.names import FALLBACK_DRILL, REJECTS, RETENTION

if TYPE_CHECKING:
    # Dagster exports no names for what is resolved only when the definitions are loaded.
    from dagster._core.definitions.partitions.partitioned_schedule import (
        UnresolvedPartitionedAssetScheduleDefinition,
    )
    from dagster._core.definitions.unresolved_asset_job_definition import (
        UnresolvedAssetJobDefinition as AssetJob,
    )

    AssetSchedule = UnresolvedPartitionedAssetScheduleDefinition | dg.ScheduleDefinition

MINUTE_AFTER_THE_HOUR = 5
"""Late items of the hour have a few minutes to arrive; later ones come with the next run of it."""

REJECTS_MINUTE = 10
"""After the hour's run has begun, so that both do not start to read the feed at once."""


def hour_job() -> "AssetJob":
    """Every partitioned asset of one hour."""
    return dg.define_asset_job(
        "hour",
        selection=dg.AssetSelection.all()
        - dg.AssetSelection.assets(REJECTS, FALLBACK_DRILL, RETENTION)
        - dg.AssetSelection.checks(FRESHNESS),
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


def hourly_rejects() -> Scheduled:
    """The feed's rows that are in no hour, each hour."""
    return scheduled(
        "rejects",
        dg.AssetSelection.assets(REJECTS),
        "Which rows of the feed are in no hour, and why.",
        When(
            "hourly_rejects",
            f"{REJECTS_MINUTE} * * * *",
            "Records which rows of the feed are in no hour.",
        ),
    )
