"""What Dagster loads: assets, checks, the jobs, their schedules and sensors.

Imports neither torch nor great_expectations: every code server and every run pays for this.
"""

from collections.abc import Iterator, Sequence

import dagster as dg

from pipeline_assets.assets.derived import (
    derived_asset,
    recovery_asset,
    search_index_asset,
)
from pipeline_assets.assets.drill import fallback_drill_asset, fallbacks_check
from pipeline_assets.assets.items import feed_rejects_asset, items_asset
from pipeline_assets.assets.location import Location
from pipeline_assets.assets.monitoring import (
    drift_asset,
    hour_statistics_asset,
    item_features_asset,
)
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
from pipeline_assets.checks.freshness import freshness_check
from pipeline_assets.checks.monitoring import drift_check, volume_check
from pipeline_assets.checks.tables import table_checks
from pipeline_assets.logs import configure_dagster
from pipeline_assets.monitoring.derived import DERIVED
from pipeline_assets.settings import Settings, load_settings
from pipeline_assets.stages import all_stages


def build_definitions(
    settings: Settings | None = None, *, key_prefix: Sequence[str] = ()
) -> dg.Definitions:
    """The whole platform, to be merged into a code location: `Definitions.merge(ours, yours)`.

    `settings` are by default those of the environment; runs, sensors and workers go by them.
    `key_prefix` comes before the name in every asset key, so that `enriched_items` is
    `AssetKey([*key_prefix, "enriched_items"])`; jobs, sensors and schedules keep their names.
    Raises `SettingsError` for a setting that cannot be.
    """
    location = Location(settings or load_settings(), tuple(key_prefix), settings is None)
    hour, heal = hour_job(location), heal_job(location)
    scheduled = [
        hourly_rejects(location),
        weekly_drill(location),
        daily_retention(location),
        hourly_freshness(location),
    ]
    return dg.Definitions(
        assets=[_kept_fresh(asset, location.settings) for asset in _assets(location)],
        asset_checks=[
            *table_checks(location),
            volume_check(location),
            drift_check(location),
            freshness_check(location),
            fallbacks_check(location),
        ],
        jobs=[hour, heal, *(each.job for each in scheduled)],
        sensors=[
            accelerator_sensor(location),
            asking_sensor(HEAL, location, heal),
            asking_sensor(RETRY, location, heal),
            asking_sensor(FEED_CHANGED, location, hour),
            alerts_sensor(location),
        ],
        schedules=[hourly_schedule(hour), *(each.schedule for each in scheduled)],
        resources={RESOURCE: AcceleratorHealth(location)},
        executor=dg.in_process_executor,
    )


def _assets(location: Location) -> Iterator[dg.AssetsDefinition | dg.AssetSpec]:
    yield feed_rejects_asset(location)
    yield items_asset(location)
    yield from (stage_asset(stage, location) for stage in all_stages(location.settings))
    yield search_index_asset(location)
    yield from (derived_asset(name, location) for name in DERIVED)
    yield recovery_asset(location)
    yield reliability_asset(location)
    yield item_features_asset(location)
    yield hour_statistics_asset(location)
    yield drift_asset(location)
    yield fallback_drill_asset(location)
    yield retention_asset(location)
    yield accelerator_asset(location)


def _kept_fresh(
    asset: dg.AssetsDefinition | dg.AssetSpec, settings: Settings
) -> dg.AssetsDefinition | dg.AssetSpec:
    """The asset with Dagster's own view of freshness, where it has hours."""
    if isinstance(asset, dg.AssetSpec) or asset.partitions_def is None:
        return asset
    policy = dg.FreshnessPolicy.time_window(fail_window=settings.fresh_within)
    return asset.map_asset_specs(lambda spec: dg.apply_freshness_policy(spec, policy))


configure_dagster(load_settings().log_format)
defs = build_definitions()
