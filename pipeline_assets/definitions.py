"""What Dagster loads: assets, checks, the jobs, their schedules and sensors.

Imports neither torch nor great_expectations: every code server and every run pays for this.
"""

from collections.abc import Iterator

import dagster as dg

from pipeline_assets.assets.derived import (
    derived_asset,
    recovery_asset,
    search_index_asset,
)
from pipeline_assets.assets.drill import fallback_drill_asset, fallbacks_check
from pipeline_assets.assets.items import feed_rejects_asset, items_asset
from pipeline_assets.assets.monitoring import (
    drift_asset,
    hour_statistics_asset,
    item_features_asset,
)
from pipeline_assets.assets.partitions import hourly
from pipeline_assets.assets.reliability import reliability_asset
from pipeline_assets.assets.retention import retention_asset
from pipeline_assets.assets.stages import stage_asset
from pipeline_assets.automation.alerts import alerts_sensor
from pipeline_assets.automation.asking import asking_sensor
from pipeline_assets.automation.feed_changed import FEED_CHANGED
from pipeline_assets.automation.healing import HEAL, RETRY, heal_job
from pipeline_assets.automation.health import (
    RESOURCE,
    AcceleratorHealth,
    accelerator_asset,
    accelerator_sensor,
)
from pipeline_assets.automation.schedules import (
    daily_retention,
    hour_job,
    hourly_freshness,
    hourly_rejects,
    hourly_schedule,
    weekly_drill,
)
from pipeline_assets.checks.freshness import freshness_check, hourly_tables
from pipeline_assets.checks.monitoring import drift_check, volume_check
from pipeline_assets.checks.tables import table_checks
from pipeline_assets.logs import configure_dagster
from pipeline_assets.monitoring.derived import DERIVED
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
    yield from (derived_asset(name, hours) for name in DERIVED)
    yield recovery_asset(hours)
    yield reliability_asset(hours)
    yield item_features_asset(hours)
    yield hour_statistics_asset(hours)
    yield drift_asset(hours)
    yield fallback_drill_asset(settings)
    yield retention_asset()
    yield accelerator_asset()


def _kept_fresh(
    asset: dg.AssetsDefinition | dg.AssetSpec, settings: Settings
) -> dg.AssetsDefinition | dg.AssetSpec:
    """The asset with Dagster's own view of freshness, where it has hours."""
    if isinstance(asset, dg.AssetSpec) or asset.partitions_def is None:
        return asset
    policy = dg.FreshnessPolicy.time_window(fail_window=settings.fresh_within)
    return asset.map_asset_specs(lambda spec: dg.apply_freshness_policy(spec, policy))


def _definitions() -> dg.Definitions:
    settings = load_settings()
    configure_dagster(settings.log_format)
    hours = hourly(settings)
    hour, heal = hour_job(), heal_job(settings)
    scheduled = [hourly_rejects(), weekly_drill(), daily_retention(), hourly_freshness()]
    return dg.Definitions(
        assets=[_kept_fresh(asset, settings) for asset in _assets(settings, hours)],
        asset_checks=[
            *table_checks(settings, hours),
            volume_check(hours),
            drift_check(hours),
            freshness_check(hourly_tables(settings)),
            fallbacks_check(),
        ],
        jobs=[hour, heal, *(each.job for each in scheduled)],
        sensors=[
            accelerator_sensor(),
            asking_sensor(HEAL, heal),
            asking_sensor(RETRY, heal),
            asking_sensor(FEED_CHANGED, hour),
            alerts_sensor(),
        ],
        schedules=[hourly_schedule(hour), *(each.schedule for each in scheduled)],
        resources={RESOURCE: AcceleratorHealth()},
        executor=dg.in_process_executor,
    )


defs = _definitions()
