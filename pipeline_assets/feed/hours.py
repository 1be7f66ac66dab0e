"""What is known of the feed's hours, in the state database; all of it can be found out again."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import sqlalchemy as sa

from pipeline_assets.state.database import State, metadata

feed_news = sa.Table(
    "feed_news",
    metadata,
    sa.Column("hour", sa.String, primary_key=True),
    sa.Column("digest", sa.String, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("news", sa.Boolean, nullable=False, index=True),
)


@dataclass(frozen=True, slots=True)
class FeedHour:
    """An hour of the feed: the digest of its rows, how many, and whether some are in no table."""

    hour: str
    digest: str
    rows: int
    news: bool

    @property
    def epoch(self) -> int:
        """The digest as a number that every database holds."""
        return int(self.digest[:15], 16)


class FeedHours:
    """One row for each hour that the feed has rows of."""

    def __init__(self, state: State) -> None:
        self._state = state

    def digests(self) -> dict[str, str]:
        """The digest of each hour's rows when they were last looked at."""
        with self._state.reading() as connection:
            rows = connection.execute(sa.select(feed_news.c.hour, feed_news.c.digest))
            return {row.hour: row.digest for row in rows}

    def with_news(self, before: str) -> list[FeedHour]:
        """The hours, before this one, with rows that are in no table."""
        query = sa.select(feed_news).where(feed_news.c.news, feed_news.c.hour < before)
        with self._state.reading() as connection:
            return [FeedHour(*row) for row in connection.execute(query)]

    def keep(self, hours: Iterable[FeedHour]) -> None:
        """Keep these hours, in place of what was known of them."""
        with self._state.transaction() as connection:
            self._state.upsert(connection, feed_news, [asdict(hour) for hour in hours])

    def built(self, hour: str, epoch: int | None = None) -> None:
        """The table of an hour has what the feed has; with `epoch`, what it then had."""
        of_hour = feed_news.c.hour == hour
        with self._state.transaction() as connection:
            row = connection.execute(sa.select(feed_news).where(of_hour)).one_or_none()
            if row is not None and epoch in (None, FeedHour(*row).epoch):
                connection.execute(sa.update(feed_news).where(of_hour).values(news=False))
