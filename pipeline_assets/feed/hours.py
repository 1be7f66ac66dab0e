"""What is known of the feed's hours, in the state database; all of it can be found out again."""

from collections.abc import Iterable
from dataclasses import asdict

import sqlalchemy as sa

from pipeline_assets.feed.changes import FeedHour, Standing
from pipeline_assets.state.database import State, metadata

feed_hours = sa.Table(
    "feed_hours",
    metadata,
    sa.Column("hour", sa.String, primary_key=True),
    sa.Column("digest", sa.String, nullable=False),
    sa.Column("standing", sa.String, nullable=False, index=True),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("since", sa.Double, nullable=False),
)


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
        with self._state.transaction() as connection:
            self._state.upsert(connection, feed_hours, [asdict(hour) for hour in hours])
