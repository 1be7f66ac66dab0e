"""Drift: which features of an hour's items have moved, against the day before or a fixed sample."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline_assets.core.contract import SCHEMA_VERSION, SCHEMA_VERSION_KEY
from pipeline_assets.core.names import ITEM_FEATURES as FEATURES
from pipeline_assets.errors import SettingsError
from pipeline_assets.monitoring.drift_tests import (
    FALSE_ALARMS,
    JENSEN_SHANNON,
    KOLMOGOROV_SMIRNOV,
    Comparison,
    adjusted,
    compare_categories,
    compare_numbers,
)
from pipeline_assets.store.s3_storage import S3Storage
from pipeline_assets.store.s3_urls import S3Url
from pipeline_assets.store.tables import Tables

REFERENCE_HOURS = 24
"""A day, so that what always differs between day and night is in the reference."""
MIN_ROWS = 100
"""Below this an hour says nothing: distances between small samples are large by chance."""

REFERENCE = "PIPELINE_DRIFT_REFERENCE"
PARTS = ("*.parquet", "*/*.parquet")
WANTED = (
    "a Parquet file, or a folder of them, with columns of item_features; a folder's objects in a "
    "bucket end in .parquet, and lie in it or one folder deeper"
)

CATEGORIES = ("kind", "language", "label", "modality")
NUMBERS = (
    *("text_length", "picture_width", "picture_height", "brightness"),
    *("label_confidence", "embedding_norm"),
)
PREDICTED = ("label", "label_confidence", "embedding_norm")
"""What models say. That a fallback says something else is told by the quality; it is no drift."""
MADE = (*PREDICTED, "modality")
"""Not compared where fallbacks made much of it. Which of text and picture is embedded, the item
says, so no row is left out for it; but the last fallback embeds words where a picture is, too."""
MOST_FALLBACKS = 0.2
"""The share of rows that fallbacks may have made. Single troubles strike here and there, and rarely
so many; an outage takes all after its begin, and what it leaves is no fair sample of the hour."""

SCHEMA = pa.schema(
    [
        pa.field("feature", pa.string()),
        pa.field("measure", pa.string()),
        pa.field("distance", pa.float64()),
        pa.field("psi", pa.float64()),
        pa.field("shift", pa.float64()),
        pa.field("p_value", pa.float64()),
        pa.field("drifted", pa.bool_()),
        pa.field("moved", pa.string()),
        pa.field("rows", pa.int64()),
        pa.field("reference_rows", pa.int64()),
        pa.field("not_compared", pa.string()),
    ],
    metadata={SCHEMA_VERSION_KEY: str(SCHEMA_VERSION).encode()},
)

MEANINGS = {
    "feature": f"the column of {FEATURES} that is compared",
    "measure": "how: jensen-shannon for categories, kolmogorov-smirnov for numbers",
    "distance": "0 (the same) to 1; null where either side has too few values",
    "psi": "population stability index, of categories",
    "shift": "of numbers: how far they were carried, in standard deviations of the reference",
    "p_value": "how often chance alone would move a feature so far, allowing for all features",
    "drifted": "whether the feature has moved: by enough, and not by chance",
    "moved": "what changed most: the share of a category, the middle of numbers",
    "rows": "values in this hour",
    "reference_rows": "values in the day before the hour, or in PIPELINE_DRIFT_REFERENCE",
    "not_compared": "why there is no distance; null where there is one",
}


def drift(tables: Tables, hour: str, fixed: Path | S3Url | None = None) -> pa.Table:
    """An hour against the day before it, or against the features in a file; a row a feature."""
    now = tables.read(FEATURES, hour)
    reference = _window(tables, hour) if fixed is None else read_reference(fixed)
    return compared(now, reference)


def compared(now: pa.Table, reference: pa.Table) -> pa.Table:
    """Features of items against those of others; one that the reference lacks is not compared."""
    features = [name for name in (*CATEGORIES, *NUMBERS) if name in reference.column_names]
    values = {name: (_values(now, name), _values(reference, name)) for name in features}
    why = {name: _why_not(name, (now, reference), values[name]) for name in features}
    found = {name: None if why[name] else _compared(name, *values[name]) for name in features}
    known = [name for name, comparison in found.items() if comparison is not None]
    p_values = adjusted([each.p_value for each in found.values() if each is not None])
    certain = dict(zip(known, p_values, strict=True))
    rows = [
        {
            "feature": name,
            "measure": JENSEN_SHANNON if name in CATEGORIES else KOLMOGOROV_SMIRNOV,
            "rows": len(values[name][0]),
            "reference_rows": len(values[name][1]),
            "not_compared": why[name],
            **_figures(found[name], certain.get(name)),
        }
        for name in features
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def read_reference(place: Path | S3Url) -> pa.Table:
    """A fixed reference: a Parquet file, or a folder of them, with columns of `item_features`.

    Raises `SettingsError` where it cannot be read or has none of the features.
    """
    try:
        table = _here(place) if isinstance(place, Path) else _in_bucket(place)
    except (OSError, pa.ArrowException) as error:
        raise SettingsError(REFERENCE, str(place), f"{WANTED}; {error}") from None
    if not set(table.column_names) & {*CATEGORIES, *NUMBERS}:
        one_of = ", ".join((*CATEGORIES, *NUMBERS))
        raise SettingsError(REFERENCE, str(place), f"{WANTED}: one or more of {one_of}")
    return table


def _here(path: Path) -> pa.Table:
    """A file, or all files of a folder and of its folders, whatever they are called."""
    import pyarrow.dataset as ds  # noqa: PLC0415

    opened = partial(ds.dataset, path, format="parquet", partitioning="hive")
    found = opened()
    parts = [part.physical_schema for part in found.get_fragments()]
    features = [_features(each) for each in (found.schema, *parts)]
    schema = pa.unify_schemas(features, promote_options="permissive")
    return opened(schema=schema).to_table(schema.names)


def _in_bucket(url: S3Url) -> pa.Table:
    """An object, or those of a folder and of its folders, as tables have one for each hour."""
    import pyarrow.parquet as pq  # noqa: PLC0415

    storage = S3Storage(S3Url(url.bucket), Path())
    names = [name for pattern in PARTS for name in storage.names(url.key, pattern)]
    files = [pq.ParquetFile(storage.open(name).source) for name in names or [url.key]]
    schemas = [_features(file.schema_arrow) for file in files]
    parts = [file.read(of.names).cast(of) for file, of in zip(files, schemas, strict=True)]
    return pa.concat_tables(parts, promote_options="permissive")


def _features(schema: pa.Schema) -> pa.Schema:
    """What is read of a file; categories that its writer gave codes are as if written out."""
    names = [name for name in (*CATEGORIES, *NUMBERS, "fallback") if name in schema.names]
    kinds = [(name, schema.field(name).type) for name in names]
    return pa.schema(
        [(name, kind.value_type if pa.types.is_dictionary(kind) else kind) for name, kind in kinds]
    )


def said(table: pa.Table) -> str:
    """Which features have moved and by how much, for people; empty where none has."""
    return "; ".join(_said(row) for row in table.to_pylist() if row["drifted"])


def _said(row: dict[str, object]) -> str:
    by = f"PSI {row['psi']:.2f}" if row["psi"] is not None else _shift(row["shift"])
    return f"{row['feature']}: {row['moved']} ({row['measure']} {row['distance']:.2f}, {by})"


def unsaid(table: pa.Table) -> dict[str, str]:
    """Of the features that were not compared, why; tables of before the column was have none."""
    rows = table.to_pylist()
    return {row["feature"]: row["not_compared"] for row in rows if row.get("not_compared")}


def _shift(shift: object) -> str:
    return "from a single value" if shift is None else f"{shift:.2f} standard deviations"


def _window(tables: Tables, hour: str) -> pa.Table:
    before = [other for other in tables.hours(FEATURES) if other < hour]
    parts = [tables.read(FEATURES, other) for other in before[-REFERENCE_HOURS:]]
    return pa.concat_tables(parts) if parts else tables.schema(FEATURES, hour).empty_table()


def _values(table: pa.Table, feature: str) -> pa.ChunkedArray:
    if feature in PREDICTED and "fallback" in table.column_names:
        table = table.filter(~pc.field("fallback"))
    return table[feature].drop_null()


def _why_not(
    feature: str, sides: Sequence[pa.Table], values: Sequence[pa.ChunkedArray]
) -> str | None:
    """Why a feature is not compared; None where it is."""
    names = ("the hour", "the reference")
    if feature in MADE:
        for name, table in zip(names, sides, strict=True):
            share = _by_fallbacks(table, feature)
            if share > MOST_FALLBACKS:
                return f"{share:.0%} of {name} made by fallbacks"
    for name, found in zip(names, values, strict=True):
        if len(found) < MIN_ROWS:
            return f"{len(found)} values in {name}, fewer than {MIN_ROWS}"
    return None


def _by_fallbacks(table: pa.Table, feature: str) -> float:
    """The share of a feature's values that are of items with a prediction of a fallback."""
    if "fallback" not in table.column_names:
        return 0.0
    return pc.mean(table.filter(pc.field(feature).is_valid())["fallback"]).as_py() or 0.0


def _compared(feature: str, now: pa.ChunkedArray, before: pa.ChunkedArray) -> Comparison:
    if feature in CATEGORIES:
        return compare_categories(_counts(now), _counts(before))
    return compare_numbers(*(np.asarray(side.to_numpy(), np.float64) for side in (now, before)))


def _counts(values: pa.ChunkedArray) -> dict[str, int]:
    return {each["values"]: each["counts"] for each in values.value_counts().to_pylist()}


def _figures(found: Comparison | None, p_value: float | None) -> dict[str, object]:
    if found is None or p_value is None:
        return {}
    return {
        "distance": found.distance,
        "psi": found.psi,
        "shift": found.shift,
        "p_value": p_value,
        "drifted": found.matters and p_value < FALSE_ALARMS,
        "moved": found.moved,
    }
