"""The index of the hours: a line for each in the state database, so that a tick reads no table.

It follows from `quality_summary`: written when an hour of that is published, filled from its slices
when the database was lost, or is older than the index.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from pipeline_assets.core.names import QUALITY_SUMMARY
from pipeline_assets.errors import ContractError
from pipeline_assets.healing.rules import Priority, WantedHour
from pipeline_assets.state.database import State, metadata
from pipeline_assets.store.tables import Tables

hours = sa.Table(
    "hours",
    metadata,
    sa.Column("hour", sa.String, primary_key=True),
    sa.Column("items", sa.BigInteger, nullable=False),
    sa.Column("quality_mean", sa.Double),
    sa.Column("improvable", sa.BigInteger, nullable=False),
    sa.Column("improvable_accelerated", sa.BigInteger, nullable=False),
    sa.Column("next_retry_at", sa.Double),
    sa.Column("by_priority", sa.JSON, nullable=False),
    sa.Column("accelerated_due_at", sa.Double),
    sa.Column("accelerated_priority", sa.String),
    sa.Column("other_due_at", sa.Double),
    sa.Column("other_priority", sa.String),
    sa.Column("updated_at", sa.Double, nullable=False),
)

ITEMS, ENRICHED = "items", "enriched_items"


class WaitsFor(StrEnum):
    """What an improvable row waits for: the accelerator, or just another try."""

    ACCELERATOR = "accelerator"
    ANOTHER_TRY = "another try"


@dataclass(frozen=True, slots=True)
class Hour:
    """What is known of an hour without reading its tables. Times are seconds since the epoch.

    `improvable` counts rows that may be better now, `improvable_accelerated` those among them that
    the accelerator could make better, `by_priority` improvable rows by the class of their item.
    `next_retry_at` is when the first of them may be tried; None where there is none.
    """

    hour: str
    items: int
    quality_mean: float | None
    improvable: int
    improvable_accelerated: int
    next_retry_at: float | None
    by_priority: dict[Priority, int]
    updated_at: float


class HourIndex:
    """The hours whose summary was ever published."""

    def __init__(self, state: State, tables: Tables) -> None:
        self._state, self._tables = state, tables

    def keep(self, hour: str, summary: pa.Table) -> None:
        """Note what the summary of an hour, published by now, says."""
        line = _line(hour, summary)
        with self._state.transaction() as connection:
            now = self._state.now(connection)
            self._state.upsert(connection, hours, [{**line, "updated_at": now}])

    def keep_unknown(self, hour: str, summary: pa.Table) -> int:
        """Note it, unless the hour has been published meanwhile; how many hours that is."""
        line = _line(hour, summary)
        with self._state.transaction() as connection:
            now = self._state.now(connection)
            return int(self._state.add_missing(connection, hours, **line, updated_at=now))

    def restore(self, hour: str) -> int:
        """Note what the summary beside the other tables says; how many unknown hours that is.

        Raises `ContractError` for one of an older program, which says too little.
        """
        return self.keep_unknown(hour, self._tables.read(QUALITY_SUMMARY, hour))

    def names(self) -> set[str]:
        """The hours that the index has."""
        with self._state.reading() as connection:
            return set(connection.execute(sa.select(hours.c.hour)).scalars())

    def all(self) -> list[Hour]:
        """Every hour, oldest first."""
        with self._state.reading() as connection:
            rows = connection.execute(sa.select(*_OF_AN_HOUR).order_by(hours.c.hour)).all()
        return [_hour(row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's public name

    def wanted(self, waits_for: WaitsFor, since: str, epoch: int) -> list[WantedHour]:
        """The hours, from `since` on, with rows that may be better once that is there."""
        count, priority, due_at = _IMPROVABLE[waits_for]
        query = sa.select(hours.c.hour, count, due_at, priority, hours.c.quality_mean)
        query = query.where(count > 0, hours.c.hour >= since)
        with self._state.reading() as connection:
            rows = connection.execute(query).all()
        classes = {each.value: each for each in Priority}
        return [
            WantedHour(hour, epoch, n, due, classes[name], mean)
            for hour, n, due, name, mean in rows
        ]

    def improvable(self, waits_for: WaitsFor, hour: str) -> int:
        """How many rows of an hour may be better once that is there."""
        query = sa.select(_IMPROVABLE[waits_for][0]).where(hours.c.hour == hour)
        with self._state.reading() as connection:
            return connection.execute(query).scalar_one_or_none() or 0


_OF_AN_HOUR = [hours.c[field.name] for field in fields(Hour)]
_IMPROVABLE: dict[WaitsFor, tuple[Any, Any, Any]] = {
    WaitsFor.ACCELERATOR: (
        hours.c.improvable_accelerated,
        hours.c.accelerated_priority,
        hours.c.accelerated_due_at,
    ),
    WaitsFor.ANOTHER_TRY: (
        hours.c.improvable - hours.c.improvable_accelerated,
        hours.c.other_priority,
        hours.c.other_due_at,
    ),
}


def _line(hour: str, summary: pa.Table) -> dict[str, Any]:
    """The index's line for an hour, from the groups of its summary."""
    missing = _NEEDED - set(summary.column_names)
    if missing:
        raise ContractError(
            f"{QUALITY_SUMMARY} of {hour}",
            f"it has no {', '.join(sorted(missing))}: an older program made it",
            "run the hour again to have it in the index of hours",
        )
    groups = summary.select(sorted(_NEEDED)).to_pylist()
    open_ = [group for group in groups if group["improvable"]]
    accelerated = [group for group in open_ if group["improvable_accelerated"]]
    other = [group for group in open_ if not group["improvable_accelerated"]]
    return {
        "hour": hour,
        "items": sum(group["rows"] for group in groups if group["stage"] == ITEMS),
        "quality_mean": _mean(group for group in groups if group["stage"] == ENRICHED),
        "improvable": sum(group["improvable"] for group in open_),
        "improvable_accelerated": sum(group["improvable_accelerated"] for group in open_),
        "next_retry_at": _due_at(open_),
        "by_priority": {each: sum(group[each] for group in open_) for each in Priority},
        "accelerated_due_at": _due_at(accelerated),
        "accelerated_priority": _most_urgent(accelerated),
        "other_due_at": _due_at(other),
        "other_priority": _most_urgent(other),
    }


_NEEDED = {
    *("stage", "rows", "quality_mean", "improvable", "improvable_accelerated", "next_retry_at"),
    *(each.value for each in Priority),
}


def _mean(groups: Iterable[dict[str, Any]]) -> float | None:
    known = [
        (each["rows"], each["quality_mean"]) for each in groups if each["quality_mean"] is not None
    ]
    rows = sum(count for count, _mean in known)
    return sum(count * mean for count, mean in known) / rows if rows else None


def _due_at(groups: list[dict[str, Any]]) -> float | None:
    """When the first of the rows may be tried."""
    return min((group["next_retry_at"].timestamp() for group in groups), default=None)


def _most_urgent(groups: list[dict[str, Any]]) -> str | None:
    """The class of the most urgent row; rows whose item has none yet are like most, a batch's."""
    if not groups:
        return None
    return next((each.value for each in Priority if any(g[each] for g in groups)), Priority.BATCH)


def _hour(stored: Any) -> Hour:
    by_priority = {each: stored["by_priority"][each] for each in Priority}
    return Hour(**{**stored, "by_priority": by_priority})
