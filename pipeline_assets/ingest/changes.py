"""The feed against the tables that were made of it: which hours have rows that are in no table.

A feed of millions of rows takes longer to read than a sensor's tick may last. So it is read by a
thread of the code server, for which a tick waits a little; what it found is in the state database.
A server that ends in between begins anew.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING

from pipeline_assets.core.hours import hour_name
from pipeline_assets.core.names import ITEMS
from pipeline_assets.feed.changes import FeedHour, Standing, Tally, has_news, same_rows
from pipeline_assets.feed.index import hour_number, named_hour, numbered_hour
from pipeline_assets.ingest.items import is_later
from pipeline_assets.ingest.keeping_out import allowed
from pipeline_assets.resources import Resources, opened
from pipeline_assets.settings import Settings

if TYPE_CHECKING:
    from pipeline_assets.feed.rows import FeedRow

COMPARED_ROWS = 1_000_000
"""Rows compared one by one in a tick: some 200 MB of keys. An hour beyond is asked for unseen;
where rows only left the feed, its run finds nothing to do."""


@dataclass(frozen=True, slots=True)
class Compared:
    """What a look at a changed feed found: rows, hours, and hours with rows in no table.

    `version` is the feed's that was looked at; `unread` are files that could not be read.
    """

    version: str
    rows: int
    hours: int
    changed: int
    unread: int


_readings: dict[Path, Future[Compared]] = {}
_lock = Lock()


def compared(settings: Settings, patience_s: float) -> Compared | None:
    """What came of reading the feed; None while that is under way. Raises `FeedError`.

    It may be of a version whose reading had begun before: its `version` says which.
    """
    root = settings.folder.absolute()
    with _lock:
        reading = _readings.get(root) or _begun(settings)
        _readings[root] = reading
    if not wait([reading], patience_s).done:
        return None
    with _lock:
        _readings.pop(root, None)
    return reading.result()


def _begun(settings: Settings) -> Future[Compared]:
    found: Future[Compared] = Future()

    def read() -> None:
        try:
            with opened(settings) as resources:
                found.set_result(compare(resources))
        except Exception as error:  # noqa: BLE001 - whoever waits for it raises it
            found.set_exception(error)

    Thread(target=read, name="feed", daemon=True).start()
    return found


def compare(resources: Resources) -> Compared:
    """Read the feed, and keep which of its hours have rows that their table has not.

    Of the files that did not change, what they hold is known. Rows are read once more where a table
    is not just what the feed would make: those that left the feed are still in it, and are no news.
    Raises `FeedError`.
    """
    version, contents = resources.feed.contents()
    first = hour_number(resources.settings.start)
    tallies = {named_hour(hour): tally for hour, tally in contents.hours.items() if hour >= first}
    known = resources.feed_hours.digests()
    fresh = {hour: each for hour, each in tallies.items() if known.get(hour) != each.digest}
    settled = _settled(resources, fresh)
    now = resources.feed_hours.now()
    resources.feed_hours.keep(
        FeedHour(
            hour,
            tally.digest,
            Standing.SETTLED if hour in settled else Standing.WAITING,
            since=now,
        )
        for hour, tally in fresh.items()
    )
    rows = sum(tally.rows for tally in tallies.values())
    changed = len(fresh) - len(settled)
    return Compared(version, rows, len(tallies), changed, len(contents.unread))


def is_built(resources: Resources, hour: str, digest: str) -> bool:
    """Whether the table of an hour has just the rows that the digest stands for."""
    keys = _table_keys(resources, hour)
    return keys is not None and same_rows(Tally.of(keys).digest, digest)


def _settled(resources: Resources, fresh: Mapping[str, Tally]) -> set[str]:
    """The hours among these whose table has all that the feed has."""
    settled, unsure, rows = set(), set(), 0
    for hour, tally in fresh.items():
        if is_built(resources, hour, tally.digest):
            settled.add(hour)
        elif resources.tables.exists(ITEMS, hour) and rows + tally.rows <= COMPARED_ROWS:
            unsure.add(hour)
            rows += tally.rows
    return settled | set(_without_news(resources, unsure))


def _without_news(resources: Resources, hours: set[str]) -> Iterator[str]:
    if not hours:
        return
    feed: dict[str, dict[str, FeedRow]] = {hour: {} for hour in hours}
    for row in resources.feed.rows(map(numbered_hour, hours)):
        if row.item_id is None or row.event_time is None:
            continue
        items = feed[hour_name(row.event_time)]
        if row.item_id not in items or is_later(items[row.item_id], row):
            items[row.item_id] = row
    forgotten = resources.forgotten.read()
    for hour, rows in feed.items():
        keys = {item: row.key for item, row in allowed(rows, forgotten).items()}
        if not has_news(keys, frozenset(_table_keys(resources, hour) or ())):
            yield hour


def _table_keys(resources: Resources, hour: str) -> list[str] | None:
    if not resources.tables.exists(ITEMS, hour):
        return None
    keys: list[str] = resources.tables.read(ITEMS, hour, ["key"])["key"].to_pylist()
    return keys
