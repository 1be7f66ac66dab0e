"""The schedule that looks whether hours keep coming."""

import dagster as dg

from pipeline_assets.automation.scheduled import Scheduled, When, scheduled
from pipeline_assets.checks.freshness import KEY

MINUTE = 50
"""When the hour that closed last should have been built."""


def hourly_freshness() -> Scheduled:
    """The check alone, each hour: no hour that is built can say that none is."""
    return scheduled(
        "freshness",
        dg.AssetSelection.checks(KEY),
        "Whether hours keep coming.",
        When(
            "hourly_freshness",
            f"{MINUTE} * * * *",
            "Looks whether hours keep coming; an hour that is not built cannot say so.",
        ),
    )
