"""What a shard's rows are given: the upstream tables joined to the items, as `Work`."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline_assets.core.rows import RowId, Work
from pipeline_assets.core.stage import Stage
from pipeline_assets.core.status import Role, Status
from pipeline_assets.store.tables import Tables

log = logging.getLogger(__name__)

ROLES = tuple(str(role) for role in Role)
KEYS = ("item_id", "role")


@dataclass(frozen=True, slots=True)
class _Side:
    """One upstream table's part in the join: its rows by id, and the fields that they give.

    `role` picks the rows of one role for an item; "" means the row with the same id, or the
    item's. `blocking` means that its failed rows keep what depends on them waiting.
    """

    table: str
    role: str
    fields: tuple[str, ...]
    rows: Mapping[RowId, tuple[Any, ...]]
    blocking: bool

    def find(self, row_id: RowId) -> tuple[Any, ...] | None:
        if self.role:
            return self.rows.get((row_id[0], self.role))
        found = self.rows.get(row_id)
        return found if found is not None else self.rows.get(row_id[:1])


STATE_COLUMNS = ("status", "error")


def read_works(
    tables: Tables, stage: Stage, hour: str, items: tuple[str, str], strict: frozenset[str]
) -> list[Work]:
    """The work of a stage for the items from the first to the last named, in order of id.

    `strict` names the upstream tables whose failed rows block what depends on them.
    """
    sides = list(_sides(tables, stage, hour, items, strict))
    base = next(side for side in sides if side.table == "items")
    ids = sorted(row[0] for row in base.rows)
    return [_work(stage, row_id, sides) for row_id in _row_ids(stage, ids)]


def row_ids(tables: Tables, stage: Stage, hour: str, items: tuple[str, str]) -> pa.Table:
    """The ids of a stage's rows for the items from the first to the last named, in order."""
    table = tables.read("items", hour, ["item_id"], items).sort_by("item_id")
    if not stage.per_resource:
        return table
    ids = table["item_id"].combine_chunks()
    each = pc.divide(pa.array(range(len(ids) * len(ROLES))), len(ROLES))
    return pa.table({"item_id": ids.take(each), "role": pa.array(ROLES * len(ids))})


def _row_ids(stage: Stage, items: list[str]) -> Iterator[RowId]:
    for item in items:
        if stage.per_resource:
            yield from ((item, role) for role in ROLES)
        else:
            yield (item,)


def _sides(
    tables: Tables, stage: Stage, hour: str, items: tuple[str, str], strict: frozenset[str]
) -> Iterator[_Side]:
    wanted: dict[tuple[str, str], list[str]] = {("items", ""): []}
    for name in stage.inputs:
        place, _, column = name.rpartition(".")
        table, _, role = place.partition(".")
        wanted.setdefault((table, role), []).append(column)
    for table, names in _by_table(wanted).items():
        rows = _rows(tables, table, hour, items, names)
        for (of_table, role), columns in wanted.items():
            if of_table == table:
                everything = (*STATE_COLUMNS, *columns)
                prefix = f"{table}.{role}." if role else f"{table}."
                picked = [names.index(column) for column in everything]
                narrowed = {i: tuple(row[p] for p in picked) for i, row in rows.items()}
                fields = tuple(prefix + column for column in everything)
                yield _Side(table, role, fields, narrowed, table in strict)


def _by_table(wanted: Mapping[tuple[str, str], list[str]]) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for (table, _role), columns in wanted.items():
        known = names.setdefault(table, list(STATE_COLUMNS))
        known.extend(column for column in columns if column not in known)
    return names


def _rows(
    tables: Tables, table: str, hour: str, items: tuple[str, str], names: list[str]
) -> dict[RowId, tuple[Any, ...]]:
    if not tables.exists(table, hour):
        return {}
    keys = [name for name in KEYS if name in tables.schema(table, hour).names]
    read = tables.read(table, hour, [*keys, *names], items)
    ids = read_ids(read)
    missing = [None] * len(ids)  # as every row of a table from before the column was added
    columns = [read[name].to_pylist() if name in read.column_names else missing for name in names]
    return dict(zip(ids, zip(*columns, strict=True), strict=True))


def read_ids(table: pa.Table) -> list[RowId]:
    """The id of each row of a stage table: its leading key columns."""
    keys = [name for name in KEYS if name in table.column_names]
    return list(zip(*(table[key].to_pylist() for key in keys), strict=True))


def _work(stage: Stage, row_id: RowId, sides: list[_Side]) -> Work:
    fields: dict[str, Any] = {"role": row_id[1]} if stage.per_resource else {}
    blocked, refused = None, False
    for side in sides:
        row = side.find(row_id)
        if row is not None and row[0] == Status.OK:
            fields.update(zip(side.fields, row, strict=True))
            continue
        if blocked is None:
            blocked, refused = _blocked(side, row)
        fields.update(
            zip(side.fields, row, strict=True) if row is not None else dict.fromkeys(side.fields)
        )
    if blocked is None and stage.derives_from:
        blocked = _derive(stage, row_id, fields)
    if blocked is not None:
        fields.update(dict.fromkeys(_derived_names(stage)))
    return Work(row_id, fields, blocked, refused)


def _derive(stage: Stage, row_id: RowId, fields: dict[str, Any]) -> str | None:
    """Add the derived fields, or say why they cannot be: one odd row must not end the hour."""
    try:
        fields.update(stage.derive(fields))
    except Exception as error:
        log.exception("%s: the inputs of %s cannot be derived", stage.name, row_id)
        return f"its inputs cannot be derived: {type(error).__name__}: {error}"
    return None


def _derived_names(stage: Stage) -> Iterator[str]:
    return (name for rung in stage.rungs for name in rung.reads if "." not in name)


def _blocked(side: _Side, row: tuple[Any, ...] | None) -> tuple[str | None, bool]:
    """Why the row waits for this table, and whether that is for good."""
    if row is None:
        return f"{side.table} has no row for it yet", False
    status, error = row[0], row[1]
    if status == Status.PENDING:
        return f"{side.table} is pending: {error or 'not tried yet'}", False
    if side.blocking and status == Status.FAILED:
        return f"{side.table} failed: {error}", True
    return None, False
