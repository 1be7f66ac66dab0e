"""The feed against the tables that were made of it: which hours have rows that are in no table.

A feed of millions of rows takes longer to read than a sensor's tick may last. So it is read by a
thread of the code server, for which a tick waits a little; what it found is in the state database.
A server that ends in between begins anew.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, Thread

from pipeline_assets.core.feed_changes import FeedHour, Standing, Tally, has_news, same_rows
from pipeline_assets.resources import Resources, opened
from pipeline_assets.settings import Settings
from pipeline_assets.stages.items import ITEMS, keyed_rows

COMPARED_ROWS = 1_000_000
"""Rows compared one by one in a tick: some 200 MB of keys. An hour beyond is asked for unseen;
where rows only left the feed, its run finds nothing to do."""

Signature = tuple[str, int, int]
"""Path, size in bytes, time of the last change in ns: what tells a file from its next version."""


@dataclass(frozen=True, slots=True)
class Compared:
    """What a look at a changed feed found: rows, hours, and hours with rows in no table."""

    rows: int
    hours: int
    changed: int


def signature(source: str) -> Signature | None:
    """The feed file as it is now; None where there is none."""
    try:
        found = Path(source).stat()
    except FileNotFoundError:
        return None
    return (source, found.st_size, found.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class _Reading:
    """A version of the feed that is being read, and what will come of it."""

    seen: Signature
    found: Future[Compared]


_readings: dict[Path, _Reading] = {}
_lock = Lock()


def compared(
    settings: Settings, seen: Signature, patience_s: float
) -> tuple[Signature, Compared] | None:
    """A version of the feed and what came of reading it; None while that is under way.

    It is `seen`, or one before it whose reading had begun. Raises `FeedError`.
    """
    root = settings.data.absolute()
    with _lock:
        reading = _readings.get(root) or _begun(settings, seen)
        _readings[root] = reading
    if not wait([reading.found], patience_s).done:
        return None
    with _lock:
        _readings.pop(root, None)
    return reading.seen, reading.found.result()


def _begun(settings: Settings, seen: Signature) -> _Reading:
    found: Future[Compared] = Future()

    def read() -> None:
        try:
            with opened(settings) as resources:
                found.set_result(compare(resources))
        except Exception as error:  # noqa: BLE001 - whoever waits for it raises it
            found.set_exception(error)

    Thread(target=read, name="feed", daemon=True).start()
    return _Reading(seen, found)


def compare(resources: Resources) -> Compared:
    """Read the feed, and keep which of its hours have rows that their table has not.

    It is read a second time where a table is not just what the feed would make: rows that left the
    feed are still in it, and are no news. Raises `FeedError`.
    """
    tallies: defaultdict[str, Tally] = defaultdict(Tally)
    for hour, _item, key in keyed_rows(resources):
        tallies[hour].add(key)
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
    return Compared(rows, len(tallies), len(fresh) - len(settled))


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
    feed: dict[str, dict[str, str]] = {hour: {} for hour in hours}
    for hour, item, key in keyed_rows(resources):
        if hour in feed:
            feed[hour][item] = key
    for hour, keys in feed.items():
        if not has_news(keys, frozenset(_table_keys(resources, hour) or ())):
            yield hour


def _table_keys(resources: Resources, hour: str) -> list[str] | None:
    if not resources.tables.exists(ITEMS, hour):
        return None
    keys: list[str] = resources.tables.read(ITEMS, hour, ["key"])["key"].to_pylist()
    return keys
