"""What the feed has for an hour that its items have not: the rows that a run takes up first.

It is compared as a run compares it, by the key of each item's last row. An item that is new or
changed is counted as if all of it were made, since only the run reads what the row says.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline_assets.core.names import ITEMS
from pipeline_assets.core.stage import Stage
from pipeline_assets.engine.inputs import ROLES
from pipeline_assets.errors import FeedError
from pipeline_assets.feed.index import named_hour, numbered_hour
from pipeline_assets.ingest.changes import is_built
from pipeline_assets.ingest.items import feed_hours, latest_rows
from pipeline_assets.ingest.keeping_out import allowed
from pipeline_assets.resources import Resources

NEW = "new in the feed"
CHANGED = "changed in the feed"


@dataclass(frozen=True, slots=True)
class FeedNews:
    """What a run would take from the feed: how many items are new, and which are changed."""

    new: int = 0
    changed: frozenset[str] = frozenset()

    def new_rows(self, stage: Stage) -> int:
        """The rows that the new items will have in a stage."""
        return self.new * (len(ROLES) if stage.per_resource else 1)


NO_NEWS = FeedNews()


@dataclass(frozen=True, slots=True)
class FeedSeen:
    """The feed as it is now: its rows and their digest by hour; or why it cannot be read."""

    rows: Counter[str] = field(default_factory=Counter)
    digests: Mapping[str, str] = field(default_factory=dict)
    problem: str | None = None

    def rows_of(self, hour: str) -> int | None:
        """How many rows it has of an hour; None where it cannot be read."""
        return None if self.problem is not None else self.rows[hour]

    def news(self, resources: Resources, hour: str, items: frozenset[str]) -> FeedNews:
        """What is new or changed of an hour, of these items, by default of all.

        Of an hour without a table each row counts. Raises `FeedError`.
        """
        if not self.rows_of(hour):
            return NO_NEWS
        if not (items or resources.tables.exists(ITEMS, hour)):
            return FeedNews(self.rows[hour])
        if is_built(resources, hour, self.digests[hour]):
            return NO_NEWS
        return _compared(_feed_keys(resources, hour), _table_keys(resources, hour), items)


def look(resources: Resources) -> FeedSeen:
    """Look at the feed; a feed that cannot be read is no reason not to plan."""
    try:
        rows = feed_hours(resources)
        _version, contents = resources.feed.contents()
    except FeedError as error:
        return FeedSeen(problem=str(error))
    digests = {named_hour(hour): tally.digest for hour, tally in contents.hours.items()}
    return FeedSeen(rows, digests)


def _compared(feed: Mapping[str, str], table: Mapping[str, str], items: frozenset[str]) -> FeedNews:
    """Keys by item. What left the feed stays in the table, and is no news."""
    news = {item for item, key in feed.items() if table.get(item) != key}
    asked = news & items if items else news
    return FeedNews(len(asked - table.keys()), frozenset(asked & table.keys()))


def _feed_keys(resources: Resources, hour: str) -> dict[str, str]:
    _seen, latest = latest_rows(resources.feed.rows([numbered_hour(hour)]))
    return {item: row.key for item, row in allowed(latest, resources.forgotten.read()).items()}


def _table_keys(resources: Resources, hour: str) -> dict[str, str]:
    if not resources.tables.exists(ITEMS, hour):
        return {}
    table = resources.tables.read(ITEMS, hour, ["item_id", "key"])
    return dict(zip(table["item_id"].to_pylist(), table["key"].to_pylist(), strict=True))
