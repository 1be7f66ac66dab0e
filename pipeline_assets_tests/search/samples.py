"""Small tables of enriched items, and embedders that need no model."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline_assets.core.contract import TIMESTAMP, list_of
from pipeline_assets.stages.store import FACTOR_TYPE

HOUR, NEXT_HOUR = "2026-03-02-06", "2026-03-02-07"
START = datetime(2026, 3, 2, 6, tzinfo=UTC)
AXES = ("red", "green", "blue", "round")
"""The meaning of each dimension of the tests' space."""

SCHEMA = pa.schema(
    [
        ("item_id", pa.string()),
        ("name", pa.string()),
        ("kind", pa.string()),
        ("description", pa.string()),
        ("event_time", TIMESTAMP),
        ("image_url", pa.string()),
        ("document_url", pa.string()),
        ("title", pa.string()),
        ("text", pa.string()),
        ("label", pa.string()),
        ("label_confidence", pa.float32()),
        ("space", pa.string()),
        ("modality", pa.string()),
        ("embedding", pa.list_(pa.float32())),
        ("status", pa.string()),
        ("quality", pa.float32()),
        ("quality_factors", list_of(FACTOR_TYPE)),
    ]
)


def embed(texts: Sequence[str]) -> NDArray[np.float32]:
    """Unit vectors by the words of `AXES` in each text, shape (texts, 4)."""
    vectors = np.array([[axis in text for axis in AXES] for text in texts], dtype=np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.maximum(lengths, 1)).astype(np.float32)


EMBEDDERS = {"clip-a": embed, "clip-b": embed}


def item(
    item_id: str, name: str | None = None, *, minutes: int = 0, **values: Any
) -> dict[str, Any]:
    """A row without label and vector, `minutes` after `START`."""
    row: dict[str, Any] = dict.fromkeys(SCHEMA.names)
    row |= {"item_id": item_id, "name": name, "kind": "product", "status": "ok", "quality": 1.0}
    return row | {"event_time": START + timedelta(minutes=minutes)} | values


def pictured(item_id: str, looks: str, **values: Any) -> dict[str, Any]:
    """A row with a picture vector that says what it looks like."""
    vector = {"space": "clip-a", "modality": "image", "embedding": embed([looks])[0].tolist()}
    return item(item_id, **(vector | values))


def table(*rows: dict[str, Any]) -> pa.Table:
    """The table of these rows, typed also where there are none."""
    return pa.Table.from_pylist(list(rows), schema=SCHEMA)
