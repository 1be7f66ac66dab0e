"""The checks of each table: structure for all, quality where it is counted."""

from collections.abc import Callable, Iterator

import dagster as dg
import pyarrow as pa

from pipeline_assets.assets.location import Location
from pipeline_assets.checks.factories import bugs_check, quality_check, structure_check
from pipeline_assets.checks.limits import limits_by_asset
from pipeline_assets.core.names import ITEMS
from pipeline_assets.ingest.items import REQUIRED, SCHEMA
from pipeline_assets.stages import all_stages


def table_checks(location: Location) -> Iterator[dg.AssetChecksDefinition]:
    """For every stage table: its structure blocks, bugs fail, quality warns."""
    settings = location.settings
    stages = all_stages(settings)
    yield structure_check(
        "structure",
        asset_key=location.key(ITEMS),
        read=_reader(location, ITEMS),
        key=("item_id",),
        required=REQUIRED,
        partitions_def=location.hours,
        schema=SCHEMA,
    )
    for stage in stages:
        yield structure_check(
            "structure",
            asset_key=location.key(stage.name),
            read=_reader(location, stage.name),
            key=stage.key_names,
            required=stage.required,
            partitions_def=location.hours,
            schema=stage.schema,
        )
    limits = limits_by_asset(
        [stage.name for stage in stages], settings.quality_threshold, settings.quality_limits
    )
    for stage in stages:
        yield bugs_check(
            "no_bugs",
            asset_key=location.key(stage.name),
            read=_reader(location, stage.name),
            key=stage.key_names,
            partitions_def=location.hours,
            most=limits[stage.name].internal,
        )
        yield quality_check(
            "quality",
            asset_key=location.key(stage.name),
            read=_reader(location, stage.name),
            key=stage.key_names,
            partitions_def=location.hours,
            threshold=settings.quality_threshold,
            limits=limits[stage.name],
        )


def _reader(location: Location, asset: str) -> Callable[[str], pa.Table]:
    def read(hour: str) -> pa.Table:
        with location.opened() as resources:
            return resources.tables.read(asset, hour)

    return read
