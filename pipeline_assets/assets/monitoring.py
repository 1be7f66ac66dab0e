"""The assets that watch what goes in and what comes out, and the check that says what moved."""

from typing import TYPE_CHECKING, Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from pipeline_assets.assets.derived import MadeTable, made_asset
from pipeline_assets.assets.location import Location
from pipeline_assets.assets.shown import table_metadata
from pipeline_assets.core.names import DRIFT, ENRICHED, HOUR_STATISTICS, ITEM_FEATURES
from pipeline_assets.monitoring import drift, hour_statistics, item_features
from pipeline_assets.stages import stage_tables

if TYPE_CHECKING:
    from pipeline_assets.resources import Resources

WATCHED = (ITEM_FEATURES, HOUR_STATISTICS, DRIFT)
"""What is made again when an hour is healed: healed labels and vectors are others."""


def item_features_asset(location: Location) -> dg.AssetsDefinition:
    """The asset of what is measured of each item."""

    def make(resources: "Resources", hour: str) -> pa.Table:
        return item_features.item_features(resources, hour, stage_tables(resources.settings))

    made = MadeTable(
        ITEM_FEATURES,
        "What is measured of each item: its text, its picture, and what the models made of it.",
        item_features.MEANINGS,
        make,
    )
    return made_asset(made, location)


def hour_statistics_asset(location: Location) -> dg.AssetsDefinition:
    """The asset of an hour's statistics."""

    def make(resources: "Resources", hour: str) -> pa.Table:
        return hour_statistics.hour_statistics(resources, hour, stage_tables(resources.settings))

    def shows(table: pa.Table) -> dict[str, Any]:
        return {**table_metadata(table), **hour_statistics.metadata(table)}

    made = MadeTable(
        HOUR_STATISTICS,
        "Input, predictions and latencies of an hour in numbers, one a row.",
        hour_statistics.MEANINGS,
        make,
        after=(ENRICHED, ITEM_FEATURES),
        shows=shows,
    )
    return made_asset(made, location)


def drift_asset(location: Location) -> dg.AssetsDefinition:
    """The asset of the drift table."""

    def shows(table: pa.Table) -> dict[str, Any]:
        distances = {f"{row['feature']}_distance": row["distance"] for row in table.to_pylist()}
        moved = pc.sum(table["drifted"]).as_py() or 0
        return {**table_metadata(table), "drifted_features": moved, **distances}

    made = MadeTable(
        DRIFT,
        "How far an hour's items are from those of the day before it, or from a fixed reference, "
        "by feature.",
        drift.MEANINGS,
        lambda resources, hour: drift.drift(
            resources.tables, hour, resources.settings.drift_reference
        ),
        after=(ITEM_FEATURES,),
        shows=shows,
    )
    return made_asset(made, location)
