"""Makers of stages, works and rows that say only what a test is about, and fakes for a climb."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from pipeline_assets.core.attempt import Attempt
from pipeline_assets.core.budget import Granted
from pipeline_assets.core.chain import climb
from pipeline_assets.core.environment import Environment, Permit, RungStats
from pipeline_assets.core.fingerprint import Keys
from pipeline_assets.core.plan import Decision, Planned, Reason, Situation
from pipeline_assets.core.results import Stamp
from pipeline_assets.core.rows import Made, Outcome, Row, RowId, Work
from pipeline_assets.core.sizes import BatchSizes
from pipeline_assets.core.stage import Rung, RungCall, Stage
from pipeline_assets.core.status import Status
from pipeline_assets.errors import CircuitOpen, OverBudget, RowError

NOW = datetime(2026, 3, 2, 6, tzinfo=UTC)
LABEL = pa.field("label", pa.string())
READS = "items.name"


def make_work(
    name: str = "a", *, blocked: str | None = None, refused: bool = False, **fields: Any
) -> Work:
    """Work for the item `name`; a field `items_size=1` is read as `items.size`."""
    given = {key.replace("_", ".", 1): value for key, value in fields.items()}
    return Work((name,), {READS: name, **given}, blocked, refused)


def makes(value: str = "chair", **made: Any) -> RungCall:
    """A rung function that makes the same value for every row."""
    return lambda _resources, works: [Made((value,), **made) for _ in works]


def answers(by_item: Mapping[str, Outcome], otherwise: Outcome | None = None) -> RungCall:
    """A rung function with an outcome for each item, and one for all others."""
    default = otherwise if otherwise is not None else Made(("chair",))
    return lambda _resources, works: [by_item.get(work.id[0], default) for work in works]


def fails(error: BaseException) -> RungCall:
    """A rung function that raises for the whole call."""

    def call(_resources: Any, _works: Sequence[Work]) -> Sequence[Outcome]:
        raise error

    return call


class Recorder:
    """Wraps a rung function and remembers the items of every call."""

    def __init__(self, call: RungCall) -> None:
        self._call = call
        self.calls: list[list[str]] = []

    def __call__(self, resources: Any, works: Sequence[Work]) -> Sequence[Outcome]:
        """Remember, then call."""
        self.calls.append([work.id[0] for work in works])
        return self._call(resources, works)

    @property
    def sizes(self) -> list[int]:
        """The number of rows in each call."""
        return [len(call) for call in self.calls]


class Memory:
    """A rung function that runs out of memory where the rows of a call weigh more than `limit`."""

    def __init__(self, limit: int, weights: Mapping[str, int] | None = None) -> None:
        self._limit, self._weights = limit, weights or {}

    def __call__(self, _resources: Any, works: Sequence[Work]) -> Sequence[Outcome]:
        """Fit, or raise."""
        if sum(self._weights.get(work.id[0], 1) for work in works) > self._limit:
            raise MemoryError
        return [Made((work.id[0],)) for work in works]


def make_rung(
    name: str = "primary",
    call: RungCall | None = None,
    *,
    factor: float = 1.0,
    version: str = "1",
    **options: Any,
) -> Rung:
    """A rung that reads the item's name; `name/version` is its producer."""
    return Rung(
        name=name,
        factor=factor,
        call=call or makes(),
        reads=options.pop("reads", (READS,)),
        producer=lambda _resources: f"{name}/{version}",
        **options,
    )


def make_stage(*rungs: Rung, **options: Any) -> Stage:
    """A stage of these rungs; without any, of a primary (1.0) and a fallback (0.9)."""
    return Stage(
        name="labels",
        description="Labels for tests.",
        values=(LABEL,),
        rungs=rungs or (make_rung(), make_rung("fallback", factor=0.9)),
        skip_factor=options.pop("skip_factor", 0.5),
        **options,
    )


def make_row(status: Status = Status.OK, **columns: Any) -> Row:
    """A row of item `a`; an `ok` one was made by the primary unless it says otherwise."""
    ok = {"rung": "primary", "quality": 1.0, "producer": "primary/1", "values": ("chair",)}
    defaults: dict[str, Any] = ok if status is Status.OK else {"values": (None,)}
    columns = {"id": ("a",), "updated_at": NOW, **defaults, **columns}
    return Row(status=status, **columns)


def make_planned(work: Work, stage: Stage, **options: Any) -> Planned:
    """Work that may be given to every rung."""
    planned = Planned(work, Reason.PENDING, len(stage.rungs), None)
    return replace(planned, **options)


def make_stamp(stage: Stage, *, now: datetime = NOW, run_id: str = "run") -> Stamp:
    """The stamp of a run at `now`."""
    return Stamp(run_id, now, Keys.of(stage, None))


def make_situation(
    stage: Stage,
    *,
    now: datetime = NOW,
    available: Iterable[bool] | None = None,
    force: bool = False,
    decisions: Mapping[RowId, Decision] | None = None,
) -> Situation:
    """A situation in which, unless told otherwise, every rung is available."""
    up = [True] * len(stage.rungs) if available is None else list(available)
    return Situation(Keys.of(stage, None), now, up, force, decisions or {})


@dataclass(frozen=True, slots=True)
class FakePermit:
    """A permit that writes down what came of it."""

    name: str
    gate: "FakeGate"

    def success(self, _seconds: float) -> None:
        """Write it down."""
        self.gate.results.append((self.name, "success"))

    def failure(self, error: RowError, _seconds: float) -> None:
        """Write it down, with the kind of the error."""
        self.gate.results.append((self.name, str(error.kind)))
        self.gate.failures[self.name] += 1

    def release(self) -> None:
        """Write it down."""
        self.gate.results.append((self.name, "released"))


@dataclass(slots=True)
class FakeGate:
    """Breakers that open for good after `threshold` failures (None: never)."""

    threshold: int | None = None
    granted: list[str] = field(default_factory=list)
    results: list[tuple[str, str]] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    closed_to: frozenset[str] = frozenset()

    def permit(self, rung: str, scope: str) -> Permit | CircuitOpen:
        """A permit, until too much has failed."""
        name = f"{rung}@{scope}" if scope else rung
        tripped = self.threshold is not None and self.failures[name] >= self.threshold
        if tripped or name in self.closed_to:
            return CircuitOpen(f"breaker {name} is open")
        self.granted.append(name)
        return FakePermit(name, self)


@dataclass(slots=True)
class FakeBudget:
    """So much money for rows of any price, and so many retries (None: no end of either)."""

    rows: int | None = None
    tokens: int | None = None
    spent: list[tuple[float, int]] = field(default_factory=list)
    earned: int = 0

    def spend(self, cost_usd: float, rows: int) -> Granted:
        """As many rows as are left."""
        granted = rows if self.rows is None else min(rows, self.rows)
        if self.rows is not None:
            self.rows -= granted
        self.spent.append((cost_usd, granted))
        return Granted(granted, OverBudget("no money left") if granted < rows else None)

    def give_back(self, cost_usd: float, rows: int) -> None:
        """Write it down."""
        self.spent.append((cost_usd, -rows))

    def retries(self, rows: int) -> int:
        """As many as are left."""
        granted = rows if self.tokens is None else min(rows, self.tokens)
        if self.tokens is not None:
            self.tokens -= granted
        return granted

    def succeeded(self, rows: int) -> None:
        """Write it down."""
        self.earned += rows

    def paused(self) -> str | None:
        """Never."""
        return None


@dataclass(slots=True)
class FakeWatch:
    """Writes down what is called; nobody could replace this process."""

    calls: list[tuple[str, int]] = field(default_factory=list)
    lost: list[BaseException] = field(default_factory=list)

    def calling(self, rung: str, rows: Sequence[RowId], deadline_s: float) -> None:
        """Write it down."""
        assert deadline_s > 0
        self.calls.append((rung, len(rows)))

    def answered(self) -> None:
        """Nobody waits for it."""

    def stopped(self) -> bool:
        """Nobody asks for an end."""
        return False

    def context_lost(self, error: BaseException) -> None:
        """Write it down."""
        self.lost.append(error)


@dataclass(slots=True)
class Stopwatch:
    """A timer that goes on by a second each time it is read."""

    at: float = 0.0

    def __call__(self) -> float:
        """The time."""
        self.at += 1.0
        return self.at


@dataclass(slots=True)
class Climbed:
    """What a climb left behind."""

    climbs: list[Attempt]
    gate: FakeGate
    stats: dict[str, RungStats]
    sizes: BatchSizes
    budget: FakeBudget
    watch: FakeWatch
    slept: list[float]

    @property
    def rungs(self) -> list[int | None]:
        """The rung that made each row."""
        return [each.rung for each in self.climbs]

    @property
    def kinds(self) -> list[list[str]]:
        """The kinds of the errors that each row met."""
        return [[str(error.kind) for error in each.errors] for each in self.climbs]


def climb_with(
    stage: Stage,
    works: Iterable[Work],
    gate: FakeGate | None = None,
    sizes: BatchSizes | None = None,
    budget: FakeBudget | None = None,
    *,
    called_away: bool = False,
    hung: Mapping[RowId, Mapping[str, str]] | None = None,
    **planned_as: Any,
) -> Climbed:
    """Take works through the chain of `stage`, planned for every rung or as told.

    The jitter is always the most that it may be, and a wait takes no time but the timer's.
    """
    gate, sizes, budget = gate or FakeGate(), sizes or BatchSizes(), budget or FakeBudget()
    stats: dict[str, RungStats] = {}
    clock, watch, slept = Stopwatch(), FakeWatch(), list[float]()

    def sleep(seconds: float) -> bool:
        slept.append(seconds)
        clock.at += seconds
        return not called_away

    env = Environment(
        resources=None,
        keys=Keys.of(stage, None),
        gate=gate,
        budget=budget,
        sizes=sizes,
        watch=watch,
        hung=hung or {},
        timer=clock,
        sleep=sleep,
        draw=lambda _low, high: high,
    )
    planned = [make_planned(work, stage, **planned_as) for work in works]
    climbs = climb(stage, planned, env, stats)
    return Climbed(climbs, gate, stats, sizes, budget, watch, slept)


def many(count: int) -> list[Work]:
    """Works named 0, 1, 2 and so on."""
    return [make_work(str(number)) for number in range(count)]
