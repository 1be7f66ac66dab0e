"""The feed against the tables that were made of it: which hours have rows that are in no table.

A feed of millions of rows takes longer to read than a sensor's tick may last. So it is read by a
thread of the code server, for which a tick waits a little; what it found is in the state database.
A server that ends in between begins anew.
"""

from collections.abc import Collection, Iterator
from concurrent.futures import Future, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock, Thread
from typing import Final

from pipeline_assets.alerting.rules import Alert, Severity
from pipeline_assets.core.batched import batched
from pipeline_assets.core.hours import hour_name
from pipeline_assets.errors import without_secrets
from pipeline_assets.feed.hours import FeedHour
from pipeline_assets.feed.landing import Landed
from pipeline_assets.ingest.items import show_feed_and_tables
from pipeline_assets.resources import Resources, opened
from pipeline_assets.settings import Settings
from pipeline_assets.store.queries import queries

HOURS_AT_ONCE: Final = 200
"""Tables that are compared in one query."""


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
    """Read what changed of the feed, and keep which of its hours have rows in no table.

    Raises `FeedError`.
    """
    landed = resources.feed.landed()
    first = hour_name(resources.settings.start)
    shares = {hour: share for hour, share in landed.hours().items() if hour >= first}
    known = resources.feed_hours.digests()
    fresh = {hour: each for hour, each in shares.items() if known.get(hour) != each.digest}
    news = with_news(resources, landed, fresh)
    resources.feed_hours.keep(
        FeedHour(hour, share.digest, share.rows, hour in news) for hour, share in fresh.items()
    )
    rows = sum(share.rows for share in shares.values())
    unread = sum(each.problem is not None for each in landed.files)
    return Compared(landed.version, rows, len(shares), len(news), unread)


def still_has_news(resources: Resources, hour: str) -> bool:
    """Whether the feed, as it is now, has rows of an hour that are in no table.

    Raises `FeedError`.
    """
    landed = resources.feed.landed()
    share = landed.hours().get(hour)
    if share is not None and with_news(resources, landed, {hour}):
        return True
    resources.feed_hours.built(hour)
    return False


def with_news(resources: Resources, landed: Landed, hours: Collection[str]) -> set[str]:
    """Those among these hours of the feed that have rows which are in no table."""
    found: set[str] = set()
    for some in batched(sorted(hours), HOURS_AT_ONCE):
        with queries(resources.storage, resources.work) as connection:
            show_feed_and_tables(resources, connection, landed, some)
            rows = connection.execute("SELECT DISTINCT hour FROM news").fetchall()
            found.update(hour for (hour,) in rows)
    return found


def stale_feeds(resources: Resources) -> Iterator[Alert]:
    """The feed, where its server gave no newer copy when it was asked last, and since when."""
    source = resources.settings.feed
    copy = resources.downloads.copy(source)
    if copy is None or copy.refusal is None or copy.refused_since is None:
        return
    kept_from = datetime.fromtimestamp(copy.fetched_at, UTC)
    yield Alert(
        "feed:stale",
        Severity.WARNING,
        "the feed cannot be fetched anew",
        f"{without_secrets(source)} gave no feed: {copy.refusal}. The copy of "
        f"{kept_from:%Y-%m-%d %H:%M} UTC is read on; what changed since then waits.",
        "Nothing, if its server is down; it is asked again every PIPELINE_FEED_REFRESH. Else mend "
        "PIPELINE_FEED, and look at `pipeline-assets doctor`.",
        copy.refused_since,
    )
