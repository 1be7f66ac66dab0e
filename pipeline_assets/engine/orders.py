"""What the engine is asked for, what came of it, and who hears how it goes."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline_assets.core.environment import RungStats, add_stats
from pipeline_assets.core.narrowing import Suspects

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from pipeline_assets.core.rows import RowId
    from pipeline_assets.settings import Settings

Span = tuple[str, str]
"""The first and the last item of a part of an hour."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for: one stage of one hour, for one run.

    `items` narrows the work to some items; the others stand. `force` redoes rows that are current.
    With `only_improvable` just the rows are touched that may be better now, and what follows from
    those upstream: a new producer is not rolled out by the way. Failed rows of the tables in
    `strict` block what depends on them.
    """

    stage: str
    hour: str
    run_id: str
    items: frozenset[str] = frozenset()
    force: bool = False
    only_improvable: bool = False
    strict: frozenset[str] = frozenset({"items"})


@dataclass(frozen=True, slots=True)
class Job:
    """An order as a worker process is told it: everything by value or by name.

    Work is done under the lease's `token`, over the table of version `base`, in the `folder` where
    relative paths of the settings begin.
    """

    order: Order
    settings: Settings
    lease: str
    token: int
    base: str
    folder: Path


@dataclass(frozen=True, slots=True)
class Piece:
    """The items of an order that are worked on in one go.

    It is handed out `again` where a worker died over it, or was told to end: the rows that stand
    were counted then. `suspects` are the rows that workers died in.
    """

    span: Span
    suspects: Suspects = field(default_factory=Suspects)
    again: bool = False


@dataclass(slots=True)
class Report:
    """What came of an order, or of a piece of it.

    `due_at` is when the first of the rows may be tried again, as far as that waits for a time.
    """

    rows: int = 0
    planned: Counter[str] = field(default_factory=Counter)
    standing: Counter[str] = field(default_factory=Counter)
    rungs: dict[str, RungStats] = field(default_factory=dict)
    due_at: datetime | None = None
    recovered_rows: int = 0
    forgotten: str | None = None
    worker_deaths: int = 0
    published: bool = False
    interrupted: bool = False
    seconds: float = 0.0

    def add(self, other: Report) -> None:
        """Count a piece's report in."""
        self.rows += other.rows
        self.interrupted |= other.interrupted
        self.planned.update(other.planned)
        self.standing.update(other.standing)
        self.wait_until(other.due_at)
        add_stats(self.rungs, other.rungs)

    def wait_until(self, due_at: datetime | None) -> None:
        """A row may be tried again then."""
        if due_at is not None:
            self.due_at = due_at if self.due_at is None else min(self.due_at, due_at)


def _unseen(_rung: str, _rows: Sequence[RowId], _deadline_s: float) -> None:
    """Nobody needs to know."""


def _unheard() -> None:
    """Likewise."""


def _only_an_error(_error: BaseException) -> None:
    """The row's error says it: nobody could replace this process."""


def _silent(_rows: int, _rungs: Mapping[str, RungStats]) -> None:
    return None


def _never() -> bool:
    return False


def _slept(seconds: float) -> bool:
    time.sleep(seconds)
    return True


@dataclass(frozen=True, slots=True)
class Listener:
    """Who hears how the work goes, and may end it; by default nobody.

    `calling` hears which rung is about to be called with which rows and for how many seconds at the
    most, `answered` that the call has ended, `context_lost` that this process can make no further
    call, and `finished` how many more rows are durable and what the calls for them came to. When
    `stopped` says so, the micro-batch in hand is finished and the rest stays as it was. `sleep`
    waits for seconds, and says whether it could.
    """

    calling: Callable[[str, Sequence[RowId], float], None] = _unseen
    answered: Callable[[], None] = _unheard
    context_lost: Callable[[BaseException], None] = _only_an_error
    finished: Callable[[int, Mapping[str, RungStats]], None] = _silent
    stopped: Callable[[], bool] = _never
    sleep: Callable[[float], bool] = _slept
