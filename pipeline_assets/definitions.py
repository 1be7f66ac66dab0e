"""What Dagster loads: assets, checks, the jobs, their schedules and sensors.

Imports neither torch nor great_expectations: every code server and every run pays for this.
"""

from collections.abc import Iterator

import dagster as dg

from pipeline_assets.assets.derived import (
    derived_asset,
    drift_asset,
    recovery_asset,
    search_index_asset,
)
from pipeline_assets.assets.drill import fallback_drill_asset, fallbacks_check
from pipeline_assets.assets.items import feed_rejects_asset, items_asset
from pipeline_assets.assets.partitions import hourly
from pipeline_assets.assets.stages import stage_asset
from pipeline_assets.automation.alerts import alerts_sensor
from pipeline_assets.automation.drill import drill_job, drill_schedule
from pipeline_assets.automation.feed_changed import feed_changed_sensor
from pipeline_assets.automation.healing import ASKERS, heal_job, heal_sensor
from pipeline_assets.automation.health import (
    RESOURCE,
    AcceleratorHealth,
    accelerator_asset,
    accelerator_sensor,
)
from pipeline_assets.automation.hourly import (
    hour_job,
    hourly_schedule,
    rejects_job,
    rejects_schedule,
)
from pipeline_assets.checks.freshness import (
    freshness_check,
    freshness_job,
    freshness_schedule,
)
from pipeline_assets.checks.tables import table_checks
from pipeline_assets.derived import DERIVED
from pipeline_assets.settings import Settings, load_settings
from pipeline_assets.stages import all_stages, strict_tables


def _assets(
    settings: Settings, hours: dg.HourlyPartitionsDefinition
) -> Iterator[dg.AssetsDefinition | dg.AssetSpec]:
    strict = strict_tables(settings)
    yield feed_rejects_asset()
    yield items_asset(hours)
    yield from (stage_asset(stage, hours, strict) for stage in all_stages(settings))
    yield search_index_asset(hours)
    yield from (derived_asset(table, hours) for table in DERIVED)
    yield recovery_asset(hours)
    yield drift_asset(hours)
    yield fallback_drill_asset(settings)
    yield accelerator_asset()


def _definitions() -> dg.Definitions:
    settings = load_settings()
    hours = hourly(settings)
    hour, rejects, heal = hour_job(), rejects_job(), heal_job(settings)
    drill, freshness = drill_job(), freshness_job()
    return dg.Definitions(
        assets=list(_assets(settings, hours)),
        asset_checks=[*table_checks(settings, hours), freshness_check(), fallbacks_check()],
        jobs=[hour, rejects, heal, drill, freshness],
        sensors=[
            accelerator_sensor(),
            *(heal_sensor(asker, heal) for asker in ASKERS),
            feed_changed_sensor(hour),
            alerts_sensor(),
        ],
        schedules=[
            hourly_schedule(hour),
            rejects_schedule(rejects),
            drill_schedule(drill),
            freshness_schedule(freshness),
        ],
        resources={RESOURCE: AcceleratorHealth()},
        executor=dg.in_process_executor,
    )


defs = _definitions()
