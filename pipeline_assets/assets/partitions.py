"""The hours: one partition each, UTC, from `PIPELINE_START` on."""

import dagster as dg

from pipeline_assets.settings import Settings

HOUR_FORMAT = "%Y-%m-%d-%H"


def hourly(settings: Settings) -> dg.HourlyPartitionsDefinition:
    """One partition for each closed hour."""
    return dg.HourlyPartitionsDefinition(
        start_date=f"{settings.start:{HOUR_FORMAT}}", fmt=HOUR_FORMAT, timezone="UTC"
    )


def one_run_each(
    asset: dg.AssetsDefinition | dg.AssetSpec,
) -> dg.AssetsDefinition | dg.AssetSpec:
    """The asset with a backfill policy: a run for each hour.

    One that fails stops no other, and a check knows its hour. Not an argument of `@asset`: that
    one is beta, and warns on every load.
    """
    if isinstance(asset, dg.AssetSpec) or asset.partitions_def is None:
        return asset
    return asset.with_attributes(backfill_policy=dg.BackfillPolicy.multi_run(1))
