"""Statistics of an hour, one number a row: its input, its predictions, its latencies."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from pipeline_assets.core.contract import SCHEMA_VERSION, SCHEMA_VERSION_KEY
from pipeline_assets.core.names import ENRICHED, HOUR_STATISTICS
from pipeline_assets.core.names import ITEM_FEATURES as FEATURES
from pipeline_assets.monitoring.derived import bookkeeping

if TYPE_CHECKING:
    from pipeline_assets.resources import Resources

log = logging.getLogger(__name__)

INPUT, PREDICTION, LATENCY = "input", "prediction", "latency"

FEED_COLUMNS = ("name", "description", "document_url", "image_url")
CATEGORIES = {INPUT: ("kind", "language"), PREDICTION: ("label", "modality")}
NUMBERS = {
    INPUT: ("text_length", "picture_width", "picture_height", "brightness"),
    PREDICTION: ("label_confidence", "embedding_norm"),
}

SCHEMA = pa.schema(
    [
        pa.field("subject", pa.string()),
        pa.field("name", pa.string()),
        pa.field("statistic", pa.string()),
        pa.field("category", pa.string()),
        pa.field("value", pa.float64()),
    ],
    metadata={SCHEMA_VERSION_KEY: str(SCHEMA_VERSION).encode()},
)
MEANINGS = {
    "subject": "input, prediction or latency",
    "name": "a table, a column of it, or a stage's rung",
    "statistic": "rows, columns, nulls, share, mean, std, min, p5, p50, p95, p99 or max",
    "category": "whose share it is; null for other statistics",
    "value": "the number; of latencies in milliseconds a row, amortised over its batch",
}

QUERY = """
    SELECT * FROM shape
    UNION ALL BY NAME
    SELECT subject, name, unnest(statistics).statistic AS statistic,
           unnest(statistics).value AS value
    FROM (
        SELECT subject, name, [
            {statistic: 'rows', value: count(value)::DOUBLE},
            {statistic: 'nulls', value: (count(*) - count(value))::DOUBLE},
            {statistic: 'mean', value: avg(value)},
            {statistic: 'std', value: stddev_pop(value)},
            {statistic: 'min', value: min(value)},
            {statistic: 'p5', value: quantile_cont(value, 0.05)},
            {statistic: 'p50', value: median(value)},
            {statistic: 'p95', value: quantile_cont(value, 0.95)},
            {statistic: 'p99', value: quantile_cont(value, 0.99)},
            {statistic: 'max', value: max(value)}
        ] AS statistics
        FROM numbers GROUP BY ALL
    )
    UNION ALL BY NAME
    SELECT subject, name, 'share' AS statistic, category,
           count(*) / sum(count(*)) OVER (PARTITION BY subject, name) AS value
    FROM categories WHERE category IS NOT NULL GROUP BY subject, name, category
    UNION ALL BY NAME
    SELECT subject, name, 'nulls' AS statistic, count(*) - count(category) AS value
    FROM categories GROUP BY ALL
    ORDER BY subject, name, statistic, category
"""


def hour_statistics(resources: "Resources", hour: str, stages: Sequence[str]) -> pa.Table:
    """The statistics of an hour; of columns without any value just how many nulls they have."""
    import duckdb  # noqa: PLC0415 - a tenth of a second that loading the definitions need not cost

    tables = resources.tables
    items = tables.read(ENRICHED, hour, FEED_COLUMNS)
    shape = _shape(items, len(tables.schema(ENRICHED, hour).names))
    features = tables.read(FEATURES, hour)
    with duckdb.connect() as connection:
        connection.register("shape", shape)
        connection.register("numbers", _numbers(features, bookkeeping(tables, hour, stages)))
        connection.register("categories", _categories(features))
        made = connection.sql(QUERY).to_arrow_table()
    made = made.filter(pc.field("value").is_valid())
    log.info("%s: %s of %d items in %d rows", hour, HOUR_STATISTICS, items.num_rows, made.num_rows)
    return made.select(SCHEMA.names).cast(SCHEMA)


def metadata(table: pa.Table) -> dict[str, float]:
    """Those numbers that are worth a line in a plot."""
    return {
        f"{row['name']}_{row['statistic']}": row["value"]
        for row in table.filter(pc.field("statistic").isin(["mean", "p95"])).to_pylist()
    }


def _shape(items: pa.Table, columns: int) -> pa.Table:
    rows = [
        {"name": ENRICHED, "statistic": "rows", "value": items.num_rows},
        {"name": ENRICHED, "statistic": "columns", "value": columns},
        *(
            {"name": name, "statistic": "nulls", "value": items[name].null_count}
            for name in FEED_COLUMNS
        ),
    ]
    return pa.Table.from_pylist([{**row, "subject": INPUT} for row in rows], schema=SCHEMA)


def _numbers(features: pa.Table, rows: pa.Table) -> pa.Table:
    """Every number, with what it is of."""
    made = rows.filter(pc.field("rung").is_valid() & pc.field("duration_ms").is_valid())
    rungs = pc.binary_join_element_wise(made["stage"], made["rung"], ".")
    parts = [
        _long(subject, _named(name, features), features[name], "value", pa.float64())
        for subject, names in NUMBERS.items()
        for name in names
    ]
    return pa.concat_tables(
        [*parts, _long(LATENCY, rungs, made["duration_ms"], "value", pa.float64())]
    )


def _categories(features: pa.Table) -> pa.Table:
    """Every category, with what it is of."""
    return pa.concat_tables(
        _long(subject, _named(name, features), features[name], "category", pa.string())
        for subject, names in CATEGORIES.items()
        for name in names
    )


def _named(name: str, features: pa.Table) -> pa.Array:
    return pa.array([name] * features.num_rows, pa.string())


def _long(
    subject: str, names: pa.Array, values: pa.ChunkedArray, column: str, kind: pa.DataType
) -> pa.Table:
    return pa.table(
        {
            "subject": pa.array([subject] * len(values), pa.string()),
            "name": names,
            column: values.cast(kind),
        }
    )
