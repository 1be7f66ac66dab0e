"""The hours: one partition each, UTC, from `PIPELINE_START` on."""

import dagster as dg

from pipeline_assets.settings import Settings

HOUR_FORMAT = "%Y-%m-%d-%H"


def hourly(settings: Settings) -> dg.HourlyPartitionsDefinition:
    """One partition for each closed hour."""
    return dg.HourlyPartitionsDefinition(
        start_date=f"{settings.start:{HOUR_FORMAT}}", fmt=HOUR_FORMAT, timezone="UTC"
    )
