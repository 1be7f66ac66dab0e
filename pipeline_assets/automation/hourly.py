"""The job for a whole hour, and the schedule that runs it for each hour that has closed."""

import dagster as dg

from pipeline_assets.stages.items import REJECTS

MINUTE_AFTER_THE_HOUR = 5
"""Late items of the hour have a few minutes to arrive; later ones come with the next run of it."""


def hour_job(hours: dg.HourlyPartitionsDefinition) -> dg.UnresolvedAssetJobDefinition:
    """Every partitioned asset of one hour."""
    return dg.define_asset_job(
        "hour",
        selection=dg.AssetSelection.all() - dg.AssetSelection.assets(REJECTS),
        partitions_def=hours,
        executor_def=dg.in_process_executor,
        description="One hour, from the feed to search.",
    )


def hourly_schedule(job: dg.UnresolvedAssetJobDefinition) -> dg.ScheduleDefinition:
    """Run the job for the hour that has just closed."""
    schedule = dg.build_schedule_from_partitioned_job(
        job, name="hourly", minute_of_hour=MINUTE_AFTER_THE_HOUR
    )
    if not isinstance(schedule, dg.ScheduleDefinition):
        raise TypeError("the job has no partitions to schedule")
    return schedule
