"""The check that hours keep coming, to every table.

Dagster's own freshness looks at the newest materialization of any partition: an old hour that is
healed would pass for a new one.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import dagster as dg

from pipeline_assets.assets.location import Location
from pipeline_assets.assets.monitoring import WATCHED
from pipeline_assets.core.hours import HOUR, hour_end
from pipeline_assets.core.names import ENRICHED, RECOVERY, RELIABILITY
from pipeline_assets.monitoring.derived import DERIVED
from pipeline_assets.settings import Settings
from pipeline_assets.stages import stage_tables

NAME = "latest_hour_is_there"


def freshness_key(location: Location) -> dg.AssetCheckKey:
    """What Dagster calls the check."""
    return dg.AssetCheckKey(location.key(ENRICHED), NAME)


def freshness_check(location: Location) -> dg.AssetChecksDefinition:
    """Warns when the newest hour of a table is older than PIPELINE_FRESH_WITHIN.

    A table that was never built is not looked at: an upgrade may have brought it.
    """
    tables = hourly_tables(location.settings)

    @dg.asset_check(
        asset=location.key(ENRICHED),
        name=NAME,
        description="The newest hour of every table has closed less than PIPELINE_FRESH_WITHIN "
        "ago.",
    )
    def check() -> dg.AssetCheckResult:
        with location.opened() as resources:
            built = {name: resources.tables.hours(name)[-1:] for name in tables}
            now, within = resources.clock(), resources.settings.fresh_within
        newest = {name: hours[0] for name, hours in built.items() if hours}
        said = what_is_old(newest, now, within)
        return dg.AssetCheckResult(
            passed=said is None,
            severity=dg.AssetCheckSeverity.WARN,
            description=said,
            metadata={
                "newest_hour": newest[ENRICHED],
                "age_h": age_of(newest[ENRICHED], now) / HOUR,
            }
            if ENRICHED in newest
            else {},
        )

    return check


def hourly_tables(settings: Settings) -> tuple[str, ...]:
    """The tables that have each hour."""
    return (*stage_tables(settings), *DERIVED, RECOVERY, RELIABILITY, *WATCHED)


def what_is_old(newest: Mapping[str, str], now: datetime, within: timedelta) -> str | None:
    """What is wrong with the newest hours of tables, if it is: no hour comes, or not to all."""
    if ENRICHED not in newest:
        return stale(None, None, within)
    age = age_of(newest[ENRICHED], now)
    if age >= within:
        return stale(newest[ENRICHED], age, within)
    old = [f"{name} {hour}" for name, hour in newest.items() if age_of(hour, now) >= within]
    return behind(old, within) if old else None


def behind(old: Sequence[str], within: timedelta) -> str:
    """Which tables do not have what others have, and what to do about it."""
    return (
        f"hours come, but not to every table within {within / HOUR:g} h "
        f"(PIPELINE_FRESH_WITHIN); the newest of {', '.join(old)}. Do their steps fail? "
        "`pipeline-assets run --hour H` builds all tables of an hour"
    )


def age_of(hour: str, now: datetime) -> timedelta:
    """How long ago an hour closed."""
    return now - hour_end(hour)


def stale(newest: str | None, age: timedelta | None, within: timedelta) -> str:
    """What is wrong, and what to do about it."""
    limit = f"{within / HOUR:g} h"
    if newest is None or age is None:
        return "no hour was ever built; turn on the schedule hourly, or `pipeline-assets run`"
    return (
        f"the newest hour, {newest}, closed {age / HOUR:.1f} h ago, which is not "
        f"within {limit} (PIPELINE_FRESH_WITHIN). Are the schedule hourly and the daemon running? "
        "`pipeline-assets run --from H --to H` builds what is missing"
    )
