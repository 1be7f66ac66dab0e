"""What was asked for: the latest request for every hour, by cause.

What became of a request is learnt by the next tick; a request that is not at its end is in flight.
"""

from collections.abc import Iterable
from dataclasses import asdict, fields
from typing import Any

import sqlalchemy as sa

from pipeline_assets.healing.rules import Outcome, Request
from pipeline_assets.state.database import BORN, State, facts, metadata

heal_requests = sa.Table(
    "heal_requests",
    metadata,
    sa.Column("asked_by", sa.String, primary_key=True),
    sa.Column("hour", sa.String, primary_key=True),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("asked_at", sa.Double, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("in_vain", sa.BigInteger, nullable=False),
    sa.Column("outcome", sa.String),  # null: its run is not at its end
    sa.Column("ended_at", sa.Double),
)

COLUMNS = tuple(field.name for field in fields(Request))
ERA = "hour_requests.era"


class HourRequests:
    """The latest request for every hour that one cause asks for."""

    def __init__(self, state: State, cause: str) -> None:
        self._state, self._cause = state, cause

    def latest(self) -> dict[str, Request]:
        """The latest requests by hour."""
        columns = [heal_requests.c[name] for name in COLUMNS]
        query = sa.select(*columns).where(heal_requests.c.asked_by == self._cause)
        with self._state.reading() as connection:
            return {row.hour: _request(row) for row in connection.execute(query)}

    def of_other_causes(self) -> set[str]:
        """The hours for which another cause has a request in flight."""
        query = sa.select(heal_requests.c.hour).where(
            heal_requests.c.outcome.is_(None), heal_requests.c.asked_by != self._cause
        )
        with self._state.reading() as connection:
            return set(connection.execute(query).scalars())

    def keep(self, requests: Iterable[Request]) -> None:
        """Note requests, made or ended, in the place of earlier ones for the same hours."""
        lines = [{**asdict(request), "asked_by": self._cause} for request in requests]
        with self._state.transaction() as connection:
            self._state.upsert(connection, heal_requests, lines)

    def era(self) -> int:
        """Tells the requests of this database from those of one that was lost.

        A database of before that was counted is told by when it had its first run.
        """
        known = self._state.fact(ERA)
        if known is not None:
            return int(known)
        with self._state.transaction() as connection:
            era = int(self._state.fact(BORN) or self._state.now(connection))
            self._state.add_missing(connection, facts, name=ERA, value=era)
        return int(self._state.fact(ERA))

    def now(self) -> float:
        """The clock that requests go by."""
        with self._state.reading() as connection:
            return self._state.now(connection)


_OUTCOMES = {each.value: each for each in Outcome}


def _request(row: sa.Row[Any]) -> Request:
    return Request(
        hour=row.hour,
        epoch=row.epoch,
        number=row.number,
        asked_at=row.asked_at,
        rows=row.rows,
        in_vain=row.in_vain,
        outcome=None if row.outcome is None else _OUTCOMES[row.outcome],
        ended_at=row.ended_at,
    )
