"""What the feed has for an hour that its items have not: the rows that a run takes up first.

It is compared as a run compares it, by the key of each item's last row. An item that is new or
changed is counted as if all of it were made, since only the run reads what the row says.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from pipeline_assets.core.batched import batched
from pipeline_assets.core.stage import Stage
from pipeline_assets.engine.inputs import ROLES
from pipeline_assets.errors import FeedError
from pipeline_assets.feed.landing import Landed
from pipeline_assets.ingest.changes import HOURS_AT_ONCE
from pipeline_assets.ingest.items import show_feed_and_tables
from pipeline_assets.resources import Resources
from pipeline_assets.store.queries import queries

NEW = "new in the feed"
CHANGED = "changed in the feed"
QUERY = "SELECT hour, item_id, is_new FROM news"


@dataclass(frozen=True, slots=True)
class FeedNews:
    """What a run would take from the feed: how many items are new, and which are changed."""

    new: int = 0
    changed: frozenset[str] = frozenset()

    def new_rows(self, stage: Stage) -> int:
        """The rows that the new items will have in a stage."""
        return self.new * (len(ROLES) if stage.per_resource else 1)


@dataclass(frozen=True)  # no slots: the rows are counted once
class FeedSeen:
    """The feed as it is now, landed; or why it cannot be read."""

    landed: Landed | None = None
    problem: str | None = None

    @cached_property
    def rows(self) -> Mapping[str, int]:
        """How many rows it has of each hour."""
        hours = {} if self.landed is None else self.landed.hours()
        return {hour: share.rows for hour, share in hours.items()}

    def rows_of(self, hour: str) -> int | None:
        """How many rows it has of an hour; None where it cannot be read."""
        return None if self.landed is None else self.rows.get(hour, 0)

    def news(
        self, resources: Resources, hours: Sequence[str], items: frozenset[str]
    ) -> dict[str, FeedNews]:
        """What is new or changed of these hours, of these items, by default of all."""
        found: dict[str, list[tuple[str, bool]]] = {hour: [] for hour in hours}
        landed = self.landed
        if landed is None:
            return dict.fromkeys(hours, FeedNews())
        for some in batched([hour for hour in hours if self.rows_of(hour)], HOURS_AT_ONCE):
            with queries(resources.storage, resources.work) as connection:
                show_feed_and_tables(resources, connection, landed, some)
                for hour, item, is_new in connection.execute(QUERY).fetchall():
                    if not items or item in items:
                        found[hour].append((item, is_new))
        return {
            hour: FeedNews(
                sum(is_new for _item, is_new in each),
                frozenset(item for item, is_new in each if not is_new),
            )
            for hour, each in found.items()
        }


def look(resources: Resources) -> FeedSeen:
    """Look at the feed; a feed that cannot be read is no reason not to plan."""
    try:
        return FeedSeen(resources.feed.landed())
    except FeedError as error:
        return FeedSeen(problem=str(error))
