"""Reliability: what an hour came to, from the single rung call up to the item that people find."""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from pipeline_assets.core.contract import SCHEMA_VERSION, SCHEMA_VERSION_KEY
from pipeline_assets.core.names import ENRICHED, RECOVERY
from pipeline_assets.core.quality import COMPARED_DIGITS
from pipeline_assets.monitoring.derived import bookkeeping
from pipeline_assets.monitoring.findable import Findable
from pipeline_assets.monitoring.recovery import SCHEMA as RECOVERY_SCHEMA
from pipeline_assets.store.rung_calls import read_calls
from pipeline_assets.store.tables import Tables

WORKFLOW, USABLE = "through all stages", "usable: quality at the threshold"
FINDABLE = "findable by its own name"

SCHEMA = pa.schema(
    [
        pa.field("level", pa.string()),
        pa.field("name", pa.string()),
        pa.field("attempted", pa.int64()),
        pa.field("succeeded", pa.int64()),
        pa.field("rate", pa.float64()),
        pa.field("calls", pa.int64()),
        pa.field("seconds", pa.float64()),
        pa.field("retries", pa.int64()),
        pa.field("cost_usd", pa.float64()),
        pa.field("transitions", pa.int64()),
        pa.field("waiting", pa.int64()),
        pa.field("median_s", pa.float64()),
        pa.field("p95_s", pa.float64()),
        pa.field("note", pa.string()),
    ],
    metadata={SCHEMA_VERSION_KEY: str(SCHEMA_VERSION).encode()},
)
MEANINGS = {
    "level": "task (a rung's calls), stage, workflow, outcome, breaker or recovery",
    "name": "the rung, stage, outcome, breaker or priority class that the row is about",
    "attempted": "rows given to a rung, rows that a stage had to make, items; recovery: items that "
    "healed",
    "succeeded": "those of them that came to a value, got through, are usable, found or in time",
    "rate": "succeeded of attempted; null where nothing was attempted or measured",
    "calls": "task: how often the rung was called",
    "seconds": "task: time in those calls",
    "retries": "stage: attempts after a row's first, since its input last changed",
    "cost_usd": "stage: what its rows have cost, over all runs",
    "transitions": "breaker: changes of its state between the hour's begin and end, all hosts'",
    "waiting": "recovery: items that are degraded still",
    "median_s": "recovery: seconds until half of the healed items were",
    "p95_s": "recovery: seconds until 95 of 100 healed items were",
    "note": "what was measured, or why it could not be",
}

QUERY = """
    WITH figures AS (
        SELECT 'task' AS level, stage || '.' || rung AS name, sum("rows") AS attempted,
               sum(made) AS succeeded, sum(calls) AS calls, sum(seconds) AS seconds
        FROM calls GROUP BY ALL
        UNION ALL BY NAME
        SELECT 'stage' AS level, stage AS name,
               count(*) FILTER (WHERE status NOT IN ('pending', 'not-applicable')) AS attempted,
               count(*) FILTER (WHERE status = 'ok') AS succeeded,
               sum(greatest(attempts - 1, 0)) AS retries, sum(cost_usd) AS cost_usd
        FROM rows WHERE stage <> 'items' GROUP BY ALL
        UNION ALL BY NAME
        SELECT 'workflow' AS level, $workflow AS name, count(*) AS attempted,
               count(*) FILTER (WHERE status = 'ok') AS succeeded
        FROM enriched
        UNION ALL BY NAME
        SELECT 'outcome' AS level, $usable AS name, count(*) AS attempted,
               count(*) FILTER (WHERE round(quality::DOUBLE, $digits) >= $threshold) AS succeeded
        FROM enriched
        UNION ALL BY NAME
        SELECT 'outcome' AS level, $findable AS name, $asked::BIGINT AS attempted,
               $found::BIGINT AS succeeded, $note AS note
        UNION ALL BY NAME
        SELECT 'breaker' AS level, name, transitions FROM breakers
        UNION ALL BY NAME
        SELECT 'recovery' AS level, priority AS name, count(met) AS attempted,
               count(*) FILTER (WHERE met) AS succeeded,
               count(*) FILTER (WHERE healed_at IS NULL) AS waiting,
               median(seconds) AS median_s, quantile_cont(seconds, 0.95) AS p95_s
        FROM recovery GROUP BY priority
    )
    SELECT level, name, attempted, succeeded, succeeded / nullif(attempted, 0) AS rate, calls,
           seconds, retries, cost_usd, transitions, waiting, median_s, p95_s, note
    FROM figures
    ORDER BY level, name
"""


def reliability(
    tables: Tables,
    hour: str,
    stages: Sequence[str],
    threshold: float,
    transitions: Mapping[str, int],
    found: Findable,
) -> pa.Table:
    """The figures of an hour; `transitions` are those of the breakers, by stage and rung."""
    import duckdb  # noqa: PLC0415 - a tenth of a second that loading the definitions need not cost

    bound = {
        "workflow": WORKFLOW,
        "usable": USABLE,
        "findable": FINDABLE,
        "threshold": round(threshold, COMPARED_DIGITS),
        "digits": COMPARED_DIGITS,
        "asked": found.attempted,
        "found": found.succeeded,
        "note": found.note,
    }
    with duckdb.connect() as connection:
        connection.register("calls", read_calls(tables, hour))
        connection.register("rows", bookkeeping(tables, hour, stages))
        connection.register("enriched", tables.read(ENRICHED, hour, ["status", "quality"]))
        connection.register("breakers", _counted(transitions))
        connection.register("recovery", _recovery(tables, hour))
        made = connection.sql(QUERY, params=bound).to_arrow_table()
    return made.cast(SCHEMA)


def _recovery(tables: Tables, hour: str) -> pa.Table:
    there = tables.exists(RECOVERY, hour)
    return tables.read(RECOVERY, hour) if there else RECOVERY_SCHEMA.empty_table()


def _counted(transitions: Mapping[str, int]) -> pa.Table:
    names, counts = list(transitions), list(transitions.values())
    return pa.table(
        {"name": pa.array(names, pa.string()), "transitions": pa.array(counts, pa.int64())}
    )
