"""What a chain is given from around it, and what it counts.

The seams (breakers, budgets, the process around) are small protocols, so that the chain itself
neither sleeps, stores nor knows a clock but those given.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pipeline_assets.core.budget import Budget, Draw
from pipeline_assets.core.fingerprint import Keys
from pipeline_assets.core.rows import RowId
from pipeline_assets.core.sizes import BatchSizes
from pipeline_assets.errors import CircuitOpen, RowError


class Permit(Protocol):
    """Leave to make one call; goes back with what came of it."""

    def success(self, seconds: float) -> None:
        """The call was answered after `seconds`, whatever it said about single rows."""

    def failure(self, error: RowError, seconds: float) -> None:
        """The call failed after `seconds`, for a reason that can pass."""

    def release(self) -> None:
        """The call proves nothing about the other side."""


class Gate(Protocol):
    """Gives permits: the breakers, behind one small face."""

    def permit(self, rung: str, scope: str) -> Permit | CircuitOpen:
        """A permit for one call of `rung`, or why there is none."""


class CallWatch(Protocol):
    """The process around a chain: who sees it die or hang, and can replace it."""

    def calling(self, rung: str, rows: Sequence[RowId], deadline_s: float) -> None:
        """A rung is about to be called with these rows; should the process die, it was there.

        Whoever can ends the process once `deadline_s` seconds have passed without `answered`.
        """

    def answered(self) -> None:
        """The call has ended, one way or the other."""

    def stopped(self) -> bool:
        """Whether somebody asked for an end."""

    def context_lost(self, error: BaseException) -> None:
        """The process can make no further call. Returns only where nobody could replace it."""


@dataclass(slots=True)
class RungStats:
    """What came of the calls of one rung."""

    calls: int = 0
    rows: int = 0
    made: int = 0
    recalled: int = 0
    seconds: float = 0.0
    errors: Counter[str] = field(default_factory=Counter)

    def add(self, other: "RungStats") -> None:
        """Count `other` in."""
        self.calls += other.calls
        self.rows += other.rows
        self.made += other.made
        self.recalled += other.recalled
        self.seconds += other.seconds
        self.errors.update(other.errors)


def add_stats(total: dict[str, RungStats], more: Mapping[str, RungStats]) -> None:
    """Count `more` in, rung by rung."""
    for name, stats in more.items():
        total.setdefault(name, RungStats()).add(stats)


@dataclass(frozen=True, slots=True)
class Environment:
    """What a chain needs from around it.

    `hung` are the rungs that hung over a row alone, each with what to say of it. `timer` gives
    seconds on any monotonic clock, `sleep` waits for seconds and says whether it
    could, rather than being called away; `draw(low, high)` is a random number in between.
    """

    resources: Any
    keys: Keys
    gate: Gate
    budget: Budget
    sizes: BatchSizes
    watch: CallWatch
    hung: Mapping[RowId, Mapping[str, str]]
    timer: Callable[[], float]
    sleep: Callable[[float], bool]
    draw: Draw
