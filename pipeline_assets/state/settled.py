"""Which tables have nothing left to do, as of what they were made of.

A finished hour is then passed over without reading a row of it. All of it can be found out again.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from pipeline_assets.state.database import State, metadata

settled = sa.Table(
    "settled",
    metadata,
    sa.Column("stage", sa.String, primary_key=True),
    sa.Column("hour", sa.String, primary_key=True),
    sa.Column("asked", sa.String, primary_key=True),
    sa.Column("stamp", sa.String, nullable=False),
    sa.Column("due_at", sa.Double),  # null: nothing waits for a time
    sa.Column("standing", sa.JSON, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Settled:
    """That every row of a table stood, when it was made of what `stamp` names.

    `due_at` is when the first of them may be tried again, in seconds since the epoch; `standing`
    counts the rows by why they stood.
    """

    stamp: str
    due_at: float | None
    standing: Mapping[str, int]


class SettledTables:
    """The latest word on each stage and hour, by what was asked for."""

    def __init__(self, state: State) -> None:
        self._state = state

    def find(self, stage: str, hour: str, asked: str) -> Settled | None:
        """What is known of a table, if anything is."""
        query = sa.select(settled.c.stamp, settled.c.due_at, settled.c.standing).where(
            settled.c.stage == stage, settled.c.hour == hour, settled.c.asked == asked
        )
        with self._state.reading() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else Settled(*row)

    def drop(self, stage: str, hour: str) -> None:
        """Nothing is known any more of a table."""
        of_table = (settled.c.stage == stage, settled.c.hour == hour)
        with self._state.transaction() as connection:
            connection.execute(sa.delete(settled).where(*of_table))

    def keep(self, stage: str, hour: str, asked: str, found: Settled) -> None:
        """Note it, in the place of what was known."""
        row = {
            "stage": stage,
            "hour": hour,
            "asked": asked,
            "stamp": found.stamp,
            "due_at": found.due_at,
            "standing": dict(found.standing),
        }
        with self._state.transaction() as connection:
            self._state.upsert(connection, settled, [row])
