"""Drift: which features of an hour's items have moved, against the day before or a fixed sample."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline_assets.adapters.s3_storage import S3Storage
from pipeline_assets.adapters.s3_urls import S3Url
from pipeline_assets.adapters.storage import LocalStorage, Storage
from pipeline_assets.adapters.tables import Tables
from pipeline_assets.core.contract import SCHEMA_VERSION, SCHEMA_VERSION_KEY
from pipeline_assets.core.drift import (
    FALSE_ALARMS,
    JENSEN_SHANNON,
    KOLMOGOROV_SMIRNOV,
    Comparison,
    adjusted,
    compare_categories,
    compare_numbers,
)
from pipeline_assets.errors import SettingsError
from pipeline_assets.item_features import NAME as FEATURES

NAME = "drift"
REFERENCE_HOURS = 24
"""A day, so that what always differs between day and night is in the reference."""
MIN_ROWS = 100
"""Below this an hour says nothing: distances between small samples are large by chance."""

REFERENCE = "PIPELINE_DRIFT_REFERENCE"
PARTS = ("*.parquet", "*/*.parquet")

CATEGORIES = ("kind", "language", "label", "modality")
NUMBERS = (
    *("text_length", "picture_width", "picture_height", "brightness"),
    *("label_confidence", "embedding_norm"),
)
PREDICTED = ("label", "label_confidence", "modality", "embedding_norm")
"""What models say. That a fallback says something else is told by the quality; it is no drift."""

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
    found = {name: _compared(name, *sides) for name, sides in values.items()}
    known = [name for name, comparison in found.items() if comparison is not None]
    p_values = adjusted([each.p_value for each in found.values() if each is not None])
    certain = dict(zip(known, p_values, strict=True))
    rows = [
        {
            "feature": name,
            "measure": JENSEN_SHANNON if name in CATEGORIES else KOLMOGOROV_SMIRNOV,
            "rows": len(values[name][0]),
            "reference_rows": len(values[name][1]),
            **_figures(found[name], certain.get(name)),
        }
        for name in features
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def read_reference(place: Path | S3Url) -> pa.Table:
    """A fixed reference: a Parquet file, or a folder of them, with columns of `item_features`.

    Raises `SettingsError` where it cannot be read or has none of the features.
    """
    wanted = "a Parquet file, or a folder of them, with columns of item_features"
    try:
        parts = [_features(storage.open(name).source) for storage, name in _files(place)]
    except (OSError, pa.ArrowInvalid) as error:
        raise SettingsError(REFERENCE, str(place), f"{wanted}; {error}") from None
    table = pa.concat_tables(parts, promote_options="permissive")
    if not set(table.column_names) & {*CATEGORIES, *NUMBERS}:
        one_of = ", ".join((*CATEGORIES, *NUMBERS))
        raise SettingsError(REFERENCE, str(place), f"{wanted}: one or more of {one_of}")
    return table


def _files(place: Path | S3Url) -> list[tuple[Storage, str]]:
    """The file, or those of the folder and of its folders, as tables have one for each hour."""
    storage: Storage
    if isinstance(place, Path):
        storage, name = LocalStorage(place.parent), place.name
    else:
        storage, name = S3Storage(S3Url(place.bucket), Path()), place.key
    below = [each for pattern in PARTS for each in storage.names(name, pattern)]
    return [(storage, each) for each in below or [name]]


def _features(source: pa.NativeFile) -> pa.Table:
    import pyarrow.parquet as pq  # noqa: PLC0415

    file = pq.ParquetFile(source)
    names = [*CATEGORIES, *NUMBERS, "fallback"]
    return file.read([name for name in names if name in file.schema_arrow.names])


def said(table: pa.Table) -> str:
    """Which features have moved and by how much, for people; empty where none has."""
    return "; ".join(_said(row) for row in table.to_pylist() if row["drifted"])


def _said(row: dict[str, object]) -> str:
    by = f"PSI {row['psi']:.2f}" if row["psi"] is not None else _shift(row["shift"])
    return f"{row['feature']}: {row['moved']} ({row['measure']} {row['distance']:.2f}, {by})"


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


def _compared(feature: str, now: pa.ChunkedArray, before: pa.ChunkedArray) -> Comparison | None:
    if min(len(now), len(before)) < MIN_ROWS:
        return None
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
