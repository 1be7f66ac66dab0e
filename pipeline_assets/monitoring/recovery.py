"""Time to recovery: each item of an hour from when it was first seen degraded until it healed.

The clock runs from when the accelerator is healthy, or from when the item became degraded where
that is later, against the objective of the item's class.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import pyarrow as pa

from pipeline_assets.core.contract import SCHEMA_VERSION, SCHEMA_VERSION_KEY, TIMESTAMP
from pipeline_assets.core.names import ENRICHED, RECOVERY
from pipeline_assets.healing.rules import Priority
from pipeline_assets.monitoring.derived import bookkeeping
from pipeline_assets.store.tables import Tables

SCHEMA = pa.schema(
    [
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("priority", pa.string()),
        pa.field("degraded_at", TIMESTAMP, nullable=False),
        pa.field("quality_then", pa.float32()),
        pa.field("healthy_at", TIMESTAMP),
        pa.field("healed_at", TIMESTAMP),
        pa.field("seconds", pa.float64()),
        pa.field("objective_s", pa.float64()),
        pa.field("met", pa.bool_()),
    ],
    metadata={SCHEMA_VERSION_KEY: str(SCHEMA_VERSION).encode()},
)
MEANINGS = {
    "priority": "the class of the item: interactive, batch or background",
    "degraded_at": "when the item was first seen degraded, in its latest trouble",
    "quality_then": "its quality at that time",
    "healthy_at": "since when the accelerator was healthy; null: since ever, or it is not",
    "healed_at": "when it was healed; null where it is degraded still",
    "seconds": "from degraded, or from a healthy accelerator where that is later, to healed",
    "objective_s": "how soon it should be healed: PIPELINE_OBJECTIVES",
    "met": "whether it was; null where it is not healed",
}

QUERY = """
    WITH items AS (
        SELECT item_id, priority, enriched.quality, bool_or(retryable) AS improvable,
               min(updated_at) FILTER (WHERE retryable) AS seen, max(updated_at) AS written
        FROM rows JOIN enriched USING (item_id)
        GROUP BY ALL
    ), open AS (
        SELECT item_id, items.priority,
               CASE WHEN still THEN degraded_at ELSE seen END AS degraded_at,
               CASE WHEN still THEN quality_then ELSE quality END AS quality_then,
               NULL::TIMESTAMPTZ AS healthy_at, NULL::TIMESTAMPTZ AS healed_at
        FROM items LEFT JOIN (
            SELECT *, healed_at IS NULL AS still FROM before
        ) AS before USING (item_id)
        WHERE improvable
    ), healed AS (
        SELECT item_id, before.priority, degraded_at, quality_then,
               CASE WHEN healed_at IS NULL THEN $healthy_at::TIMESTAMPTZ
                    ELSE before.healthy_at END AS healthy_at,
               coalesce(healed_at, written) AS healed_at
        FROM items JOIN before USING (item_id)
        WHERE NOT improvable AND (healed_at IS NOT NULL OR quality > coalesce(quality_then, -1))
    ), timed AS (
        SELECT *, epoch_us(healed_at) - epoch_us(greatest(degraded_at, healthy_at)) AS us
        FROM (FROM open UNION ALL FROM healed)
    )
    SELECT item_id, priority, degraded_at, quality_then, healthy_at, healed_at,
           CASE WHEN us > 0 THEN us / 1e6 WHEN us <= 0 THEN 0 END AS seconds, objective_s,
           us <= objective_s * 1e6 AS met
    FROM timed LEFT JOIN objectives USING (priority)
    ORDER BY item_id
"""
"""An item that is degraded again begins anew. One whose trouble ended without a better quality did
not heal: it is a dead letter, or its feed changed."""


def recovery(
    tables: Tables,
    hour: str,
    stages: Sequence[str],
    healthy_at: datetime | None,
    objectives: Mapping[Priority, timedelta],
) -> pa.Table:
    """The items of an hour that are or were degraded, each with its latest trouble.

    `healthy_at` is since when the accelerator is healthy; None: since ever, or it is not.
    """
    import duckdb  # noqa: PLC0415 - a tenth of a second that loading the definitions need not cost

    before = tables.read(RECOVERY, hour) if tables.exists(RECOVERY, hour) else SCHEMA.empty_table()
    limits = {
        "priority": [each.value for each in objectives],
        "objective_s": [each.total_seconds() for each in objectives.values()],
    }
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("rows", bookkeeping(tables, hour, stages))
        connection.register(
            "enriched", tables.read(ENRICHED, hour, ["item_id", "priority", "quality"])
        )
        connection.register("before", before)
        connection.register("objectives", pa.table(limits))
        made = connection.sql(QUERY, params={"healthy_at": healthy_at}).to_arrow_table()
    return made.cast(SCHEMA)
