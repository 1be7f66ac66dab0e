"""Tables that are derived from the stage tables, and so cannot drift from them.

Each is one slice per hour: a query over that hour's Parquet files, in DuckDB.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import pyarrow as pa
import pyarrow.compute as pc

from pipeline_assets.core.contract import (
    CONTRACT_NAMES,
    SCHEMA_VERSION,
    SCHEMA_VERSION_KEY,
    TIMESTAMP,
)
from pipeline_assets.core.names import DEAD_LETTERS, ENRICHED, QUALITY_SUMMARY, RETRY_QUEUE
from pipeline_assets.core.quality import COMPARED_DIGITS
from pipeline_assets.store.tables import Tables

STAGE_TABLES = ("items", "fetched", "validated", "extracted_text", "image_labels", "embeddings")


@dataclass(frozen=True, slots=True)
class Derived:
    """A derived table: what it holds, and the query that makes an hour of it.

    The query sees `rows`, the bookkeeping columns of all stage tables of the hour with their
    `stage`, and with `accelerated`, whether an accelerated rung is above the row's; `enriched`, the
    hour's enriched items; `troubles`, the rows once more with when their trouble was first and last
    seen: the slice that is replaced knows the former. `$threshold` and `$digits` are bound. The
    hour is not a column: it is the folder's name, as of every table, and readers that know hive
    partitions add it. `meanings` says what the columns hold, but those that stage tables have too.
    """

    description: str
    query: str
    meanings: Mapping[str, str]


BOOKKEEPING = ("item_id", *CONTRACT_NAMES)
BEFORE = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("item_id", "stage", "role", "error_kind")),
        pa.field("first_seen", TIMESTAMP),
    ]
)
TROUBLES = """
    CREATE TEMP VIEW troubles AS
    SELECT rows.*, rows.updated_at AS last_seen,
           coalesce(before.first_seen, rows.updated_at) AS first_seen
    FROM rows LEFT JOIN before
      ON before.item_id = rows.item_id AND before.stage = rows.stage
     AND before.role IS NOT DISTINCT FROM rows.role
     AND before.error_kind IS NOT DISTINCT FROM rows.error_kind
"""
"""Trouble of another kind is other trouble, and begins when it is seen."""

TROUBLE_MEANINGS = {
    "stage": "the stage table that the row is in",
    "first_seen": "since when the row has trouble of this kind",
    "last_seen": "when it was last tried",
}

_SUMMARY = Derived(
    "Rows, quality and improvable rows of an hour, by stage, status, rung and reason.",
    """
    SELECT stage, status, rung, error_kind,
           count(*) AS "rows",
           count(*) FILTER (WHERE retryable) AS improvable,
           count(*) FILTER (WHERE retryable AND accelerated) AS improvable_accelerated,
           count(*) FILTER (WHERE retryable AND priority = 'interactive') AS interactive,
           count(*) FILTER (WHERE retryable AND priority = 'batch') AS batch,
           count(*) FILTER (WHERE retryable AND priority = 'background') AS background,
           min(coalesce(retry_at, updated_at)) FILTER (WHERE retryable) AS next_retry_at,
           avg(quality) AS quality_mean,
           min(quality) AS quality_min,
           quantile_cont(quality, 0.1) AS quality_p10,
           count(*) FILTER (WHERE round(quality::DOUBLE, $digits) >= $threshold) AS at_threshold,
           sum(cost_usd) AS cost_usd,
           sum(attempts)::BIGINT AS attempts
    FROM rows LEFT JOIN (SELECT item_id, priority FROM enriched) USING (item_id)
    GROUP BY ALL
    ORDER BY stage, status, rung, error_kind
    """,
    {
        "stage": "the stage table that the rows are in",
        "rows": "how many rows there are of this stage, status, rung and reason",
        "improvable": "rows that trying again can help",
        "improvable_accelerated": "those of them that an accelerated rung could make better",
        "interactive": "improvable rows of items of this priority",
        "batch": "improvable rows of items of this priority",
        "background": "improvable rows of items of this priority",
        "next_retry_at": "when the first improvable row may be tried",
        "quality_mean": "mean of the rows' quality; null where none is known",
        "quality_min": "the lowest quality",
        "quality_p10": "the quality that nine of ten rows have at least",
        "at_threshold": "rows whose quality is at or over PIPELINE_QUALITY_THRESHOLD",
        "cost_usd": "what the rows have cost, over all runs",
        "attempts": "attempts at the rows, since their inputs last changed",
    },
)

_QUEUE = Derived(
    "Improvable rows of items under the threshold, worst item first, at LOW priority.",
    """
    SELECT troubles.item_id, 'LOW' AS priority, enriched.quality AS item_quality,
           stage, role, troubles.status, troubles.rung, troubles.error_kind, troubles.error,
           troubles.attempts, troubles.retry_at, troubles.cost_usd, first_seen, last_seen
    FROM troubles JOIN enriched USING (item_id)
    WHERE troubles.retryable AND stage <> 'enriched_items'
      AND round(enriched.quality::DOUBLE, $digits) < $threshold
    ORDER BY item_quality, troubles.item_id, stage, role
    """,
    {
        "priority": "LOW: what is healed waits behind the hour's own run",
        "item_quality": "the quality of the whole item",
        **TROUBLE_MEANINGS,
    },
)

_LETTERS = Derived(
    "Rows that trying again cannot help, each with its reason.",
    """
    SELECT item_id, stage, role, error_kind, error, attempts, cost_usd, first_seen, last_seen, key
    FROM troubles
    WHERE status = 'failed' AND NOT retryable
    ORDER BY item_id, stage, role
    """,
    TROUBLE_MEANINGS,
)

DERIVED: Mapping[str, Derived] = MappingProxyType(
    {QUALITY_SUMMARY: _SUMMARY, RETRY_QUEUE: _QUEUE, DEAD_LETTERS: _LETTERS}
)


def derive(
    tables: Tables,
    name: str,
    hour: str,
    threshold: float,
    stages: Sequence[str] = (*STAGE_TABLES, ENRICHED),
    reach: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> pa.Table:
    """An hour of the derived table of this name, from the stage tables that there are.

    `reach` names the stages with an accelerated rung, and their rungs down to the best of those.
    """
    import duckdb  # noqa: PLC0415 - a tenth of a second that loading the definitions need not cost

    query, rows = DERIVED[name].query, bookkeeping(tables, hour, stages)
    enriched = tables.read(ENRICHED, hour, ["item_id", "quality", "priority"])
    bound = {
        "threshold": round(threshold, COMPARED_DIGITS),
        "digits": COMPARED_DIGITS,
    }
    used = {name: value for name, value in bound.items() if f"${name}" in query}
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("rows", rows.append_column("accelerated", _accelerated(rows, reach)))
        connection.register("enriched", enriched)
        connection.register("before", _before(tables, name, hour))
        connection.execute(TROUBLES)
        made = connection.sql(query, params=used).to_arrow_table()
    return made.replace_schema_metadata({SCHEMA_VERSION_KEY: str(SCHEMA_VERSION).encode()})


def _before(tables: Tables, name: str, hour: str) -> pa.Table:
    """When the trouble in the present slice was first seen; not every table or slice says so."""
    if tables.exists(name, hour) and "first_seen" in tables.schema(name, hour).names:
        return tables.read(name, hour, BEFORE.names)
    return BEFORE.empty_table()


def _accelerated(rows: pa.Table, reach: Mapping[str, Sequence[str]]) -> pa.Array:
    """Whether an accelerated rung is above the one that made the row, or failed to."""
    made = pc.binary_join_element_wise(rows["stage"], pc.fill_null(rows["rung"], ""), ".")
    out_of_reach = pa.array([f"{stage}.{rung}" for stage in reach for rung in reach[stage]])
    has_one = pc.is_in(rows["stage"], pa.array(list(reach), pa.string()))
    return pc.and_not(has_one, pc.is_in(made, out_of_reach.cast(pa.string())))


def bookkeeping(tables: Tables, hour: str, stages: Sequence[str]) -> pa.Table:
    """The contract's columns of an hour's stage tables, with `item_id`, `role` and `stage`."""
    present = [name for name in stages if tables.exists(name, hour)]
    return pa.concat_tables(_bookkeeping(tables, name, hour) for name in present)


def _bookkeeping(tables: Tables, name: str, hour: str) -> pa.Table:
    has_role = "role" in tables.schema(name, hour).names
    read = tables.read(name, hour, [*BOOKKEEPING, "role"] if has_role else list(BOOKKEEPING))
    nobody = pa.nulls(read.num_rows, pa.string())
    # A table made of columns says nothing of nullability, in which stage tables differ.
    return pa.table(
        {
            **{column: read[column] for column in BOOKKEEPING},
            "role": read["role"] if has_role else nobody,
            "stage": pa.array([name] * read.num_rows, pa.string()),
        }
    )
