"""Changing rows that are published already: a table and the shards that lie over it, under lease.

Nobody but the stages makes rows. What is done here takes rows away, or says where the bytes of a
row have moved to, and does it to one asset and hour at a time.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline_assets.store.checkpoints import Checkpoints
from pipeline_assets.store.tables import PART, ROW_GROUP_ROWS, check_version, table_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow.parquet as pq

    from pipeline_assets.resources import Resources
    from pipeline_assets.store.footers import Footer
    from pipeline_assets.store.storage import Stored

    Change = Callable[[pa.Table], pa.Table]
    """Some rows → what becomes of them: the same rows where nothing does."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """An asset and hour that has a table, or shards."""

    asset: str
    hour: str

    def __str__(self) -> str:
        return f"{self.asset} of {self.hour}"


def tables_there_are(resources: Resources) -> list[Place]:
    """Every table of every hour."""
    names = resources.tables.storage.names("", f"*/hour=*/{PART}")
    return [place_of(name) for name in names]


def shards_there_are(resources: Resources) -> list[Place]:
    """Where a killed run left finished micro-batches."""
    return sorted(set(map(place_of, shard_names(resources))))


def shard_names(resources: Resources) -> dict[str, Stored]:
    """Every shard there is."""
    found = (
        resources.shards.listed("", each) for each in ("*/hour=*/*.arrow", "*/hour=*/*/*.arrow")
    )
    return {name: stored for group in found for name, stored in group.items()}


def place_of(name: str) -> Place:
    """The place of a table or a shard, by its name in the storage."""
    asset, hour = name.split("/")[:2]
    return Place(asset, hour.removeprefix("hour="))


def rewrite(resources: Resources, place: Place, change: Change) -> bool:
    """Have `change` made to all rows of a place; whether that made a difference.

    Raises `LeaseHeld` while a run writes there, `StorageError`.
    """
    with (
        resources.leases.acquire(f"{place.asset}/{place.hour}") as lease,
        lease.publishing(),
    ):
        seen = resources.tables.version(place.asset, place.hour)
        shards = Checkpoints(resources.shards, place.asset, place.hour, base=seen)
        table_changed = _rewrite_table(resources, place, change, seen)
        now = resources.tables.version(place.asset, place.hour)
        shards_changed = shards.rewrite(change, now)
    return table_changed or shards_changed


def _rewrite_table(resources: Resources, place: Place, change: Change, seen: str) -> bool:
    """In one pass: what stands before the first change is copied once there is one."""
    tables = resources.tables
    with ExitStack() as stack:
        writer = None
        for number, rows in enumerate(_rows(resources, place)):
            new = change(rows)
            if new is not rows and writer is None:
                schema = tables.schema(place.asset, place.hour)
                writer = stack.enter_context(
                    tables.writer(place.asset, place.hour, schema, lambda _table: None, seen)
                )
                for before in islice(_rows(resources, place), number):
                    writer.write(before)
            if writer is not None:
                writer.write(new)
        if writer is not None:
            writer.publish()
        return writer is not None


def _rows(resources: Resources, place: Place) -> Iterator[pa.Table]:
    """To be read while nobody replaces the table."""
    tables, file = resources.tables, table_name(place.asset, place.hour)
    if not tables.exists(place.asset, place.hour):
        return

    def opened(file: pq.ParquetFile, footer: Footer) -> pq.ParquetFile:
        check_version(str(place), footer.schema)
        return file

    for batch in tables.reading(file, opened).iter_batches(ROW_GROUP_ROWS):
        yield pa.Table.from_batches([batch])
