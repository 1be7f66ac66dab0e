"""All hours of a table of which each adds a few rows, as one read.

To open 5,000 slices takes seconds on a disk, and minutes in a bucket. So their rows are kept once
more, in one table with the column `hour`, compacted under one lease by whoever asks and finds many
slices that it lacks. It can be lost, and it is never believed of a slice that has changed since: a
listing of the slices says what it may answer for, the others are read themselves.
"""

from __future__ import annotations

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from pipeline_assets.core.contract import SCHEMA_VERSION, SCHEMA_VERSION_KEY
from pipeline_assets.core.rows import brought_up
from pipeline_assets.errors import LeaseHeld, LeaseLost, Overtaken, StorageError
from pipeline_assets.state.leases import FORGETTING
from pipeline_assets.store.tables import PART, WHOLE, Tables, table_name

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from duckdb import DuckDBPyConnection

    from pipeline_assets.resources import Resources
    from pipeline_assets.state.leases import Lease

    Stamps = Mapping[str, str]
    """What tells the slice of an hour from one that replaces it, by hour."""

T = TypeVar("T")

log = logging.getLogger(__name__)

STAMPS: Final = b"slices"
"""Under which the compacted table has the stamps of its slices, beside its schema."""
MANY: Final = 64
"""Slices that are read one by one: a tenth of a second on a disk."""
SETTLED_AFTER: Final = timedelta(minutes=1)
"""A bucket tells times by the second: what is replaced within one may look as it did before."""
BATCH_ROWS: Final = 65_536
HOUR: Final = pa.schema([pa.field("hour", pa.string())])

READ_AT_ONCE: Final = 16
"""Slices on their way: a bucket answers many requests as soon as one."""
WRITTEN_AT_ONCE: Final = 512
"""Slices in memory while they are compacted."""


def show_all_rows(resources: Resources, table: str, connection: DuckDBPyConnection) -> bool:
    """Have a connection know the rows of every hour as `slices`; whether there is any hour.

    Slices of older programs have other columns: what one of them does not say is null.
    """
    there, settled = _there(resources, table)
    if not there:
        return False
    compacted = _compacted(resources, table)
    if len(settled.items() - compacted.items()) >= MANY:
        _compact(resources, table)
        compacted = _compacted(resources, table)
    fresh = _fresh(there, compacted)
    parts = []
    if known := there.keys() - fresh:
        url = resources.tables.url(compacted_name(table), WHOLE)
        connection.read_parquet(url, hive_partitioning=False).create_view("compacted")
        connection.register("known", pa.table({"hour": sorted(known)}))
        parts.append("FROM compacted SEMI JOIN known USING (hour)")
    if fresh:
        schema = _schema(resources, table, fresh)
        connection.register("fresh", _read(resources, table, fresh, schema))
        parts.append("FROM fresh")
    connection.execute(f"CREATE TEMP VIEW slices AS {' UNION ALL BY NAME '.join(parts)}")
    return True


def compacted_name(table: str) -> str:
    """What the table of all rows is called."""
    return f"compacted_{table}"


def _there(resources: Resources, table: str) -> tuple[Stamps, Stamps]:
    """The stamps of the slices, and of those that are so old that their stamps tell all."""
    before = resources.clock() - SETTLED_AFTER
    there, settled = {}, {}
    for name, stored in resources.tables.storage.listed(table, f"hour=*/{PART}").items():
        hour = name.split("/")[1].removeprefix("hour=")
        there[hour] = f"{stored.bytes}-{stored.modified_at.timestamp():.6f}"
        if stored.modified_at < before:
            settled[hour] = there[hour]
    return there, settled


def _compacted(resources: Resources, table: str) -> Stamps:
    """The stamps of the slices whose rows the compacted table has."""
    try:
        metadata = resources.tables.schema(compacted_name(table), WHOLE).metadata
    except (FileNotFoundError, pa.ArrowException):  # a damaged one is made anew
        return {}
    stamps: Stamps = json.loads(metadata[STAMPS])
    return stamps


def _fresh(there: Stamps, compacted: Stamps) -> list[str]:
    """The hours of which the compacted table does not know what they have, oldest first."""
    return sorted(hour for hour in there if compacted.get(hour) != there[hour])


def _schema(resources: Resources, table: str, hours: Sequence[str]) -> pa.Schema:
    """All columns of some slices, and the hour."""
    schemas = _each(resources, hours, lambda tables, hour: tables.schema(table, hour))
    plain = dict.fromkeys(schema.remove_metadata() for schema in schemas)
    return pa.unify_schemas([*plain, HOUR], promote_options="permissive")


def _read(resources: Resources, table: str, hours: Sequence[str], schema: pa.Schema) -> pa.Table:
    """The rows of some slices, in these columns."""

    def rows(tables: Tables, hour: str) -> pa.Table:
        found = tables.read(table, hour)
        return brought_up(found.append_column(HOUR.field(0), pa.repeat(hour, len(found))), schema)

    return pa.concat_tables(_each(resources, hours, rows))


def _each(
    resources: Resources, hours: Sequence[str], read: Callable[[Tables, str], T]
) -> Iterator[T]:
    """What is read of each hour, in their order, many at once."""

    def alone(hour: str) -> T:
        # With a memory for footers of its own: threads do not share one, and none is read twice.
        return read(Tables(resources.tables.storage), hour)

    with ThreadPoolExecutor(READ_AT_ONCE) as pool:
        yield from pool.map(alone, hours)


def _compact(resources: Resources, table: str) -> None:
    """Bring the compacted table up to date, unless somebody else does; reading goes on without."""
    name = compacted_name(table)
    try:
        with resources.leases.acquire(f"{name}/{WHOLE}") as lease:
            # What is being forgotten may be out of the compacted table, and in a slice still.
            resources.leases.check_free(FORGETTING)
            _write(resources, table, lease)
    except (LeaseHeld, LeaseLost, Overtaken, StorageError) as error:
        log.info("%s is read slice by slice, as it cannot be compacted now: %s", table, error)


def _write(resources: Resources, table: str, lease: Lease) -> None:
    """All rows once more, in the place of the table that there is; some at a time."""
    tables, name = resources.tables, compacted_name(table)
    seen = tables.version(name, WHOLE)
    _, settled = _there(resources, table)
    compacted = _compacted(resources, table)
    fresh = _fresh(settled, compacted)
    kept = settled.keys() - fresh
    schema = _schema(resources, table, fresh)
    if kept:
        before = tables.schema(name, WHOLE).remove_metadata()
        schema = pa.unify_schemas([before, schema], promote_options="permissive")
    schema = schema.with_metadata(_metadata(settled))
    with tables.writer(name, WHOLE, schema, lambda _table: None, seen) as writer:
        for rows in _kept(resources, name, kept) if kept else ():
            writer.write(brought_up(rows, schema))
        for start in range(0, len(fresh), WRITTEN_AT_ONCE):
            hours = fresh[start : start + WRITTEN_AT_ONCE]
            writer.write(_read(resources, table, hours, schema))
        with lease.publishing():
            writer.publish()


def _kept(resources: Resources, name: str, hours: Collection[str]) -> Iterator[pa.Table]:
    """The rows of the compacted table that still stand."""
    file = resources.tables.reading(table_name(name, WHOLE), lambda file, _footer: file)
    for batch in file.iter_batches(BATCH_ROWS):
        rows = pa.Table.from_batches([batch])
        yield rows.filter(pc.is_in(rows["hour"], pa.array(hours, pa.string())))


def _metadata(stamps: Stamps) -> dict[bytes, bytes]:
    return {
        SCHEMA_VERSION_KEY: str(SCHEMA_VERSION).encode(),
        STAMPS: json.dumps(stamps).encode(),
    }
