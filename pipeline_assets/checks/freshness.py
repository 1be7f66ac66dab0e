"""The check that hours keep coming.

Dagster's own freshness looks at the newest materialization of any partition: an old hour that is
healed would pass for a new one.
"""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from pipeline_assets.assets.opening import opened
from pipeline_assets.assets.partitions import HOUR_FORMAT
from pipeline_assets.derived import ENRICHED

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import (
        UnresolvedAssetJobDefinition as AssetJob,
    )

NAME = "latest_hour_is_there"
KEY = dg.AssetCheckKey(dg.AssetKey(ENRICHED), NAME)
MINUTE = 50
"""When the hour that closed last should have been built."""


def freshness_check() -> dg.AssetChecksDefinition:
    """Warns when the newest hour is older than PIPELINE_FRESH_WITHIN."""

    @dg.asset_check(
        asset=ENRICHED,
        name=NAME,
        description="The newest hour there is has closed less than PIPELINE_FRESH_WITHIN ago.",
    )
    def check() -> dg.AssetCheckResult:
        with opened() as resources:
            there = resources.tables.hours(ENRICHED)
            now, within = resources.clock(), resources.settings.fresh_within
        newest = there[-1] if there else None
        age = None if newest is None else age_of(newest, now)
        fresh = age is not None and age < within
        return dg.AssetCheckResult(
            passed=fresh,
            severity=dg.AssetCheckSeverity.WARN,
            description=None if fresh else stale(newest, age, within),
            metadata={}
            if newest is None or age is None
            else {"newest_hour": newest, "age_h": age / timedelta(hours=1)},
        )

    return check


def age_of(hour: str, now: datetime) -> timedelta:
    """How long ago an hour closed."""
    begun = datetime.strptime(hour, HOUR_FORMAT).replace(tzinfo=UTC)
    return now - begun - timedelta(hours=1)


def stale(newest: str | None, age: timedelta | None, within: timedelta) -> str:
    """What is wrong, and what to do about it."""
    limit = f"{within / timedelta(hours=1):g} h"
    if newest is None or age is None:
        return "no hour was ever built; turn on the schedule hourly, or `pipeline-assets run`"
    return (
        f"the newest hour, {newest}, closed {age / timedelta(hours=1):.1f} h ago, which is not "
        f"within {limit} (PIPELINE_FRESH_WITHIN). Are the schedule hourly and the daemon running? "
        "`pipeline-assets run --from H --to H` builds what is missing"
    )


def freshness_job() -> "AssetJob":
    """The check alone: no hour that is built can say that none is."""
    return dg.define_asset_job(
        "freshness",
        selection=dg.AssetSelection.checks(KEY),
        executor_def=dg.in_process_executor,
        description="Whether hours keep coming.",
    )


def freshness_schedule(job: "AssetJob") -> dg.ScheduleDefinition:
    """Look each hour."""
    return dg.ScheduleDefinition(
        name="hourly_freshness",
        job=job,
        cron_schedule=f"{MINUTE} * * * *",
        execution_timezone="UTC",
        description="Looks whether hours keep coming; an hour that is not built cannot say so.",
    )
