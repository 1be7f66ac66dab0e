"""The hours: one partition each, UTC, from `PIPELINE_START` on."""

import dagster as dg

from pipeline_assets.core.hours import HOUR_FORMAT
from pipeline_assets.settings import Settings


def hourly(settings: Settings) -> dg.HourlyPartitionsDefinition:
    """One partition for each closed hour.

    No asset has a backfill policy, and so a backfill has a run for each hour. The policy that says
    the same, one partition per run, makes runs of a range of one hour, without the partition's
    tag: the limit of one run for each hour would not see them.
    """
    return dg.HourlyPartitionsDefinition(
        start_date=f"{settings.start:{HOUR_FORMAT}}", fmt=HOUR_FORMAT, timezone="UTC"
    )
