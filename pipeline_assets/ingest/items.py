"""Items: the rows of the feed that belong to an hour, and those that belong to none.

Not a chain: there is one way to read a feed. A bad row becomes a row with its reason; an item
that is no longer in the feed stays, since a feed that was cut short must not delete a catalogue.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline_assets.core.contract import (
    ITEM_KEY,
    SCHEMA_VERSION,
    SCHEMA_VERSION_KEY,
    TIMESTAMP,
    check_contract,
    stage_schema,
)
from pipeline_assets.core.names import ITEMS
from pipeline_assets.core.rows import Row, from_table, to_table
from pipeline_assets.core.status import Status
from pipeline_assets.errors import MAX_ERROR_CHARS, ErrorKind
from pipeline_assets.feed.index import hour_number, named_hour, numbered_hour
from pipeline_assets.feed.rows import PRODUCER
from pipeline_assets.ingest.keeping_out import allowed

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from pipeline_assets.feed.rows import FeedRow
    from pipeline_assets.resources import Resources

FAILED_FACTOR = 0.0

VALUES = (
    pa.field("name", pa.string()),
    pa.field("kind", pa.string()),
    pa.field("description", pa.string()),
    pa.field("document_url", pa.string()),
    pa.field("image_url", pa.string()),
    pa.field("event_time", TIMESTAMP),
    pa.field("priority", pa.string()),
    pa.field("line", pa.int64()),
)
MEANINGS = {
    "name": "what the feed calls the item",
    "kind": "product or document",
    "description": "the feed's description",
    "document_url": "where the item's document is; null: it has none",
    "image_url": "where the item's picture is; null: it has none",
    "event_time": "when the item was made or changed; it belongs to this hour",
    "priority": "interactive, batch or background: who waits for it to be healed",
    "line": "the line of the feed's file that the row was read from",
}
SCHEMA = stage_schema(ITEM_KEY, VALUES)
REQUIRED = ("name", "kind", "event_time")
REJECTS_SCHEMA = pa.schema(
    [
        pa.field("file", pa.string(), nullable=False),
        pa.field("line", pa.int64()),
        pa.field("item_id", pa.string()),
        pa.field("event_time", TIMESTAMP),
        pa.field("problem", pa.string(), nullable=False),
    ],
    metadata={SCHEMA_VERSION_KEY: str(SCHEMA_VERSION).encode()},
)
REJECTS_MEANINGS = {
    "file": "the feed's file",
    "line": "its line; null: the whole file",
    "item_id": "the item's id, where the line has one",
    "event_time": "the item's time, where it can be read",
    "problem": "why the line is in no hour",
}


@dataclass(frozen=True, slots=True)
class ItemsReport:
    """What the feed gave for an hour."""

    rows: int
    new_or_changed: int
    failed: int
    duplicates: int
    forgotten: int
    kept_from_before: int
    unknown_columns: tuple[str, ...]


def materialize_items(resources: Resources, hour: str, run_id: str) -> ItemsReport:
    """Bring the items of an hour up to date with the feed, and publish them.

    Raises `FeedError` where the feed as a whole cannot be read; the present table then stays.
    """
    unknown = resources.feed.columns().unknown
    seen, feed = latest_rows(resources.feed.rows([numbered_hour(hour)]))
    now = resources.clock()
    with resources.leases.acquire(f"{ITEMS}/{hour}") as lease, lease.publishing():
        # Under the lease: what another run adds is not lost, and what `forget` takes stays out.
        old = _old_rows(resources, hour)
        kept = allowed(feed, resources.forgotten.read())
        made = {item: _row(item, row, run_id, now) for item, row in kept.items()}
        changed = {
            item for item, row in made.items() if item not in old or old[item].key != row.key
        }
        rows = {**old, **{item: made[item] for item in changed}}
        ordered = [rows[item] for item in sorted(rows)]
        resources.tables.write(
            ITEMS,
            hour,
            to_table(ordered, SCHEMA),
            lambda table: check_contract(f"{ITEMS} of {hour}", table, REQUIRED),
        )
    return ItemsReport(
        rows=len(rows),
        new_or_changed=len(changed),
        failed=sum(row.status is Status.FAILED for row in rows.values()),
        duplicates=seen - len(feed),
        forgotten=len(feed) - len(kept),
        kept_from_before=len(old.keys() - feed.keys()),
        unknown_columns=unknown,
    )


def feed_hours(resources: Resources) -> Counter[str]:
    """How many rows the feed has for each hour that has a partition. Raises `FeedError`."""
    first = hour_number(resources.settings.start)
    _version, contents = resources.feed.contents()
    return Counter(
        {named_hour(hour): tally.rows for hour, tally in contents.hours.items() if hour >= first}
    )


def is_later(row: FeedRow, other: FeedRow) -> bool:
    """Whether of an item's two rows in an hour, `other` the later in the feed, that one counts."""
    return row.event_time is None or other.event_time is None or other.event_time >= row.event_time


def latest_rows(rows: Iterable[FeedRow]) -> tuple[int, dict[str, FeedRow]]:
    """How many rows there are, and of each item the one that counts."""
    seen = 0
    latest: dict[str, FeedRow] = {}
    for row in rows:
        seen += 1
        item = str(row.item_id)
        if item not in latest or is_later(latest[item], row):
            latest[item] = row
    return seen, latest


def _row(item_id: str, row: FeedRow, run_id: str, now: datetime) -> Row:
    made = Row(
        (item_id,),
        (*row.content, row.line),
        Status.OK,
        rung="feed",
        quality=1.0,
        key=row.key,
        producer=PRODUCER,
        run_id=run_id,
        updated_at=now,
    )
    if row.problem is None:
        return made
    return made._replace(
        status=Status.FAILED,
        rung=None,
        quality=FAILED_FACTOR,
        producer=None,
        error_kind=ErrorKind.INVALID_INPUT,
        error=f"{row.place}: {row.problem}"[:MAX_ERROR_CHARS],
    )


def _old_rows(resources: Resources, hour: str) -> dict[str, Row]:
    if not resources.tables.exists(ITEMS, hour):
        return {}
    return {row.id[0]: row for row in from_table(resources.tables.read(ITEMS, hour), 1)}
