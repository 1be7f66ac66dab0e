"""Items: the rows of the feed that belong to an hour, and those that belong to none.

Not a chain: there is one way to read a feed. A bad row becomes a row with its reason; an item
that is no longer in the feed stays, since a feed that was cut short must not delete a catalogue.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline_assets.adapters.feed import feed_columns, read_feed
from pipeline_assets.core.contract import (
    ITEM_KEY,
    SCHEMA_VERSION,
    SCHEMA_VERSION_KEY,
    TIMESTAMP,
    check_contract,
    hour_name,
    stage_schema,
)
from pipeline_assets.core.fingerprint import digest
from pipeline_assets.core.rows import Row, from_table, to_table
from pipeline_assets.core.status import Status
from pipeline_assets.errors import ErrorKind, FeedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from pipeline_assets.adapters.feed_rows import FeedRow
    from pipeline_assets.resources import Resources

ITEMS = "items"
REJECTS = "feed_rejects"
PRODUCER = "feed/1"
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
SCHEMA = stage_schema(ITEM_KEY, VALUES)
REQUIRED = ("name", "kind", "event_time")
REJECTS_SCHEMA = pa.schema(
    [
        pa.field("line", pa.int64(), nullable=False),
        pa.field("item_id", pa.string()),
        pa.field("event_time", TIMESTAMP),
        pa.field("problem", pa.string(), nullable=False),
    ],
    metadata={SCHEMA_VERSION_KEY: str(SCHEMA_VERSION).encode()},
)


@dataclass(frozen=True, slots=True)
class ItemsReport:
    """What the feed gave for an hour."""

    rows: int
    new_or_changed: int
    failed: int
    duplicates: int
    kept_from_before: int
    unknown_columns: tuple[str, ...]


def materialize_items(resources: Resources, hour: str, run_id: str) -> ItemsReport:
    """Bring the items of an hour up to date with the feed, and publish them.

    Raises `FeedError` where the feed as a whole cannot be read; the present table then stays.
    """
    source = _source(resources)
    unknown = feed_columns(source).unknown
    feed: dict[str, FeedRow] = {}
    seen: Counter[str] = Counter()
    for item_id, row in _of_hour(read_feed(source), hour):
        feed[item_id] = row
        seen[item_id] += 1
    now = resources.clock()
    made = {item: _row(item, row, run_id, now) for item, row in feed.items()}
    with resources.leases.acquire(f"{ITEMS}/{hour}") as lease, lease.publishing():
        old = _old_rows(resources, hour)  # under the lease: what another run adds is not lost
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
        duplicates=sum(count - 1 for count in seen.values()),
        kept_from_before=len(old.keys() - feed.keys()),
        unknown_columns=unknown,
    )


def feed_hours(resources: Resources) -> Counter[str]:
    """How many rows the feed has for each hour that has a partition."""
    hours: Counter[str] = Counter()
    for row in read_feed(_source(resources)):
        if _reject(row, resources.settings.start) is None and row.event_time is not None:
            hours[hour_name(row.event_time)] += 1
    return hours


def keyed_rows(resources: Resources) -> Iterator[tuple[str, str, str]]:
    """(hour, item, key) of each feed row that is in an hour, in the feed's order.

    Of several rows of an item in an hour, the last one counts. Raises `FeedError`.
    """
    for row in read_feed(_source(resources)):
        if row.item_id is None or row.event_time is None:
            continue
        if row.event_time >= resources.settings.start:
            yield hour_name(row.event_time), row.item_id, _key(row.item_id, row)


def feed_rejects(resources: Resources) -> pa.Table:
    """The feed rows that are in no hour's items, each with its reason, by line."""
    start = resources.settings.start
    last: dict[tuple[str | None, str], int] = {}
    rejected: list[tuple[int, str | None, datetime | None, str]] = []
    for row in read_feed(_source(resources)):
        problem = _reject(row, start)
        if problem is None and row.event_time is not None:
            place = (row.item_id, hour_name(row.event_time))
            if place in last:
                again = (
                    f"item_id {row.item_id!r} is on line {row.line} again, in the same hour: "
                    "the last one counts"
                )
                rejected.append((last[place], row.item_id, row.event_time, again))
            last[place] = row.line
        elif problem is not None:
            rejected.append((row.line, row.item_id, row.event_time, problem))
    rejected.sort(key=lambda each: each[0])
    columns: Iterable[Iterable[object]] = zip(*rejected, strict=True) if rejected else [[]] * 4
    arrays = [
        pa.array(list(column), field.type)
        for column, field in zip(columns, REJECTS_SCHEMA, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=REJECTS_SCHEMA)


def _source(resources: Resources) -> str:
    if not resources.settings.feed:
        raise FeedError("", "it is not set; set PIPELINE_FEED to a CSV, JSONL or Parquet file")
    return resources.settings.feed


def _of_hour(rows: Iterable[FeedRow], hour: str) -> Iterator[tuple[str, FeedRow]]:
    for row in rows:
        if row.item_id is None or row.event_time is None:
            continue
        if hour_name(row.event_time) == hour:
            yield row.item_id, row


def _reject(row: FeedRow, start: datetime) -> str | None:
    if row.item_id is None or row.event_time is None:
        return row.problem or "item_id or event_time is missing"
    if row.event_time < start:
        return (
            f"event_time {row.event_time:%Y-%m-%dT%H:%M:%SZ} is before the first hour, "
            f"{start:%Y-%m-%dT%H:%M:%SZ} (PIPELINE_START)"
        )
    return None


def _content(row: FeedRow) -> tuple[object, ...]:
    return (
        row.name,
        row.kind,
        row.description,
        row.document_url,
        row.image_url,
        row.event_time,
        row.priority,
    )


def _key(item_id: str, row: FeedRow) -> str:
    return f"{digest((item_id, _content(row), row.problem))}.{digest(PRODUCER)}"


def _row(item_id: str, row: FeedRow, run_id: str, now: datetime) -> Row:
    made = Row(
        (item_id,),
        (*_content(row), row.line),
        Status.OK,
        rung="feed",
        quality=1.0,
        key=_key(item_id, row),
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
        error=f"line {row.line} of the feed: {row.problem}",
    )


def _old_rows(resources: Resources, hour: str) -> dict[str, Row]:
    if not resources.tables.exists(ITEMS, hour):
        return {}
    return {row.id[0]: row for row in from_table(resources.tables.read(ITEMS, hour), 1)}
