"""Breakers in the state database: one for all runs and processes, on the database's clock."""

import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import sqlalchemy as sa

from pipeline_assets.adapters.state import State, breakers
from pipeline_assets.core.breaker import (
    BreakerRule,
    BreakerState,
    Call,
    Grant,
    Mode,
    Probe,
    Refusal,
    force,
    record,
    release,
    request,
    reset,
    would_grant,
)
from pipeline_assets.errors import CircuitOpen, RowError

log = logging.getLogger(__name__)

T = TypeVar("T")
Step = Callable[[BreakerState, float], tuple[BreakerState, T]]


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
        with self._state.reading() as connection:
            return self._select(connection, name)

    def now(self) -> float:
        """The clock that all breakers go by."""
        with self._state.reading() as connection:
            return self._state.now(connection)

    def apply(self, name: str, step: Step[T]) -> T:
        """Apply `step` to a breaker and store the outcome; log each transition."""
        with self._state.transaction() as connection:
            self._insert_missing(connection, name)
            before = self._select(connection, name, lock=True)
            now = self._state.now(connection)
            after, answer = step(before, now)
            if after != before:
                connection.execute(
                    sa.update(breakers)
                    .where(breakers.c.name == name)
                    .values(state=asdict(after), updated_at=now)
                )
        if after.mode is not before.mode:
            log.warning("breaker %s: %s → %s", name, before.mode, after.mode)
        return answer

    def force(self, name: str, mode: Mode) -> None:
        """Put a breaker into `mode` on somebody's word."""
        self.apply(name, lambda state, _now: (force(state, mode), None))

    def reset(self, name: str) -> None:
        """Close a breaker and forget what it recorded."""
        self.apply(name, lambda state, _now: (reset(state), None))

    def probe_again(self, prefixes: tuple[str, ...]) -> list[str]:
        """Half-open every open breaker whose name starts with one of `prefixes`."""
        waiting = [
            name
            for name, state in self.all().items()
            if state.mode is Mode.OPEN and name.startswith(prefixes)
        ]
        for name in waiting:
            self.force(name, Mode.HALF_OPEN)
        return waiting

    def _insert_missing(self, connection: sa.Connection, name: str) -> None:
        new = self._state.insert(breakers).values(
            name=name, state=asdict(BreakerState()), updated_at=0.0
        )
        connection.execute(new.on_conflict_do_nothing(index_elements=["name"]))

    @staticmethod
    def _select(connection: sa.Connection, name: str, *, lock: bool = False) -> BreakerState:
        query = sa.select(breakers.c.state).where(breakers.c.name == name)
        stored = connection.execute(query.with_for_update() if lock else query).scalar_one_or_none()
        return BreakerState() if stored is None else _loaded(stored)


@dataclass(frozen=True, slots=True)
class BreakerGate:
    """Gives and takes permits of one stage's breakers."""

    store: BreakerStore
    rule: BreakerRule

    def permit(self, rung: str, scope: str) -> "BreakerPermit | CircuitOpen":
        """A permit for one call, or `CircuitOpen` with how long it will be so."""
        if scope and self.store.load(rung).mode is Mode.FORCED_OPEN:
            # A person's word about the rung holds for each of its scopes.
            return _circuit_open(rung, Refusal(Mode.FORCED_OPEN, None), 0.0)
        name = f"{rung}@{scope}" if scope else rung
        # A closed breaker grants without a word to the database but this one read.
        seen = self.store.load(name)
        if seen.mode in (Mode.CLOSED, Mode.DISABLED):
            return BreakerPermit(self.store, self.rule, name, Grant(seen.generation))
        answer, now = self.store.apply(name, self._request)
        if isinstance(answer, Grant):
            return BreakerPermit(self.store, self.rule, name, answer)
        return _circuit_open(name, answer, now)

    def available(self, rung: str) -> bool:
        """Whether a call of `rung` would be let through now; takes no permit."""
        return would_grant(self.store.load(rung), self.rule, self.store.now())

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
        self._record(failed=False, slow=seconds >= self.rule.slow_call_s)

    def failure(self, error: RowError, seconds: float) -> None:
        """The call failed after `seconds`, for a reason that can pass."""
        after = error.retry_after.total_seconds() if error.retry_after is not None else None
        self._record(failed=True, slow=seconds >= self.rule.slow_call_s, retry_after_s=after)

    def release(self) -> None:
        """The call proves nothing: the permit goes back."""
        if self.grant.probe is not None:
            self.store.apply(self.name, lambda state, _now: (release(state, self.grant), None))

    def _record(self, *, failed: bool, slow: bool, retry_after_s: float | None = None) -> None:
        self.store.apply(
            self.name,
            lambda state, now: (
                record(
                    state,
                    self.rule,
                    now,
                    self.grant,
                    failed=failed,
                    slow=slow,
                    retry_after_s=retry_after_s,
                ),
                None,
            ),
        )


def _circuit_open(name: str, refusal: Refusal, now: float) -> CircuitOpen:
    if refusal.mode is Mode.FORCED_OPEN:
        return CircuitOpen(
            f"breaker {name} was forced open; no call was made. `pipeline-assets breakers reset "
            f"{name}` closes it"
        )
    seconds = max(0.0, (refusal.retry_at or now) - now)
    return CircuitOpen(
        f"breaker {name} is {refusal.mode}; no call was made, the next is due in {seconds:.0f} s"
    )


def _loaded(stored: Any) -> BreakerState:
    data = json.loads(stored) if isinstance(stored, str) else stored
    return BreakerState(
        **{
            **data,
            "mode": Mode(data["mode"]),
            "calls": tuple(Call(**call) for call in data["calls"]),
            "probes": tuple(Probe(**probe) for probe in data["probes"]),
            "results": tuple(data["results"]),
        }
    )
