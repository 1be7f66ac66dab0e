"""Results kept by key with a time to live and a bound in bytes, so that equal work is done once.

The same picture in two items or hours is put through the model once, and classify and embed share
one forward pass. Losing the cache costs time, never rows.

How many bytes are kept is remembered beside them and changed with them, so that a put looks at no
rows but those that come and go.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta

import sqlalchemy as sa

from pipeline_assets.core.batched import batched
from pipeline_assets.state.database import State, facts, metadata

TIME_TO_LIVE = timedelta(days=7)
KEYS_PER_QUERY = 500
"""SQLite takes at most 32,766 bound values in a statement; smaller batches cost nothing more."""
LEFT_PERCENT = 90
"""How full the bound is after room was made: lower, and more is made twice; higher, and more puts
have to make room."""
KEPT_BYTES = "cache:bytes"
"""The fact that says how much is kept. Whoever changes results by hand removes it: then it is
counted anew."""

results = sa.Table(
    "results",
    metadata,
    sa.Column("key", sa.String, primary_key=True),
    sa.Column("value", sa.LargeBinary, nullable=False),
    sa.Column("kept_at", sa.Double, nullable=False, index=True),
)

_SIZE = sa.func.length(results.c.key) + sa.func.length(results.c.value)
_TOTAL = sa.select(sa.func.coalesce(sa.func.sum(_SIZE), 0))

log = logging.getLogger(__name__)


class ResultCache:
    """Bytes by key in the state database: `max_bytes` of keys and values, the oldest go first.

    0 keeps nothing.
    """

    def __init__(
        self, state: State, max_bytes: int, time_to_live: timedelta = TIME_TO_LIVE
    ) -> None:
        self._state, self._max_bytes = state, max_bytes
        self._ttl_s = time_to_live.total_seconds()

    def get(self, keys: Sequence[str]) -> dict[str, bytes]:
        """What is kept and not too old, by key."""
        found: dict[str, bytes] = {}
        if self._max_bytes == 0:  # what is left of a larger bound goes with the next put
            return found
        with self._state.reading() as connection:
            oldest = self._state.now(connection) - self._ttl_s
            for part in batched(keys, KEYS_PER_QUERY):
                query = sa.select(results.c.key, results.c.value).where(
                    results.c.key.in_(part), results.c.kept_at >= oldest
                )
                found.update((key, value) for key, value in connection.execute(query))
        return found

    def put(self, values: Mapping[str, bytes]) -> None:
        """Keep values; those that are too old, and the oldest over the bound, go on the way."""
        if not values:
            return
        with self._state.transaction() as connection:
            total = self._locked_total(connection)
            now = self._state.now(connection)
            # First, or one that is too old would keep its key from the new value.
            total -= _expire(connection, now - self._ttl_s)
            total += _keep(connection, self._fitting(values), now)
            if total > self._max_bytes:
                total = _evict(connection, total, self._max_bytes * LEFT_PERCENT // 100)
            connection.execute(
                sa.update(facts).where(facts.c.name == KEPT_BYTES).values(value=total)
            )

    def clear(self) -> int:
        """Keep nothing; how many results there were."""
        with self._state.transaction() as connection:
            self._locked_total(connection)
            connection.execute(sa.update(facts).where(facts.c.name == KEPT_BYTES).values(value=0))
            return connection.execute(sa.delete(results)).rowcount

    def _locked_total(self, connection: sa.Connection) -> int:
        """The bytes that are kept. Another put waits until this one's transaction ends."""
        query = sa.select(facts.c.value).where(facts.c.name == KEPT_BYTES).with_for_update()
        total = connection.execute(query).scalar_one_or_none()
        if total is None:  # the first put, or the first since a version without a count
            counted = connection.execute(_TOTAL).scalar_one()
            self._state.add_missing(connection, facts, name=KEPT_BYTES, value=int(counted))
            total = connection.execute(query).scalar_one()
        return int(total)

    def _fitting(self, values: Mapping[str, bytes]) -> dict[str, bytes]:
        fitting = {}
        for key, value in values.items():
            if _size(key, value) <= self._max_bytes:
                fitting[key] = value
            else:
                log.debug(
                    "%s is not kept: %d bytes, over PIPELINE_CACHE_MAX_BYTES=%d",
                    key,
                    _size(key, value),
                    self._max_bytes,
                )
        return fitting


def _size(key: str, value: bytes) -> int:
    return len(key) + len(value)


def _expire(connection: sa.Connection, oldest: float) -> int:
    """Remove what was kept before `oldest`; gives its bytes."""
    is_old = results.c.kept_at < oldest
    size = connection.execute(_TOTAL.where(is_old)).scalar_one()
    connection.execute(sa.delete(results).where(is_old))
    return int(size)


def _keep(connection: sa.Connection, values: Mapping[str, bytes], now: float) -> int:
    """Add what is not kept yet; gives its bytes."""
    known: set[str] = set()
    for part in batched(list(values), KEYS_PER_QUERY):
        query = sa.select(results.c.key).where(results.c.key.in_(part))
        known.update(connection.execute(query).scalars())
    new = {key: value for key, value in values.items() if key not in known}
    if new:
        rows = [{"key": key, "value": value, "kept_at": now} for key, value in new.items()]
        connection.execute(sa.insert(results), rows)
    return sum(_size(key, value) for key, value in new.items())


def _evict(connection: sa.Connection, total: int, limit: int) -> int:
    """Remove the oldest until `limit` bytes are left at most; gives how many are."""
    query = sa.select(results.c.key, _SIZE).order_by(results.c.kept_at).limit(KEYS_PER_QUERY)
    while total > limit:
        leaving = []
        for key, size in connection.execute(query).all():
            if total <= limit:
                break
            leaving.append(key)
            total -= size
        if not leaving:  # somebody removed results by hand: there is nothing more
            return 0
        connection.execute(sa.delete(results).where(results.c.key.in_(leaving)))
    return total
