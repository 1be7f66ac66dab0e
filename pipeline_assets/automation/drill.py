"""The job of the fallback drill, and its weekly schedule."""

import dagster as dg

from pipeline_assets.automation.scheduled import Scheduled, When, scheduled
from pipeline_assets.core.names import FALLBACK_DRILL

SUNDAY_MORNING = "15 4 * * 0"
"""When the least is asked of the machine; off the minutes of the hourly runs."""


def weekly_drill() -> Scheduled:
    """The drill with its check, each week: a fallback that is never tried is a broken one."""
    return scheduled(
        "drill",
        dg.AssetSelection.assets(FALLBACK_DRILL),
        "Each fallback forced on a sample of recent rows, and measured.",
        When(
            "weekly_drill",
            SUNDAY_MORNING,
            "Measures on a sample how far each fallback agrees with the primary.",
        ),
    )
