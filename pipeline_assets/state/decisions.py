"""What people decided about dead letters: all that is stored of them, the rest follows from rows.

The state database decides, for every process at once. The table `decisions`, a slice for each hour
beside the other tables, is its copy, from which a database that was lost is filled again.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from pipeline_assets.core.contract import SCHEMA_VERSION, SCHEMA_VERSION_KEY, TIMESTAMP
from pipeline_assets.core.names import DECISIONS
from pipeline_assets.core.plan import Decision, Verdict
from pipeline_assets.core.rows import RowId
from pipeline_assets.state.database import State, metadata
from pipeline_assets.store.files import locked
from pipeline_assets.store.tables import Tables

decisions = sa.Table(
    "decisions",
    metadata,
    sa.Column("hour", sa.String, primary_key=True),
    sa.Column("stage", sa.String, primary_key=True),
    sa.Column("item_id", sa.String, primary_key=True),
    sa.Column("role", sa.String, primary_key=True),  # "" where the stage has none
    sa.Column("verdict", sa.String, nullable=False),
    sa.Column("why", sa.String, nullable=False),
    sa.Column("made_at", sa.Double, nullable=False),
    sa.Column("input", sa.String, nullable=False),
    sa.Column("seen", sa.Double, nullable=False),
)

KEY = ("hour", "stage", "item_id", "role")
NO_ROLE = ""
"""A null would not be equal to itself in the database's primary key; tables have a null."""

SCHEMA = pa.schema(
    [
        pa.field("stage", pa.string(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("role", pa.string()),
        pa.field("verdict", pa.string(), nullable=False),
        pa.field("why", pa.string(), nullable=False),
        pa.field("made_at", TIMESTAMP, nullable=False),
        pa.field("input", pa.string(), nullable=False),
        pa.field("seen", TIMESTAMP, nullable=False),
    ],
    metadata={SCHEMA_VERSION_KEY: str(SCHEMA_VERSION).encode()},
)
SCHEMA_WITH_HOUR = SCHEMA.insert(0, pa.field("hour", pa.string(), nullable=False))


@dataclass(frozen=True, slots=True)
class DeadRow:
    """A row that is decided about, as it stands in its table."""

    hour: str
    stage: str
    id: RowId
    key: str
    updated_at: datetime


class Decisions:
    """The latest decision about each row; `locks` is a folder for a file lock."""

    def __init__(self, state: State, tables: Tables, locks: Path) -> None:
        self._state, self._tables, self._locks = state, tables, locks

    def of(self, stage: str, hour: str) -> dict[RowId, Decision]:
        """What was decided about the rows of a stage and hour, for planning."""
        query = sa.select(decisions).where(decisions.c.hour == hour, decisions.c.stage == stage)
        with self._state.reading() as connection:
            return {_row_id(row): _decision(row) for row in connection.execute(query)}

    def all(self, hour: str | None = None) -> pa.Table:
        """Every decision, or those of an hour, as a table with the column `hour`."""
        with self._state.reading() as connection:
            return self._read(connection, hour)

    def hours(self) -> list[str]:
        """The hours whose decisions lie beside the tables, oldest first."""
        return self._tables.hours(DECISIONS)

    def decide(self, rows: Iterable[DeadRow], verdict: Verdict, why: str) -> None:
        """Note a verdict on rows, in the place of earlier ones; hour by hour, each whole."""
        by_hour: dict[str, list[DeadRow]] = defaultdict(list)
        for row in rows:
            by_hour[row.hour].append(row)
        for hour, of_hour in by_hour.items():
            self._decide(hour, of_hour, verdict, why)

    def restore(self, hour: str) -> int:
        """Take in what lies beside the tables of an hour; how many decisions that is."""
        kept = self._kept(hour)
        with self._state.transaction() as connection:
            self._take_in(connection, kept)
        return len(kept)

    def _decide(self, hour: str, rows: Sequence[DeadRow], verdict: Verdict, why: str) -> None:
        # Artifact first, state second, like all else. Killed between the two, the slice has a
        # decision that the database has not: the next decision about the hour, or a recovery,
        # takes it in. So nothing that a slice ever held is dropped, whatever became of the
        # database. The lock is held until the commit: a slice is made of all that was decided.
        with locked(self._locks / f"{DECISIONS}.lock"), self._state.transaction() as connection:
            seen = self._tables.version(DECISIONS, hour)  # before a look at what it holds
            self._take_in(connection, self._kept(hour))
            made_at = self._state.now(connection)
            records = [_record(row, verdict, why, made_at) for row in rows]
            self._state.upsert(connection, decisions, records)
            slice_ = self._read(connection, hour).select(SCHEMA.names)
            self._tables.write(DECISIONS, hour, slice_, seen=seen)

    def _kept(self, hour: str) -> list[dict[str, Any]]:
        if not self._tables.exists(DECISIONS, hour):
            return []
        return [
            {
                **row,
                "hour": hour,
                "role": row["role"] or NO_ROLE,
                "made_at": row["made_at"].timestamp(),
                "seen": row["seen"].timestamp(),
            }
            for row in self._tables.read(DECISIONS, hour).to_pylist()
        ]

    def _take_in(self, connection: sa.Connection, kept: Sequence[dict[str, Any]]) -> None:
        """The later of two decisions about a row is the one that stands."""
        self._state.upsert(connection, decisions, kept, newer="made_at")

    def _read(self, connection: sa.Connection, hour: str | None) -> pa.Table:
        query = sa.select(decisions).order_by(*(decisions.c[name] for name in KEY))
        if hour is not None:
            query = query.where(decisions.c.hour == hour)
        rows = [
            {
                **row._mapping,  # noqa: SLF001 - SQLAlchemy's public name for it
                "role": row.role or None,
                "made_at": _time(row.made_at),
                "seen": _time(row.seen),
            }
            for row in connection.execute(query)
        ]
        return pa.Table.from_pylist(rows, schema=SCHEMA_WITH_HOUR)


def _record(row: DeadRow, verdict: Verdict, why: str, made_at: float) -> dict[str, Any]:
    item_id, *role = row.id
    return {
        "hour": row.hour,
        "stage": row.stage,
        "item_id": item_id,
        "role": role[0] if role else NO_ROLE,
        "verdict": verdict.value,
        "why": why,
        "made_at": made_at,
        "input": row.key.partition(".")[0],
        "seen": row.updated_at.timestamp(),
    }


def _row_id(row: sa.Row[Any]) -> RowId:
    return (row.item_id,) if row.role == NO_ROLE else (row.item_id, row.role)


def _decision(row: sa.Row[Any]) -> Decision:
    return Decision(Verdict(row.verdict), row.input, _time(row.seen))


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
