"""What sensors asked for to heal: the latest request of each for every hour.

What became of a request is learnt by the next tick; a request that is not at its end is in flight.
"""

from collections.abc import Iterable
from dataclasses import asdict, fields
from typing import Any

import sqlalchemy as sa

from pipeline_assets.healing.rules import Outcome, Request
from pipeline_assets.state.database import State, metadata

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


class HealRequests:
    """The latest request of each sensor for every hour."""

    def __init__(self, state: State) -> None:
        self._state = state

    def latest(self, asked_by: str) -> dict[str, Request]:
        """The latest requests of a sensor by hour."""
        columns = [heal_requests.c[name] for name in COLUMNS]
        query = sa.select(*columns).where(heal_requests.c.asked_by == asked_by)
        with self._state.reading() as connection:
            return {row.hour: _request(row) for row in connection.execute(query)}

    def in_flight(self, asked_by: str) -> list[Request]:
        """The requests of a sensor that are not at their end."""
        query = sa.select(heal_requests).where(
            heal_requests.c.outcome.is_(None), heal_requests.c.asked_by == asked_by
        )
        with self._state.reading() as connection:
            return [_request(row) for row in connection.execute(query)]

    def in_flight_of_others(self, asked_by: str) -> set[str]:
        """The hours for which another sensor has a request in flight."""
        query = sa.select(heal_requests.c.hour).where(
            heal_requests.c.outcome.is_(None), heal_requests.c.asked_by != asked_by
        )
        with self._state.reading() as connection:
            return set(connection.execute(query).scalars())

    def keep(self, asked_by: str, requests: Iterable[Request]) -> None:
        """Note requests, made or ended, in the place of earlier ones for the same hours."""
        lines = [{**asdict(request), "asked_by": asked_by} for request in requests]
        with self._state.transaction() as connection:
            self._state.upsert(connection, heal_requests, lines)

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
