"""Items: the rows of the feed that belong to an hour, and those that belong to none.

Not a chain: there is one way to read a feed. A bad row becomes a row with its reason; an item
that is no longer in the feed stays, since a feed that was cut short must not delete a catalogue.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from pipeline_assets.core.contract import (
    ITEM_KEY,
    SCHEMA_VERSION,
    SCHEMA_VERSION_KEY,
    TIMESTAMP,
    check_contract,
    stage_schema,
)
from pipeline_assets.core.names import ITEMS
from pipeline_assets.core.rows import brought_up
from pipeline_assets.core.status import Status
from pipeline_assets.errors import MAX_ERROR_CHARS, ErrorKind
from pipeline_assets.feed.rows import PRODUCER
from pipeline_assets.store.queries import queries
from pipeline_assets.store.tables import ROW_GROUP_ROWS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb

    from pipeline_assets.feed.landing import Landed
    from pipeline_assets.resources import Resources

VALUES = (
    pa.field("name", pa.string()),
    pa.field("kind", pa.string()),
    pa.field("description", pa.string()),
    pa.field("document_url", pa.string()),
    pa.field("image_url", pa.string()),
    pa.field("event_time", TIMESTAMP),
    pa.field("priority", pa.string()),
    pa.field("line", pa.int64()),
)
MEANINGS = {
    "name": "what the feed calls the item",
    "kind": "product or document",
    "description": "the feed's description",
    "document_url": "where the item's document is; null: it has none",
    "image_url": "where the item's picture is; null: it has none",
    "event_time": "when the item was made or changed; it belongs to this hour",
    "priority": "interactive, batch or background: who waits for it to be healed",
    "line": "the line of the feed's file that the row was read from",
}
SCHEMA = stage_schema(ITEM_KEY, VALUES)
REQUIRED = ("name", "kind", "event_time")
REJECTS_SCHEMA = pa.schema(
    [
        pa.field("file", pa.string(), nullable=False),
        pa.field("line", pa.int64()),
        pa.field("item_id", pa.string()),
        pa.field("event_time", TIMESTAMP),
        pa.field("problem", pa.string(), nullable=False),
    ],
    metadata={SCHEMA_VERSION_KEY: str(SCHEMA_VERSION).encode()},
)
REJECTS_MEANINGS = {
    "file": "the feed's file",
    "line": "its line; null: the whole file",
    "item_id": "the item's id, where the line has one",
    "event_time": "the item's time, where it can be read",
    "problem": "why the line is in no hour",
}


@dataclass(frozen=True, slots=True)
class ItemsReport:
    """What the feed gave for an hour."""

    rows: int
    new_or_changed: int
    failed: int
    duplicates: int
    forgotten: int
    kept_from_before: int
    unknown_columns: tuple[str, ...]


MADE = f"""
    CREATE OR REPLACE TEMP VIEW made AS
    SELECT hour, item_id, name, kind, description, document_url, image_url, event_time, priority,
        line,
        CASE WHEN problem IS NULL THEN 'ok' ELSE 'failed' END AS status,
        CASE WHEN problem IS NULL THEN 'feed' END AS rung,
        CASE WHEN problem IS NULL THEN 1.0::FLOAT ELSE 0.0::FLOAT END AS quality,
        CASE WHEN problem IS NOT NULL THEN '{ErrorKind.INVALID_INPUT}' END AS error_kind,
        left('line ' || line || ' of ' || file || ': ' || problem, {MAX_ERROR_CHARS}) AS error,
        false AS retryable, 0::SMALLINT AS attempts, 0.0::DOUBLE AS cost_usd, key,
        CASE WHEN problem IS NULL THEN '{PRODUCER}' END AS producer
    FROM latest
"""  # noqa: S608 - our own constants
"""The rows that the feed makes of hours, without what is null in all of them."""

NEWS = """
    CREATE OR REPLACE TEMP VIEW news AS
    SELECT made.*, old.key IS NULL AS is_new FROM made LEFT JOIN old USING (hour, item_id)
    WHERE old.key IS DISTINCT FROM made.key
"""
"""What the feed has and no table has. Rows that left the feed stay in their table, and are no
news."""

OLD = """
    FROM read_parquet($files, hive_partitioning = true, hive_types_autocast = false,
                      union_by_name = true)
"""

ALL_ROWS = """
    SELECT * FROM (
        SELECT *, $run_id AS run_id, $now AS updated_at FROM news
        UNION ALL BY NAME
        SELECT old.* FROM old LEFT JOIN made USING (hour, item_id)
        WHERE made.key IS NULL OR made.key = old.key
    ) ORDER BY item_id
"""
"""What stands and is as the feed has it, or is no longer in the feed, stays as it is."""

COUNTS = """
    SELECT (SELECT count(*) FROM news) AS new_or_changed,
        (SELECT count(*) FROM landed WHERE NOT forgotten) - (SELECT count(*) FROM latest)
            AS duplicates,
        (SELECT count(*) FROM landed WHERE forgotten) AS forgotten,
        (SELECT count(*) FROM old ANTI JOIN made USING (hour, item_id)) AS kept_from_before
"""


def materialize_items(resources: Resources, hour: str, run_id: str) -> ItemsReport:
    """Bring the items of an hour up to date with the feed, and publish them.

    Raises `FeedError` where the feed as a whole cannot be read; the present table then stays.
    """
    unknown = resources.feed.columns().unknown
    with resources.leases.acquire(f"{ITEMS}/{hour}") as lease:
        # Under the lease: whoever read an older version of the feed has published by now, what
        # another run adds is not lost, and what `forget` takes stays out.
        landed = resources.feed.landed()
        with lease.publishing(), queries(resources.storage, resources.work) as connection:
            show_feed_and_tables(resources, connection, landed, [hour])
            counts = connection.sql(COUNTS).to_arrow_table().to_pylist()[0]
            bound = {"run_id": run_id, "now": resources.clock()}
            rows = connection.sql(ALL_ROWS, params=bound).to_arrow_reader(ROW_GROUP_ROWS)
            written, failed = _publish(resources, hour, rows)
    return ItemsReport(rows=written, failed=failed, unknown_columns=unknown, **counts)


def show_feed_and_tables(
    resources: Resources,
    connection: duckdb.DuckDBPyConnection,
    landed: Landed,
    hours: Sequence[str],
) -> None:
    """Have a connection know what the feed makes of hours, `made`, and what stands, `old`.

    And what of the former is `news`: rows whose item is new, or changed.
    """
    landed.show(connection, hours)
    connection.execute(MADE)
    built = [hour for hour in hours if resources.tables.exists(ITEMS, hour)]
    if not built:
        empty = SCHEMA.append(pa.field("hour", pa.string())).empty_table()
        connection.register("old", empty)
    else:
        files = [resources.tables.url(ITEMS, hour) for hour in built]
        connection.sql(OLD, params={"files": files}).create_view("old", replace=True)
    connection.execute(NEWS)


def _publish(resources: Resources, hour: str, rows: pa.RecordBatchReader) -> tuple[int, int]:
    """Write and publish the rows; how many there are, and how many of them are failed."""
    written = failed = 0

    def check(table: pa.Table) -> None:
        check_contract(f"{ITEMS} of {hour}", table, REQUIRED)

    with resources.tables.writer(ITEMS, hour, SCHEMA, check) as writer:
        for batch in rows:
            table = brought_up(pa.Table.from_batches([batch]), SCHEMA)
            writer.write(table)
            written += table.num_rows
            failed += pc.sum(pc.equal(table["status"], Status.FAILED)).as_py() or 0
        writer.publish()
    return written, failed
