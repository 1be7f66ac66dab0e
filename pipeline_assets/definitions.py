"""What Dagster loads: assets, checks, the jobs and their schedules.

Imports neither torch nor great_expectations: every code server and every run pays for this.
"""

from collections.abc import Iterator

import dagster as dg

from pipeline_assets.assets.derived import derived_asset, drift_asset, search_index_asset
from pipeline_assets.assets.items import feed_rejects_asset, items_asset
from pipeline_assets.assets.partitions import hourly
from pipeline_assets.assets.stages import stage_asset
from pipeline_assets.automation.hourly import (
    hour_job,
    hourly_schedule,
    rejects_job,
    rejects_schedule,
)
from pipeline_assets.checks.tables import table_checks
from pipeline_assets.derived import DERIVED
from pipeline_assets.settings import Settings, load_settings
from pipeline_assets.stages import all_stages, strict_tables


def _assets(
    settings: Settings, hours: dg.HourlyPartitionsDefinition
) -> Iterator[dg.AssetsDefinition]:
    strict = strict_tables(settings)
    yield feed_rejects_asset()
    yield items_asset(hours)
    yield from (stage_asset(stage, hours, strict) for stage in all_stages(settings))
    yield search_index_asset(hours)
    yield from (derived_asset(table, hours) for table in DERIVED)
    yield drift_asset(hours)


def _definitions() -> dg.Definitions:
    settings = load_settings()
    hours = hourly(settings)
    hour, rejects = hour_job(), rejects_job()
    return dg.Definitions(
        assets=list(_assets(settings, hours)),
        asset_checks=list(table_checks(settings, hours)),
        jobs=[hour, rejects],
        schedules=[hourly_schedule(hour), rejects_schedule(rejects)],
        executor=dg.in_process_executor,
    )


defs = _definitions()
