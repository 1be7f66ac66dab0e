"""The assets that are derived from an hour's stage tables."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg
import pyarrow as pa

from pipeline_assets.assets.location import Location
from pipeline_assets.assets.shown import as_metadata, column_schema, table_metadata
from pipeline_assets.assets.stages import OWNERS
from pipeline_assets.core.names import ENRICHED, QUALITY_SUMMARY, RECOVERY, SEARCH_INDEX
from pipeline_assets.monitoring.derived import DERIVED, derive
from pipeline_assets.monitoring.recovery import MEANINGS as RECOVERY_MEANINGS
from pipeline_assets.monitoring.recovery import recovery
from pipeline_assets.stages import stage_tables, within_reach

if TYPE_CHECKING:
    from pipeline_assets.resources import Resources

Make = Callable[["Resources", str], pa.Table]
"""(resources, hour) → the hour's table."""

Published = Callable[["Resources", str, pa.Table], None]
"""(resources, hour, table) → what follows from its being published."""


Shows = Callable[[pa.Table], Mapping[str, Any]]
"""(table) → what its materialization shows of it."""


def _nothing_else(_resources: "Resources", _hour: str, _table: pa.Table) -> None:
    return None


@dataclass(frozen=True, slots=True)
class MadeTable:
    """A table that is made of others, whole, for each hour once those in `after` are there."""

    name: str
    description: str
    meanings: Mapping[str, str]
    make: Make
    after: Sequence[str] = (ENRICHED,)
    published: Published = _nothing_else
    shows: Shows = table_metadata


def _keep_in_index(resources: "Resources", hour: str, table: pa.Table) -> None:
    """Artifact first, state second."""
    resources.hours.keep(hour, table)


def derived_asset(name: str, location: Location) -> dg.AssetsDefinition:
    """The asset of the derived table of this name."""
    table = DERIVED[name]

    def make(resources: "Resources", hour: str) -> pa.Table:
        settings = resources.settings
        stages, reach = stage_tables(settings), within_reach(settings)
        return derive(resources.tables, name, hour, settings.quality_threshold, stages, reach)

    published = _keep_in_index if name == QUALITY_SUMMARY else _nothing_else
    made = MadeTable(name, table.description, table.meanings, make, published=published)
    return made_asset(made, location)


def recovery_asset(location: Location) -> dg.AssetsDefinition:
    """The asset of how soon degraded items healed."""

    def make(resources: "Resources", hour: str) -> pa.Table:
        settings, health = resources.settings, resources.health.current()
        healthy_at = datetime.fromtimestamp(health.since, UTC) if health.recovered else None
        stages = stage_tables(settings)
        return recovery(resources.tables, hour, stages, healthy_at, settings.objectives)

    made = MadeTable(
        RECOVERY,
        "How soon degraded items healed, counted from a healthy accelerator, against objectives.",
        RECOVERY_MEANINGS,
        make,
    )
    return made_asset(made, location)


def search_index_asset(location: Location) -> dg.AssetsDefinition:
    """The search index: an hour that is built or healed again replaces just its own entries."""

    @dg.asset(
        name=SEARCH_INDEX,
        key_prefix=location.key_prefix,
        description="Keyword and vector index over the current items.",
        deps=location.keys([ENRICHED]),
        partitions_def=location.hours,
        group_name="search",
        owners=OWNERS,
        kinds={"sqlite", "faiss"},
    )
    def asset(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        hour = context.partition_key
        with location.opened() as resources:
            indexed = resources.search.replace_hour(hour, resources.tables.read(ENRICHED, hour))
            current = resources.search.count()
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": current,
                "items_of_this_hour": indexed.items,
                "vectors_of_this_hour": indexed.vectors,
                "seconds": indexed.seconds,
            }
        )

    return asset


def made_asset(made: MadeTable, location: Location) -> dg.AssetsDefinition:
    """The asset of a table that is made of others."""

    @dg.asset(
        name=made.name,
        key_prefix=location.key_prefix,
        description=made.description,
        deps=location.keys(made.after),
        partitions_def=location.hours,
        group_name="monitoring",
        owners=OWNERS,
        kinds={"parquet", "duckdb"},
    )
    def asset(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        hour = context.partition_key
        with location.opened() as resources:
            table = made.make(resources, hour)
            with (
                resources.leases.acquire(f"{made.name}/{hour}") as lease,
                lease.publishing(),
            ):
                resources.tables.write(made.name, hour, table)
                made.published(resources, hour, table)
        shown = {**made.shows(table), **column_schema(table.schema, made.meanings)}
        return dg.MaterializeResult(metadata=as_metadata(shown))

    return asset
