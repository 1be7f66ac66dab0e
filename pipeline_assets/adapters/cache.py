"""Results kept by key with a time to live, so that equal work is done once.

The same picture in two items or hours is put through the model once, and classify and embed share
one forward pass. Losing the cache costs time, never rows.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta

import sqlalchemy as sa

from pipeline_assets.adapters.state import State, results

TIME_TO_LIVE = timedelta(days=7)
KEYS_PER_QUERY = 500
"""SQLite takes at most 32,766 bound values in a statement; smaller batches cost nothing more."""


class ResultCache:
    """Bytes by key in the state database."""

    def __init__(self, state: State, time_to_live: timedelta = TIME_TO_LIVE) -> None:
        self._state, self._ttl_s = state, time_to_live.total_seconds()

    def get(self, keys: Sequence[str]) -> dict[str, bytes]:
        """What is kept and not too old, by key."""
        found: dict[str, bytes] = {}
        with self._state.reading() as connection:
            oldest = self._state.now(connection) - self._ttl_s
            for start in range(0, len(keys), KEYS_PER_QUERY):
                query = sa.select(results.c.key, results.c.value).where(
                    results.c.key.in_(keys[start : start + KEYS_PER_QUERY]),
                    results.c.kept_at >= oldest,
                )
                found.update((key, value) for key, value in connection.execute(query))
        return found

    def put(self, values: Mapping[str, bytes]) -> None:
        """Keep values; those that are too old are removed on the way."""
        if not values:
            return
        with self._state.transaction() as connection:
            now = self._state.now(connection)
            # First, or one that is too old would keep its key from the new value.
            connection.execute(sa.delete(results).where(results.c.kept_at < now - self._ttl_s))
            statement = self._state.insert(results).on_conflict_do_nothing(index_elements=["key"])
            connection.execute(
                statement,
                [{"key": key, "value": value, "kept_at": now} for key, value in values.items()],
            )
