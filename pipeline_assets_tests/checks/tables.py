"""Small stage tables to break: one row per status, and two that a fallback or a retry touched."""

from typing import Any

import pyarrow as pa

from pipeline_assets.core.contract import ITEM_KEY, stage_schema

KEY = ("item_id",)
REQUIRED = ("label", "vector")
SCHEMA = stage_schema(
    ITEM_KEY, [pa.field("label", pa.string()), pa.field("vector", pa.list_(pa.float32(), 2))]
)

VALUE = {"label": "chair", "vector": [1.0, 0.0]}
OK: dict[str, Any] = {"status": "ok", "rung": "accelerator_clip", "quality": 1.0, **VALUE}
FALLBACK: dict[str, Any] = {
    "status": "ok",
    "rung": "cpu_clip",
    "fallback_used": "cpu_clip",
    "quality": 0.9,
    "error_kind": "resource_exhausted",
    "error": "out of memory",
    **VALUE,
}
PENDING: dict[str, Any] = {"status": "pending"}
FAILED: dict[str, Any] = {
    "status": "failed",
    "quality": 0.5,
    "error_kind": "not_found",
    "error": "the server answered 404",
}
SKIPPED: dict[str, Any] = {**FAILED, "status": "skipped", "confidence": 0.0}
NOT_APPLICABLE: dict[str, Any] = {"status": "not-applicable", "quality": 1.0}

GOOD = (OK, FALLBACK, PENDING, FAILED, SKIPPED, NOT_APPLICABLE)


def rows_table(*rows: dict[str, Any], schema: pa.Schema = SCHEMA) -> pa.Table:
    """A table of `rows`, numbered `i0`, `i1`, … unless they name themselves."""
    base = {"retryable": False, "attempts": 1, "cost_usd": 0.0}
    filled = [{"item_id": f"i{n}", **base, **row} for n, row in enumerate(rows)]
    return pa.Table.from_pylist(filled, schema=schema)
