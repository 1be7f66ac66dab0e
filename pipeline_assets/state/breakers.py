"""Breakers in the state database: one for all runs and processes, on the database's clock."""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import sqlalchemy as sa

from pipeline_assets.core.breaker import (
    BreakerRule,
    BreakerState,
    Call,
    Grant,
    Mode,
    ProbePermit,
    Refusal,
    Result,
    can_count,
    force,
    open_for,
    probe_early,
    record,
    release,
    request,
    reset,
    would_grant,
)
from pipeline_assets.errors import CircuitOpen, RowError
from pipeline_assets.state.database import State, metadata

log = logging.getLogger(__name__)

breaker_events = sa.Table(
    "breaker_events",
    metadata,
    # A generation begins with one transition: the key keeps a second one out.
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("generation", sa.BigInteger, primary_key=True),
    sa.Column("at", sa.Double, nullable=False, index=True),
    sa.Column("from_mode", sa.String, nullable=False),
    sa.Column("to_mode", sa.String, nullable=False),
    sa.Column("reason", sa.String, nullable=False),
)

breakers = sa.Table(
    "breakers",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("state", sa.JSON, nullable=False),
    sa.Column("updated_at", sa.Double, nullable=False),
)

EVENTS_KEPT = 1000
"""For each breaker: two weeks of a host that goes down and up every hour."""
HEALING = (Mode.HALF_OPEN, Mode.CLOSED)
"""What a breaker goes to on its way back: good news, and no warning."""
SAID_TO_BE_WELL = "said to be well again before the wait was over"

# Made once: building a statement takes as long as SQLite takes for its answer.
_BY_NAMES = sa.select(breakers.c.name, breakers.c.state).where(
    breakers.c.name.in_(sa.bindparam("names", expanding=True))
)
_LOCKED = sa.select(breakers.c.state).where(breakers.c.name == sa.bindparam("of")).with_for_update()
_CHANGE = sa.update(breakers).where(breakers.c.name == sa.bindparam("of"))

T = TypeVar("T")
Step = Callable[[BreakerState, float], tuple[BreakerState, T]]


@dataclass(frozen=True, slots=True)
class BreakerEvent:
    """One transition: when a breaker's generation began, and why."""

    name: str
    generation: int
    at: float
    from_mode: Mode
    to_mode: Mode
    reason: str


class BreakerStore:
    """Loads a breaker, applies a pure step, and stores what changed, in one transaction."""

    def __init__(self, state: State) -> None:
        self._state = state

    def gate(self, rule: BreakerRule) -> "BreakerGate":
        """The permits of a stage whose breakers follow `rule`."""
        return BreakerGate(self, rule)

    def all(self) -> dict[str, BreakerState]:
        """Every breaker that has ever recorded something, by name."""
        with self._state.reading() as connection:
            rows = connection.execute(sa.select(breakers.c.name, breakers.c.state)).all()
        return {name: _loaded(state) for name, state in sorted(rows)}

    def load(self, name: str) -> BreakerState:
        """One breaker; a new one is closed."""
        return self.load_several({name})[name]

    def load_several(self, names: set[str]) -> dict[str, BreakerState]:
        """Breakers by name, as they are at one moment."""
        with self._state.reading() as connection:
            rows = connection.execute(_BY_NAMES, {"names": list(names)}).all()
        found = {name: _loaded(state) for name, state in rows}
        return {name: found.get(name, BreakerState()) for name in names}

    def now(self) -> float:
        """The clock that all breakers go by."""
        with self._state.reading() as connection:
            return self._state.now(connection)

    def events(self, name: str | None, limit: int) -> list[BreakerEvent]:
        """Transitions, newest first: of all, or of a breaker and its scopes."""
        query = sa.select(breaker_events).limit(limit)
        query = query.order_by(
            breaker_events.c.at.desc(), breaker_events.c.generation.desc(), breaker_events.c.name
        )
        if name is not None:
            scopes = breaker_events.c.name.startswith(f"{name}@", autoescape=True)
            query = query.where(sa.or_(breaker_events.c.name == name, scopes))
        with self._state.reading() as connection:
            return [
                BreakerEvent(
                    row.name,
                    row.generation,
                    row.at,
                    Mode(row.from_mode),
                    Mode(row.to_mode),
                    row.reason,
                )
                for row in connection.execute(query)
            ]

    def transitions(self, since: float, until: float) -> dict[str, int]:
        """How many there were in a span of time, by stage and rung: those of its hosts together."""
        query = sa.select(breaker_events.c.name, sa.func.count()).group_by(breaker_events.c.name)
        query = query.where(breaker_events.c.at >= since, breaker_events.c.at < until)
        counted: Counter[str] = Counter()
        with self._state.reading() as connection:
            for name, count in connection.execute(query):
                counted[name.partition("@")[0]] += count
        return dict(counted)

    def apply(self, name: str, step: Step[T]) -> T:
        """Apply `step` to a breaker and store the outcome, with an event for a transition."""
        with self._state.transaction() as connection:
            before = self._locked(connection, name)
            now = self._state.now(connection)
            after, answer = step(before, now)
            if after != before:
                changed = {"of": name, "state": _stored(after), "updated_at": now}
                connection.execute(_CHANGE, changed)
            if after.generation != before.generation:
                _keep_event(connection, name, before.mode, after, now)
        if after.generation != before.generation:
            level = logging.INFO if after.mode in HEALING else logging.WARNING
            log.log(level, "breaker %s: %s → %s: %s", name, before.mode, after.mode, after.reason)
        return answer

    def force(self, name: str, mode: Mode) -> None:
        """Put a breaker into `mode` on a person's word."""
        reason = f"{mode.replace('-', ' ')} by a person"
        self.apply(name, lambda state, _now: (force(state, mode, reason), None))

    def open_for(self, name: str, seconds: float) -> None:
        """Open a breaker for some time on a person's word."""
        reason = f"opened for {seconds:g} s by a person"
        self.apply(name, lambda state, now: (open_for(state, now, seconds, reason), None))

    def reset(self, name: str) -> None:
        """Close a breaker and forget what it recorded, on a person's word."""
        self.apply(name, lambda state, _now: (reset(state, "reset by a person"), None))

    def probe_again(self, rungs: tuple[str, ...]) -> list[str]:
        """Half-open every open breaker of these rungs, which are said to be well again."""
        open_now = [
            name
            for name, state in self.all().items()
            if state.mode is Mode.OPEN and name.partition("@")[0] in rungs
        ]
        for name in open_now:
            self.apply(name, lambda state, _now: (probe_early(state, SAID_TO_BE_WELL), None))
        return open_now

    def _locked(self, connection: sa.Connection, name: str) -> BreakerState:
        """The breaker, which nobody else changes before the transaction ends."""
        state = self._select(connection, name)
        if state is not None:
            return state
        self._state.add_missing(
            connection, breakers, name=name, state=_stored(BreakerState()), updated_at=0.0
        )
        return self._select(connection, name) or BreakerState()

    @staticmethod
    def _select(connection: sa.Connection, name: str) -> BreakerState | None:
        stored = connection.execute(_LOCKED, {"of": name}).scalar_one_or_none()
        return None if stored is None else _loaded(stored)


@dataclass(frozen=True, slots=True)
class BreakerGate:
    """Gives and takes permits of one stage's breakers."""

    store: BreakerStore
    rule: BreakerRule

    def permit(self, rung: str, scope: str) -> "BreakerPermit | CircuitOpen":
        """A permit for one call, or `CircuitOpen` with how long it will be so."""
        name, seen = self._in_charge(rung, scope)
        # What changes nothing, a closed breaker's grant or a refusal, takes no lock.
        if seen.mode in (Mode.CLOSED, Mode.DISABLED):
            return BreakerPermit(self.store, self.rule, name, Grant(seen.generation))
        now = self.store.now()
        after, answer = request(seen, self.rule, now)
        if after != seen:
            answer, now = self.store.apply(name, self._request)
        if isinstance(answer, Grant):
            return BreakerPermit(self.store, self.rule, name, answer)
        return _circuit_open(name, answer, now)

    def available(self, rung: str) -> bool:
        """Whether a call of `rung` would be let through now; takes no permit."""
        return would_grant(self.store.load(rung), self.rule, self.store.now())

    def _in_charge(self, rung: str, scope: str) -> tuple[str, BreakerState]:
        """The scope's own breaker; but the rung's, unless closed, holds for each of its scopes."""
        scoped = _storable(f"{rung}@{scope}") if scope else rung
        seen = self.store.load_several({rung, scoped})
        name = scoped if seen[rung].mode is Mode.CLOSED else rung
        return name, seen[name]

    def _request(
        self, state: BreakerState, now: float
    ) -> tuple[BreakerState, tuple[Grant | Refusal, float]]:
        after, answer = request(state, self.rule, now)
        return after, (answer, now)


@dataclass(frozen=True, slots=True)
class BreakerPermit:
    """Leave to make one call."""

    store: BreakerStore
    rule: BreakerRule
    name: str
    grant: Grant

    def success(self, seconds: float) -> None:
        """The call was answered after `seconds`."""
        self._record(Result(failed=False, slow=self._slow(seconds)))

    def failure(self, error: RowError, seconds: float) -> None:
        """The call failed after `seconds`, for a reason that can pass."""
        after_s = error.retry_after.total_seconds() if error.retry_after is not None else None
        said = _storable(f"{error.kind}: {error.message}")
        self._record(Result(True, self._slow(seconds), after_s, said))

    def release(self) -> None:
        """The call proves nothing: the permit goes back."""
        if self.grant.probe is not None:
            self.store.apply(self.name, lambda state, _now: (release(state, self.grant), None))

    def _slow(self, seconds: float) -> bool:
        return seconds >= self.rule.slow_call_s

    def _record(self, result: Result) -> None:
        if not can_count(self.rule, self.grant, result):
            return
        self.store.apply(
            self.name,
            lambda state, now: (record(state, self.rule, now, self.grant, result), None),
        )


def _storable(text: str) -> str:
    """Strangers' text without the one character that PostgreSQL's strings cannot hold."""
    return text.replace("\0", "")


def _circuit_open(name: str, refusal: Refusal, now: float) -> CircuitOpen:
    """Why no call was made. A scope's breaker also says how long its rows wait.

    A rung's own may half-open early, on a health signal's word; rows that were told to wait would
    not be planned then.
    """
    if refusal.retry_at is None:
        return CircuitOpen(
            f"breaker {name} is {refusal.mode}; no call was made. `pipeline-assets breakers reset "
            f"{name}` closes it"
        )
    wait = timedelta(seconds=max(0.0, refusal.retry_at - now))
    return CircuitOpen(
        f"breaker {name} is {refusal.mode}; no call was made, the next is due in "
        f"{wait.total_seconds():.0f} s",
        retry_after=wait if "@" in name else None,
    )


def _keep_event(
    connection: sa.Connection, name: str, before: Mode, after: BreakerState, now: float
) -> None:
    """Keep a transition, and drop the one that is now too old."""
    connection.execute(
        sa.insert(breaker_events).values(
            name=name,
            generation=after.generation,
            at=now,
            from_mode=before,
            to_mode=after.mode,
            reason=after.reason,
        )
    )
    connection.execute(
        sa.delete(breaker_events).where(
            breaker_events.c.name == name,
            breaker_events.c.generation <= after.generation - EVENTS_KEPT,
        )
    )


def _stored(state: BreakerState) -> dict[str, Any]:
    """The state as JSON has it: `asdict` would copy every value deeply, at ten times the cost."""
    calls = [(call.at, call.failed, call.slow, call.count) for call in state.calls]
    probes = [(probe.number, probe.lease_until) for probe in state.probes]
    shallow = {field: getattr(state, field) for field in BreakerState.__slots__}
    return {**shallow, "calls": calls, "probes": probes}


def _loaded(stored: Any) -> BreakerState:
    known = {name: stored[name] for name in BreakerState.__slots__ if name in stored}
    return BreakerState(
        **{
            **known,
            "mode": Mode(stored["mode"]),
            "calls": tuple(Call(*_values(call)) for call in stored["calls"]),
            "probes": tuple(ProbePermit(*_values(probe)) for probe in stored["probes"]),
            "results": tuple(stored["results"]),
        }
    )


def _values(stored: Any) -> Any:
    """A call's or probe's values in order; databases of before the lists hold them by name."""
    return stored.values() if isinstance(stored, dict) else stored
