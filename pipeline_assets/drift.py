"""Drift: how far an hour's items are from those of the hours before it."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline_assets.adapters.tables import Tables
from pipeline_assets.core.contract import SCHEMA_VERSION, SCHEMA_VERSION_KEY

REFERENCE_HOURS = 24
MIN_ROWS = 100
"""Below this an hour says nothing: distances between small samples are large by chance."""

CATEGORIES = ("kind", "label", "modality")
NUMBERS = ("label_confidence", "text_length")

SCHEMA = pa.schema(
    [
        pa.field("feature", pa.string()),
        pa.field("measure", pa.string()),
        pa.field("distance", pa.float64()),
        pa.field("rows", pa.int64()),
        pa.field("reference_rows", pa.int64()),
    ],
    metadata={SCHEMA_VERSION_KEY: str(SCHEMA_VERSION).encode()},
)


def drift(tables: Tables, hour: str) -> pa.Table:
    """An hour against the hours before it, one row a feature; distances are 0 (same) to 1.

    Categories by Jensen-Shannon distance, numbers by Kolmogorov-Smirnov; null where either side
    has fewer than `MIN_ROWS` values.
    """
    before = [other for other in tables.hours("enriched_items") if other < hour]
    now = _read(tables, [hour])
    reference = _read(tables, before[-REFERENCE_HOURS:])
    rows = [_row(name, now, reference) for name in (*CATEGORIES, *NUMBERS)]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _read(tables: Tables, hours: Sequence[str]) -> pa.Table:
    columns = ["kind", "label", "modality", "label_confidence", "text"]
    parts = [tables.read("enriched_items", hour, columns) for hour in hours]
    empty = pa.table({name: pa.array([], pa.string()) for name in columns})
    table = pa.concat_tables(parts) if parts else empty
    return table.append_column("text_length", pc.utf8_length(table["text"]))


def _row(feature: str, now: pa.Table, reference: pa.Table) -> dict[str, object]:
    values, before = now[feature].drop_null(), reference[feature].drop_null()
    enough = min(len(values), len(before)) >= MIN_ROWS
    category = feature in CATEGORIES
    measure = _jensen_shannon if category else _kolmogorov_smirnov
    return {
        "feature": feature,
        "measure": "jensen-shannon" if category else "kolmogorov-smirnov",
        "distance": measure(values, before) if enough else None,
        "rows": len(values),
        "reference_rows": len(before),
    }


def _jensen_shannon(values: pa.ChunkedArray, before: pa.ChunkedArray) -> float:
    from scipy.spatial.distance import jensenshannon  # noqa: PLC0415 - half a second

    names = sorted(set(values.to_pylist()) | set(before.to_pylist()))
    return float(jensenshannon(_shares(values, names), _shares(before, names), base=2))


def _shares(values: pa.ChunkedArray, names: Sequence[str]) -> list[float]:
    counted = {each["values"]: each["counts"] for each in values.value_counts().to_pylist()}
    return [counted.get(name, 0) / len(values) for name in names]


def _kolmogorov_smirnov(values: pa.ChunkedArray, before: pa.ChunkedArray) -> float:
    from scipy.stats import ks_2samp  # noqa: PLC0415 - half a second

    numbers = (np.asarray(side.to_numpy(), np.float64) for side in (values, before))
    return float(ks_2samp(*numbers).statistic)
