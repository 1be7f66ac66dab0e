"""How often a host may be asked, and when not at all: what all processes keep to together.

Requests are reserved in batches in the state database, on its clock. A host that asks for a moment
is waited for by all; one that asks for longer has its breaker opened, and its rows wait outside.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

import sqlalchemy as sa

from pipeline_assets.core.breaker import Mode, open_for
from pipeline_assets.fetch.gcra import Rate, reserve
from pipeline_assets.state.breakers import BreakerStore
from pipeline_assets.state.database import State, host_turns

A_MOMENT: Final = timedelta(seconds=10)
"""A Retry-After up to this is waited for where the request is; whatever is longer holds up a
micro-batch of other hosts' rows for too long."""

_LOCKED: Final = (
    sa.select(host_turns.c.due).where(host_turns.c.host == sa.bindparam("of")).with_for_update()
)
_LEFT_ALONE: Final = sa.select(host_turns.c.host, host_turns.c.not_before).where(
    host_turns.c.host.in_(sa.bindparam("hosts", expanding=True)),
    host_turns.c.not_before > sa.bindparam("now"),
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
            new = self.state.insert(host_turns).values(host=host)
            connection.execute(new.on_conflict_do_nothing(index_elements=["host"]))
            due = connection.execute(_LOCKED, {"of": host}).scalar_one()
            now = self.state.now(connection)
            times, due = reserve(rate, due, now, wanted)
            connection.execute(
                sa.update(host_turns).where(host_turns.c.host == host).values(due=due)
            )
        return [time - now for time in times]

    def leave_alone(self, host: str, wait: timedelta, why: str) -> None:
        """A moment is noted, for anything longer the host's breaker opens."""
        seconds = wait.total_seconds()
        if wait > A_MOMENT:
            reason = f"asked to be left alone for {seconds:g} s; {why}"
            self.breakers.apply(
                self._breaker(host),
                lambda state, now: (
                    open_for(state, now, seconds, reason)
                    if state.mode in (Mode.CLOSED, Mode.OPEN, Mode.HALF_OPEN)
                    else state,
                    None,
                ),
            )
            return
        with self.state.transaction() as connection:
            until = self.state.now(connection) + seconds
            noted = self.state.insert(host_turns).values(host=host, not_before=until)
            connection.execute(
                noted.on_conflict_do_update(
                    index_elements=["host"],
                    set_={"not_before": until},
                    where=sa.func.coalesce(host_turns.c.not_before, 0.0) < until,
                )
            )

    def left_alone(self, hosts: Collection[str]) -> dict[str, float]:
        """Those that asked for it, and those whose breaker is open."""
        names = {self._breaker(host): host for host in hosts}
        with self.state.reading() as connection:
            now = self.state.now(connection)
            rows = connection.execute(_LEFT_ALONE, {"hosts": list(hosts), "now": now}).all()
        found = {row.host: row.not_before - now for row in rows}
        for name, breaker in self.breakers.load_several(set(names)).items():
            if breaker.mode is Mode.OPEN and breaker.retry_at > now:
                found[names[name]] = breaker.retry_at - now
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
