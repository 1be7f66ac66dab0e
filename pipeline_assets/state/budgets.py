"""Budgets in the state database: one purse for all runs and processes, on the database's clock.

What a call costs is reserved before it is made. Free calls never come here.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa

from pipeline_assets.core.budget import (
    Cap,
    Granted,
    TokenBucket,
    affordable,
    day_of,
    earn,
    rest_of_day,
    take,
)
from pipeline_assets.errors import OverBudget
from pipeline_assets.state.database import State, metadata

pauses = sa.Table(
    "pauses",
    metadata,
    sa.Column("stage", sa.String, primary_key=True),
    sa.Column("who", sa.String, nullable=False),
    sa.Column("why", sa.String, nullable=False),
    sa.Column("since", sa.Double, nullable=False),
)

retry_buckets = sa.Table(
    "retry_buckets",
    metadata,
    sa.Column("stage", sa.String, primary_key=True),
    sa.Column("credit", sa.BigInteger, nullable=False),
)

spending = sa.Table(
    "spending",
    metadata,
    sa.Column("day", sa.Date, primary_key=True),
    sa.Column("stage", sa.String, primary_key=True),
    sa.Column("usd", sa.Double, nullable=False),
)

EVERY = "*"
"""All stages together: the name under which they are summed up, capped and paused."""
SPENDING_KEPT = timedelta(days=31)
FULL_FOR_S = 1.0
"""A bucket seen full is looked at again after so long: a read for each micro-batch would be dear,
and what successes in between would have refilled, had others just emptied it, is a second's."""

NO_CAPS: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Pause:
    """A person's word that nothing is to be paid for, until a person says otherwise."""

    stage: str
    who: str
    why: str
    since: datetime

    def __str__(self) -> str:
        what, resume = ("all stages", "") if self.stage == EVERY else (self.stage, f" {self.stage}")
        return (
            f"{self.who} paused the paid calls and the retries within a run of {what} on "
            f"{self.since:%Y-%m-%d %H:%M} UTC; `pipeline-assets budget resume{resume}` ends that"
            + (f". Why: {self.why}" if self.why else "")
        )


class Budgets:
    """The budgets of all stages. A cap of None is none; a cap of 0 lets nothing be spent."""

    def __init__(
        self,
        state: State,
        *,
        daily_usd: float | None = None,
        stage_daily_usd: Mapping[str, float] = NO_CAPS,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state, self.daily_usd, self.stage_daily_usd = state, daily_usd, stage_daily_usd
        self._timer = timer
        self._stages: dict[str, StageBudget] = {}

    def stage(self, name: str) -> "StageBudget":
        """The budget of one stage; the same one each time, since it knows what it reserved."""
        return self._stages.setdefault(name, StageBudget(self, self._state, name, self._timer))

    def spent_today(self) -> dict[str, float]:
        """What was spent today by each stage, and by `EVERY`, that spent something."""
        with self._state.reading() as connection:
            today = day_of(self._state.now(connection))
            query = sa.select(spending.c.stage, spending.c.usd).where(spending.c.day == today)
            return dict(connection.execute(query).all())

    def buckets(self) -> dict[str, TokenBucket]:
        """The retry tokens of every stage that ever retried; the others' are full."""
        with self._state.reading() as connection:
            rows = connection.execute(sa.select(retry_buckets)).all()
        return {row.stage: TokenBucket(row.credit) for row in rows}

    def pauses(self) -> dict[str, Pause]:
        """What people have paused."""
        with self._state.reading() as connection:
            rows = connection.execute(sa.select(pauses)).all()
        return {row.stage: _pause(row) for row in rows}

    def pause(self, stage: str, *, who: str, why: str) -> None:
        """Pause a stage, or `EVERY` one. The latest word counts."""
        with self._state.transaction() as connection:
            since = self._state.now(connection)
            pause = {"stage": stage, "who": who, "why": why, "since": since}
            self._state.upsert(connection, pauses, [pause])

    def resume(self, stage: str) -> None:
        """Take back the pause of a stage, or the one of `EVERY`; what else is paused stays so."""
        with self._state.transaction() as connection:
            connection.execute(sa.delete(pauses).where(pauses.c.stage == stage))

    def caps(self, stage: str, spent: Mapping[str, float]) -> list[Cap]:
        """The caps that bind a stage, its own first, given what was spent."""
        caps = []
        if stage in self.stage_daily_usd:
            own = self.stage_daily_usd[stage]
            caps.append(Cap(stage, "PIPELINE_STAGE_DAILY_USD", own, spent[stage]))
        if self.daily_usd is not None:
            caps.append(Cap("all stages", "PIPELINE_DAILY_USD", self.daily_usd, spent[EVERY]))
        return caps


class StageBudget:
    """What one stage may spend and retry: the `Budget` that its chain is given."""

    def __init__(
        self, budgets: Budgets, state: State, name: str, timer: Callable[[], float]
    ) -> None:
        self._budgets, self._state, self._name, self._timer = budgets, state, name, timer
        self._day: date | None = None
        self._full_until = 0.0

    def spend(self, cost_usd: float, rows: int) -> Granted:
        """Reserve the cost of a call for as many of `rows` as the caps allow."""
        if cost_usd == 0 or rows == 0:
            return Granted(rows)
        with self._state.transaction() as connection:
            pause = self._paused(connection)
            if pause is not None:
                return Granted(0, OverBudget(f"no call was made: {pause}"))
            now = self._state.now(connection)
            spent = self._spent(connection, day_of(now))
            fit, cap = affordable(cost_usd, rows, self._budgets.caps(self._name, spent))
            self._add(connection, day_of(now), fit * cost_usd)
        self._day = day_of(now)
        return Granted(fit, None if cap is None else _over(cap, cost_usd, fit, now))

    def give_back(self, cost_usd: float, rows: int) -> None:
        """The latest reservation's call was not made for `rows` of its rows."""
        if cost_usd == 0 or rows == 0 or self._day is None:
            return
        with self._state.transaction() as connection:
            # On the day of the reservation: the day after owes nothing for it.
            self._spent(connection, self._day)
            self._add(connection, self._day, -rows * cost_usd)

    def retries(self, rows: int) -> int:
        """Take tokens to try up to `rows` rows again within the run; none while paused."""
        with self._state.transaction() as connection:
            if self._paused(connection) is not None:
                return 0
            bucket, granted = take(self._bucket(connection, lock=True), rows)
            self._store(connection, bucket)
        self._full_until = 0.0
        return granted

    def succeeded(self, rows: int) -> None:
        """Rows were made by a call: they refill the tokens. A full bucket costs no write."""
        if rows == 0 or self._timer() < self._full_until:
            return
        with self._state.reading() as connection:
            full = self._bucket(connection).full
        if not full:
            with self._state.transaction() as connection:
                bucket = earn(self._bucket(connection, lock=True), rows)
                self._store(connection, bucket)
            full = bucket.full
        if full:
            self._full_until = self._timer() + FULL_FOR_S

    def paused(self) -> str | None:
        """Why paid calls and retries are paused by a person, if they are."""
        with self._state.reading() as connection:
            pause = self._paused(connection)
        return None if pause is None else str(pause)

    def _paused(self, connection: sa.Connection) -> Pause | None:
        """The wider pause, where there are two."""
        query = sa.select(pauses).where(pauses.c.stage.in_((EVERY, self._name)))
        found = {row.stage: _pause(row) for row in connection.execute(query).all()}
        return found.get(EVERY) or found.get(self._name)

    def _spent(self, connection: sa.Connection, day: date) -> dict[str, float]:
        """What the stage and all stages have spent, their rows locked until the end."""
        # Always in this order, so that two stages never wait for each other.
        added = [
            self._state.add_missing(connection, spending, day=day, stage=stage, usd=0.0)
            for stage in (EVERY, self._name)
        ]
        if any(added):
            connection.execute(sa.delete(spending).where(spending.c.day < day - SPENDING_KEPT))
        query = sa.select(spending.c.stage, spending.c.usd).where(*self._on(day))
        locked = query.order_by(spending.c.stage != EVERY).with_for_update()
        return dict(connection.execute(locked).all())

    def _add(self, connection: sa.Connection, day: date, usd: float) -> None:
        after = spending.c.usd + usd
        connection.execute(
            sa.update(spending)
            .where(*self._on(day))
            .values(usd=sa.case((after > 0, after), else_=0.0))
        )

    def _on(self, day: date) -> tuple[sa.ColumnElement[bool], ...]:
        return spending.c.day == day, spending.c.stage.in_((EVERY, self._name))

    def _bucket(self, connection: sa.Connection, *, lock: bool = False) -> TokenBucket:
        if lock:
            full = TokenBucket().credit
            self._state.add_missing(connection, retry_buckets, stage=self._name, credit=full)
        query = sa.select(retry_buckets.c.credit).where(retry_buckets.c.stage == self._name)
        credit = connection.execute(query.with_for_update() if lock else query).scalar_one_or_none()
        return TokenBucket() if credit is None else TokenBucket(credit)

    def _store(self, connection: sa.Connection, bucket: TokenBucket) -> None:
        connection.execute(
            sa.update(retry_buckets)
            .where(retry_buckets.c.stage == self._name)
            .values(credit=bucket.credit)
        )


def _over(cap: Cap, cost_usd: float, granted: int, now: float) -> OverBudget:
    rest = rest_of_day(now)
    spent_usd = cap.spent_usd + granted * cost_usd
    return OverBudget(
        f"no call was made: of the {_usd(cap.usd)} USD that {cap.name} may spend on "
        f"{day_of(now)} (UTC), {_usd(spent_usd)} are spent and a row costs {_usd(cost_usd)}. "
        f"It goes on by itself in {rest / timedelta(hours=1):.1f} h, at 00:00 UTC, or at once "
        f"where {cap.setting} is raised",
        retry_after=rest,
    )


def _usd(amount: float) -> str:
    return f"{amount:.10g}"


def _pause(row: sa.Row[Any]) -> Pause:
    return Pause(row.stage, row.who, row.why, datetime.fromtimestamp(row.since, UTC))
