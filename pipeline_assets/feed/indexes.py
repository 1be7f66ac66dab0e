"""What is known of the feed's files, in the state database; all of it can be found out again."""

from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from pipeline_assets.feed.index import FileIndex
from pipeline_assets.state.database import State, metadata

feed_files = sa.Table(
    "feed_files",
    metadata,
    sa.Column("path", sa.String, primary_key=True),
    sa.Column("version", sa.String, nullable=False),
    sa.Column("contents", sa.LargeBinary, nullable=False),
    sa.Column("problem", sa.String),  # null: it was read to its end
    sa.Column("lost", sa.BigInteger, nullable=False),
    sa.Column("looked_at", sa.Double, nullable=False),
)

PROBLEM_HOLDS_S = 600.0
"""A file that cannot be read is left alone so long: it may be large, or mended by then."""

Versions = dict[str, str]
"""Paths, and which version of each is known."""


class FeedIndexes:
    """One row for each file of the feed."""

    def __init__(self, state: State) -> None:
        self._state = state

    def known(self, *, problems: bool) -> Versions:
        """The versions whose index is here; with `problems` also those found bad a while ago."""
        query = sa.select(feed_files.c.path, feed_files.c.version)
        with self._state.reading() as connection:
            recent = self._state.now(connection) - PROBLEM_HOLDS_S
            sound = feed_files.c.problem.is_(None)
            held = sa.or_(sound, feed_files.c.looked_at > recent) if problems else sound
            return {row.path: row.version for row in connection.execute(query.where(held))}

    def load(self, paths: Sequence[str]) -> dict[str, FileIndex]:
        """The indexes of these files, by path."""
        query = sa.select(feed_files.c.path, feed_files.c.contents).where(
            feed_files.c.path.in_(paths)
        )
        with self._state.reading() as connection:
            return {row.path: FileIndex.loaded(row.contents) for row in connection.execute(query)}

    def keep(self, path: str, version: str, index: FileIndex) -> None:
        """Keep a file's index in place of what was known of it."""
        with self._state.transaction() as connection:
            row = {
                "path": path,
                "version": version,
                "contents": index.stored(),
                "problem": index.problem,
                "lost": index.lost,
                "looked_at": self._state.now(connection),
            }
            self._state.upsert(connection, feed_files, [row])

    def lost(self) -> tuple[int, int]:
        """Of the files as they were last seen: the rows without an hour, and the unreadable."""
        unread = sa.func.count(feed_files.c.problem)
        with self._state.reading() as connection:
            lost, files = connection.execute(
                sa.select(sa.func.coalesce(sa.func.sum(feed_files.c.lost), 0), unread)
            ).one()
            return int(lost), int(files)

    def forget_all_but(self, paths: Iterable[str]) -> None:
        """Forget the files that are no longer the feed's."""
        with self._state.reading() as connection:
            present = set(connection.execute(sa.select(feed_files.c.path)).scalars())
        gone = [{"gone": path} for path in present.difference(paths)]
        if gone:
            with self._state.transaction() as connection:
                connection.execute(
                    sa.delete(feed_files).where(feed_files.c.path == sa.bindparam("gone")), gone
                )
