"""The tables of a large hour, and every suite that judges them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from pipeline_assets.checks.expectations import (
    validate_no_bugs,
    validate_quality,
    validate_structure,
)
from pipeline_assets.checks.limits import limits_by_asset
from pipeline_assets.checks.suites import SuiteResult
from pipeline_assets.core.names import ITEMS
from pipeline_assets.core.status import Role
from pipeline_assets.ingest.items import REQUIRED, SCHEMA
from pipeline_assets.stages import STAGES

THRESHOLD = 0.8
CONTRACT: dict[str, Any] = {
    "status": "ok",
    "rung": "best",
    "fallback_used": None,
    "confidence": 1.0,
    "quality": 1.0,
    "error_kind": None,
    "error": None,
    "retry_at": None,
    "retryable": False,
}


@dataclass(frozen=True, slots=True)
class Judged:
    """A table, and what its suites need to know of it."""

    name: str
    table: pa.Table
    key: Sequence[str]
    required: Sequence[str]


def tables_of_an_hour(items: int) -> list[Judged]:
    """The items' table and those of all stages, every row of them in order."""
    feed = Judged(ITEMS, _table(SCHEMA, items), ("item_id",), REQUIRED)
    return [
        feed,
        *(
            Judged(each.name, _table(each.schema, items), each.key_names, each.required)
            for each in STAGES
        ),
    ]


def judge(hour: Sequence[Judged]) -> list[SuiteResult]:
    """What the checks of an hour evaluate: structure of all, bugs and quality of the stages."""
    limits = limits_by_asset([each.name for each in hour], THRESHOLD, {})
    results = []
    for each in hour:
        results.append(
            validate_structure(
                each.table,
                name=each.name,
                key=each.key,
                required=each.required,
                schema=each.table.schema,
            )
        )
        if each.name != ITEMS:
            limit = limits[each.name]
            results += [
                validate_no_bugs(each.table, name=each.name, key=each.key),
                validate_quality(
                    each.table, name=each.name, key=each.key, threshold=THRESHOLD, limits=limit
                ),
            ]
    return results


def _table(schema: pa.Schema, items: int) -> pa.Table:
    rows = items * (len(Role) if "role" in schema.names else 1)
    columns = {field.name: _column(field, rows) for field in schema}
    return pa.table(columns, schema=schema)


def _column(field: pa.Field, rows: int) -> pa.Array:
    if field.name == "item_id":
        return pa.array([f"i{row * 7919 % rows:07d}" for row in range(rows)])
    if field.name == "role":
        return pa.array([list(Role)[row % len(Role)].value for row in range(rows)])
    value = CONTRACT.get(field.name, _value(field.type))
    return pa.array([value] * rows, field.type)


def _value(kind: pa.DataType) -> Any:
    if pa.types.is_list(kind):
        return []
    if pa.types.is_timestamp(kind):
        return datetime(2026, 3, 2, 6, tzinfo=UTC)
    return {"string": "x", "bool": False}.get(str(kind), 1)
