"""The records that pass between planning, the chain, merging and the tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import pyarrow as pa

from pipeline_assets.core.contract import CONTRACT_NAMES
from pipeline_assets.core.status import Status
from pipeline_assets.errors import RowError

RowId = tuple[str, ...]
"""(item_id,) or (item_id, role)."""


@dataclass(frozen=True, slots=True)
class Work:
    """One piece of work: what a stage is given for one row.

    `fields` holds the upstream columns that the stage's rungs read, as `table.column` or
    `table.role.column`. `blocked` says why an upstream stage keeps this row waiting; `refused`
    that it is for good, since a strict upstream failed. `key` is the idempotency key, for a rung
    that is `keyed`.
    """

    id: RowId
    fields: Mapping[str, Any]
    blocked: str | None = None
    refused: bool = False
    key: str | None = None

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]


@dataclass(frozen=True, slots=True)
class Made:
    """The value that a rung made for one row.

    `values` are in the order of the stage's own columns. `quality` is given only by a rung that
    knows this row's quality better than its own fixed factor. `remark` is what a fallback has to
    say about its value; the row has it behind the reason why no better rung made it.
    """

    values: tuple[Any, ...]
    confidence: float | None = None
    quality: float | None = None
    remark: str | None = None


Outcome = Made | RowError


class Row(NamedTuple):
    """One row of a stage table. After `id` and `values` the fields are the contract's columns.

    A named tuple, for its speed: every row of every run is made, and taken apart again.
    """

    id: RowId
    values: tuple[Any, ...]
    status: Status
    rung: str | None = None
    fallback_used: str | None = None
    confidence: float | None = None
    quality: float | None = None
    error_kind: str | None = None
    error: str | None = None
    retryable: bool = False
    retry_at: datetime | None = None
    attempts: int = 0
    cost_usd: float = 0.0
    key: str | None = None
    producer: str | None = None
    duration_ms: float | None = None
    run_id: str | None = None
    updated_at: datetime | None = None


if Row._fields[2:] != CONTRACT_NAMES:
    raise TypeError("Row and the contract's columns differ")  # pragma: no cover - import guard


_STATUS = {str(status): status for status in Status}


def to_table(rows: Sequence[Row], schema: pa.Schema) -> pa.Table:
    """Rows as an Arrow table of `schema` (key columns, value columns, contract columns)."""
    if not rows:
        return schema.empty_table()
    ids, values, *contract = zip(*rows, strict=True)
    keys = len(schema) - len(CONTRACT_NAMES) - len(values[0])
    if keys != len(ids[0]):
        raise ValueError(f"rows have {len(ids[0])} key columns, the schema has {keys}")
    columns = [*zip(*ids, strict=True), *zip(*values, strict=True), *contract]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def brought_up(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """A table as `schema` has it: a column that came later is null, one that is no more is left."""
    if table.schema.equals(schema):
        return table
    columns = [
        table[field.name].cast(field.type)
        if field.name in table.column_names
        else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def from_table(table: pa.Table, keys: int) -> list[Row]:
    """The rows of an Arrow table whose first `keys` columns are the row's id."""
    values_end = table.num_columns - len(CONTRACT_NAMES)
    columns = [column.to_pylist() for column in table.columns]
    ids = zip(*columns[:keys], strict=True)
    values = (
        zip(*columns[keys:values_end], strict=True)
        if values_end > keys
        else iter([()] * table.num_rows)
    )
    statuses = map(_STATUS.__getitem__, columns[values_end])
    return list(map(Row, ids, values, statuses, *columns[values_end + 1 :]))
