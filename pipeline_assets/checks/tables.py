"""The checks of each table: structure for all, quality where it is counted."""

from collections.abc import Callable, Iterator

import dagster as dg
import pyarrow as pa

from pipeline_assets.assets.opening import opened
from pipeline_assets.checks.factories import bugs_check, quality_check, structure_check
from pipeline_assets.checks.limits import limits_by_asset
from pipeline_assets.core.names import ITEMS
from pipeline_assets.ingest.items import REQUIRED, SCHEMA
from pipeline_assets.settings import Settings
from pipeline_assets.stages import all_stages


def table_checks(
    settings: Settings, hours: dg.HourlyPartitionsDefinition
) -> Iterator[dg.AssetChecksDefinition]:
    """For every stage table: its structure blocks, bugs fail, quality warns."""
    stages = all_stages(settings)
    yield structure_check(
        "structure",
        asset_key=ITEMS,
        read=_reader(ITEMS),
        key=("item_id",),
        required=REQUIRED,
        partitions_def=hours,
        schema=SCHEMA,
    )
    for stage in stages:
        yield structure_check(
            "structure",
            asset_key=stage.name,
            read=_reader(stage.name),
            key=stage.key_names,
            required=stage.required,
            partitions_def=hours,
            schema=stage.schema,
        )
    limits = limits_by_asset(
        [stage.name for stage in stages], settings.quality_threshold, settings.quality_limits
    )
    for stage in stages:
        yield bugs_check(
            "no_bugs",
            asset_key=stage.name,
            read=_reader(stage.name),
            key=stage.key_names,
            partitions_def=hours,
            most=limits[stage.name].internal,
        )
        yield quality_check(
            "quality",
            asset_key=stage.name,
            read=_reader(stage.name),
            key=stage.key_names,
            partitions_def=hours,
            threshold=settings.quality_threshold,
            limits=limits[stage.name],
        )


def _reader(asset: str) -> Callable[[str], pa.Table]:
    def read(hour: str) -> pa.Table:
        with opened() as resources:
            return resources.tables.read(asset, hour)

    return read
