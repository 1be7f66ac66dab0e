"""What is known of the feed's hours, in the state database; all of it can be found out again."""

from collections.abc import Iterable

import sqlalchemy as sa

from pipeline_assets.feed.changes import FeedHour, Standing
from pipeline_assets.state.database import State, feed_hours

_CHANGED = ("digest", "standing", "attempts", "since")


class FeedHours:
    """One row for each hour that the feed has rows of."""

    def __init__(self, state: State) -> None:
        self._state = state

    def now(self) -> float:
        """The clock that `since` goes by."""
        with self._state.reading() as connection:
            return self._state.now(connection)

    def digests(self) -> dict[str, str]:
        """The digest of each hour's rows when they were last looked at."""
        with self._state.reading() as connection:
            rows = connection.execute(sa.select(feed_hours.c.hour, feed_hours.c.digest))
            return {row.hour: row.digest for row in rows}

    def standing(self, standing: Standing, before: str | None = None) -> list[FeedHour]:
        """The hours of this standing, newest first; with `before`, only those before that hour."""
        query = sa.select(feed_hours).where(feed_hours.c.standing == standing)
        if before is not None:
            query = query.where(feed_hours.c.hour < before)
        with self._state.reading() as connection:
            rows = connection.execute(query.order_by(feed_hours.c.hour.desc()))
            return [
                FeedHour(row.hour, row.digest, Standing(row.standing), row.attempts, row.since)
                for row in rows
            ]

    def keep(self, hours: Iterable[FeedHour]) -> None:
        """Keep these hours, in place of what was known of them."""
        values = [{name: getattr(hour, name) for name in ("hour", *_CHANGED)} for hour in hours]
        if not values:
            return
        statement = self._state.insert(feed_hours)
        replaced = {name: statement.excluded[name] for name in _CHANGED}
        with self._state.transaction() as connection:
            connection.execute(
                statement.on_conflict_do_update(index_elements=["hour"], set_=replaced), values
            )
