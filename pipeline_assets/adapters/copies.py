"""Where the last good copy of a URL lies in the packs.

An index over the `fetched` tables, kept in the state database; lost with it, it is made again.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import sqlalchemy as sa

from pipeline_assets.adapters.blobs import BlobRef, Copy
from pipeline_assets.adapters.state import State, copies
from pipeline_assets.core.fingerprint import digest

URLS_PER_QUERY = 500
LONGEST_KEY = 1000
"""PostgreSQL indexes no text of more than 2,704 bytes, and a URL may have any length."""


class Copies:
    """The last good copy by URL."""

    def __init__(self, state: State) -> None:
        self._state = state

    def find(self, urls: Sequence[str]) -> dict[str, Copy]:
        """The copies there are, by URL."""
        found: dict[str, Copy] = {}
        with self._state.reading() as connection:
            by_key = {_key(url): url for url in urls}
            keys = list(by_key)
            for start in range(0, len(keys), URLS_PER_QUERY):
                query = sa.select(copies).where(
                    copies.c.url.in_(keys[start : start + URLS_PER_QUERY])
                )
                found.update((by_key[row.url], _copy(row)) for row in connection.execute(query))
        return found

    def keep(self, made: Mapping[str, Copy]) -> None:
        """Note copies; where a newer one is known, that one stays."""
        if not made:
            return
        statement = self._state.insert(copies)
        names = ("pack", "offset", "size", "sha256", "content_type", "fetched_at")
        update = {name: getattr(statement.excluded, name) for name in names}
        rows = [
            {
                "url": _key(url),
                "pack": copy.blob.pack,
                "offset": copy.blob.offset,
                "size": copy.blob.size,
                "sha256": copy.blob.sha256,
                "content_type": copy.content_type,
                "fetched_at": copy.fetched_at.timestamp(),
            }
            # In one order, or two that keep the same URLs would each wait for the other.
            for url, copy in sorted(made.items())
        ]
        newer = statement.excluded.fetched_at >= copies.c.fetched_at
        with self._state.transaction() as connection:
            connection.execute(
                statement.on_conflict_do_update(index_elements=["url"], set_=update, where=newer),
                rows,
            )


def _key(url: str) -> str:
    """What a URL is found by: itself, unless a database could not hold or index it."""
    plain = len(url.encode()) <= LONGEST_KEY and "\0" not in url
    return url if plain else f"blake2b:{digest(url)}"


def _copy(row: sa.Row[tuple[object, ...]]) -> Copy:
    blob = BlobRef(row.pack, row.offset, row.size, row.sha256)
    return Copy(blob, row.content_type, datetime.fromtimestamp(row.fetched_at, UTC))
