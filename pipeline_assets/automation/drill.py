"""The job of the fallback drill, and its weekly schedule."""

from typing import TYPE_CHECKING

import dagster as dg

from pipeline_assets.drill import FALLBACK_DRILL

if TYPE_CHECKING:
    # Dagster exports no name for what is resolved only when the definitions are loaded.
    from dagster._core.definitions.unresolved_asset_job_definition import (
        UnresolvedAssetJobDefinition as AssetJob,
    )

SUNDAY_MORNING = "15 4 * * 0"
"""When the least is asked of the machine; off the minutes of the hourly runs."""


def drill_job() -> "AssetJob":
    """The drill with its check."""
    return dg.define_asset_job(
        "drill",
        selection=dg.AssetSelection.assets(FALLBACK_DRILL),
        executor_def=dg.in_process_executor,
        description="Each fallback forced on a sample of recent rows, and measured.",
    )


def drill_schedule(job: "AssetJob") -> dg.ScheduleDefinition:
    """Drill the fallbacks each week: one that is never tried is a broken one."""
    return dg.ScheduleDefinition(
        name="weekly_drill",
        job=job,
        cron_schedule=SUNDAY_MORNING,
        execution_timezone="UTC",
        description="Measures on a sample how far each fallback agrees with the primary.",
    )
