"""How often a host may be asked, and when not at all: what all processes keep to together.

Requests are reserved in batches in the state database, on its clock. What a host asks
for in Retry-After is remembered by its breaker: a moment is waited for by all; for anything longer
it opens, and the host's rows wait outside.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

import sqlalchemy as sa

from pipeline_assets.core.breaker import BreakerState, Mode, open_for, pause_for
from pipeline_assets.fetch.gcra import Rate, reserve
from pipeline_assets.state.breakers import BreakerStore
from pipeline_assets.state.database import State, metadata

host_turns = sa.Table(
    "host_turns",
    metadata,
    sa.Column("host", sa.String, primary_key=True),
    sa.Column("due", sa.Double),  # the next request
)

A_MOMENT: Final = timedelta(seconds=10)
"""A Retry-After up to this is waited for where the request is; whatever is longer holds up a
micro-batch of other hosts' rows for too long."""

_LOCKED: Final = (
    sa.select(host_turns.c.due).where(host_turns.c.host == sa.bindparam("of")).with_for_update()
)


class Rates(Protocol):
    """The seam: `HostRates`, or `Unlimited` where there is nobody to keep to a rate with."""

    def rate(self, host: str) -> Rate | None:
        """The rate for a host; None is no limit."""
        ...

    def lease(self, host: str, wanted: int) -> list[float]:
        """In how many seconds each of `wanted` requests to a limited host may be made."""
        ...

    def leave_alone(self, host: str, wait: timedelta, why: str) -> None:
        """A host asked for it."""
        ...

    def left_alone(self, hosts: Collection[str]) -> dict[str, float]:
        """Those of `hosts` that are not to be asked now, and for how many seconds."""
        ...


@dataclass(frozen=True, slots=True)
class HostRates:
    """Rates of all processes with one state database: `per_s` for each host, or its own.

    `rung` is the stage and rung whose breakers, scoped by host, open for a long wait.
    """

    state: State
    breakers: BreakerStore
    rung: str
    per_s: float | None
    of_host: Mapping[str, float]

    def rate(self, host: str) -> Rate | None:
        """The host's own, or that for all."""
        per_s = self.of_host.get(host, self.per_s)
        return None if per_s is None else Rate(per_s)

    def lease(self, host: str, wanted: int) -> list[float]:
        """One transaction for all of them."""
        rate = self.rate(host)
        if rate is None:
            return [0.0] * wanted
        with self.state.transaction() as connection:
            self.state.add_missing(connection, host_turns, host=host)
            due = connection.execute(_LOCKED, {"of": host}).scalar_one()
            now = self.state.now(connection)
            times, due = reserve(rate, due, now, wanted)
            connection.execute(
                sa.update(host_turns).where(host_turns.c.host == host).values(due=due)
            )
        return [time - now for time in times]

    def leave_alone(self, host: str, wait: timedelta, why: str) -> None:
        """The host's breaker remembers it: a moment as a pause; for anything longer it opens."""
        seconds = wait.total_seconds()
        reason = f"asked to be left alone for {seconds:g} s; {why}"

        def step(state: BreakerState, now: float) -> tuple[BreakerState, None]:
            if wait <= A_MOMENT:
                return pause_for(state, now, seconds), None
            if state.mode in (Mode.CLOSED, Mode.OPEN, Mode.HALF_OPEN):
                return open_for(state, now, seconds, reason), None
            return state, None  # what a person forced stays

        self.breakers.apply(self._breaker(host), step)

    def left_alone(self, hosts: Collection[str]) -> dict[str, float]:
        """Those that asked for it, and those whose breaker is open."""
        names = {self._breaker(host): host for host in hosts}
        now, found = self.breakers.now(), {}
        for name, breaker in self.breakers.load_several(set(names)).items():
            opens_at = breaker.retry_at if breaker.mode is Mode.OPEN else 0.0
            until = max(opens_at, breaker.paused_until)
            if until > now:
                found[names[name]] = until - now
        return found

    def _breaker(self, host: str) -> str:
        return f"{self.rung}@{host}"


class Unlimited:
    """No rate, and nobody to tell."""

    def rate(self, _host: str) -> Rate | None:
        """None for any host."""
        return None

    def lease(self, _host: str, wanted: int) -> list[float]:
        """All at once."""
        return [0.0] * wanted

    def leave_alone(self, _host: str, _wait: timedelta, _why: str) -> None:
        """The one who was asked knows it."""

    def left_alone(self, _hosts: Collection[str]) -> dict[str, float]:
        """None of them."""
        return {}
