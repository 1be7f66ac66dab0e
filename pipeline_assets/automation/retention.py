"""The job of retention, and its daily schedule."""

import dagster as dg

from pipeline_assets.automation.scheduled import Scheduled, When, scheduled
from pipeline_assets.core.names import RETENTION

EVERY_MORNING = "45 3 * * *"
"""When the least is asked of the machine; well after an hourly run has begun."""


def daily_retention() -> Scheduled:
    """Retention, each day."""
    return scheduled(
        "clean_up",
        dg.AssetSelection.assets(RETENTION),
        "What is old enough goes, by the settings PIPELINE_KEEP_….",
        When(
            "daily_retention",
            EVERY_MORNING,
            "Lets go what is old enough: superseded rows, work, copies, unused bytes.",
        ),
    )
