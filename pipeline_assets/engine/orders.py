"""What the engine is asked for, and what came of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline_assets.core.climb import RungStats, add_stats

if TYPE_CHECKING:
    from pipeline_assets.core.stage import Stage


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for: one stage of one hour, for one run.

    `items` narrows the work to some items; the others stand. `force` redoes rows that are current.
    With `only_improvable` just the rows are touched that may be better now, and what follows from
    those upstream: a new producer is not rolled out by the way. Failed rows of the tables in
    `strict` block what depends on them.
    """

    stage: Stage
    hour: str
    run_id: str
    items: frozenset[str] = frozenset()
    force: bool = False
    only_improvable: bool = False
    strict: frozenset[str] = frozenset({"items"})


@dataclass(slots=True)
class Report:
    """What came of an order, or of a piece of it."""

    rows: int = 0
    planned: Counter[str] = field(default_factory=Counter)
    standing: Counter[str] = field(default_factory=Counter)
    rungs: dict[str, RungStats] = field(default_factory=dict)
    recovered_rows: int = 0
    forgotten: str | None = None
    worker_deaths: int = 0
    published: bool = False
    interrupted: bool = False
    seconds: float = 0.0

    def add(self, other: Report) -> None:
        """Count a piece's manifest in."""
        self.rows += other.rows
        self.interrupted |= other.interrupted
        self.planned.update(other.planned)
        self.standing.update(other.standing)
        add_stats(self.rungs, other.rungs)
