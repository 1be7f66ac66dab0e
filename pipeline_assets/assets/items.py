"""The assets at the feed's end: the items of an hour, and the rows that belong to none."""

import dagster as dg

from pipeline_assets.assets.location import Location
from pipeline_assets.assets.shown import (
    as_metadata,
    column_schema,
    stage_metadata,
    table_metadata,
)
from pipeline_assets.assets.stages import OWNERS
from pipeline_assets.core.names import ITEMS, REJECTS
from pipeline_assets.ingest.items import (
    MEANINGS,
    REJECTS_MEANINGS,
    REJECTS_SCHEMA,
    SCHEMA,
    materialize_items,
)
from pipeline_assets.ingest.rejects import materialize_rejects
from pipeline_assets.store.tables import WHOLE


def items_asset(location: Location) -> dg.AssetsDefinition:
    """The feed's rows, by hour."""

    @dg.asset(
        name=ITEMS,
        key_prefix=location.key_prefix,
        description="The feed's rows of an hour; a bad row is here too, failed, with its reason.",
        partitions_def=location.hours,
        group_name="ingest",
        owners=OWNERS,
        kinds={"parquet"},
        metadata=column_schema(SCHEMA, MEANINGS),
    )
    def asset(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        hour = context.partition_key
        with location.opened() as resources:
            report = materialize_items(resources, hour, context.run.run_id)
            table = resources.tables.read(ITEMS, hour)
            threshold = resources.settings.quality_threshold
        if report.unknown_columns:
            context.log.warning(
                "the feed has columns that are not used: %s", ", ".join(report.unknown_columns)
            )
        return dg.MaterializeResult(
            metadata=as_metadata(
                {
                    **stage_metadata(table, threshold),
                    "new_or_changed": report.new_or_changed,
                    "duplicates": report.duplicates,
                    "forgotten": report.forgotten,
                    "kept_from_before": report.kept_from_before,
                    "unknown_columns": ", ".join(report.unknown_columns) or None,
                }
            )
        )

    return asset


def feed_rejects_asset(location: Location) -> dg.AssetsDefinition:
    """The feed's rows that are in no hour."""

    @dg.asset(
        name=REJECTS,
        key_prefix=location.key_prefix,
        description="Feed rows that are in no hour's items, by file and line, with the reason.",
        group_name="ingest",
        owners=OWNERS,
        kinds={"parquet"},
        metadata=column_schema(REJECTS_SCHEMA, REJECTS_MEANINGS),
    )
    def asset() -> dg.MaterializeResult[None]:
        with location.opened() as resources:
            materialize_rejects(resources)
            table = resources.tables.read(REJECTS, WHOLE)
        return dg.MaterializeResult(metadata=table_metadata(table))

    return asset
