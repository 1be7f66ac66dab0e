"""Climbing down a chain: every row is tried on the best rung that may have it.

A row that fails on a rung goes to the next one alone; the rest of the batch keeps its result. The
outcome of every call is counted. Nothing here sleeps, stores or knows a clock but the one given.
"""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pipeline_assets.core.plan import Planned, Reason
from pipeline_assets.core.rows import Made, Outcome, Work
from pipeline_assets.core.sizes import BatchSizes
from pipeline_assets.core.stage import Rung, Stage
from pipeline_assets.errors import (
    CircuitOpen,
    ConstraintBroken,
    Internal,
    ResourceExhausted,
    RowError,
    StorageError,
    UpstreamMissing,
    classify,
)

log = logging.getLogger(__name__)


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


@dataclass(frozen=True, slots=True)
class Environment:
    """What a climb needs from around it. `timer` gives seconds on any monotonic clock."""

    resources: Any
    gate: Gate
    sizes: BatchSizes
    timer: Callable[[], float]


@dataclass(slots=True)
class Climb:
    """How one row fared: the value and the rung that made it, and every error on the way.

    `charged` says whether it costs an attempt: a call was answered, with a value or an error of
    its own. A look that finds nothing upstream (no earlier copy) is no attempt.
    """

    planned: Planned
    made: Made | None = None
    rung: int | None = None
    errors: list[RowError] = field(default_factory=list)
    called: bool = False
    charged: bool = False
    stopped: bool = False
    cost_usd: float = 0.0
    seconds: float = 0.0


def climb(
    stage: Stage, planned: Sequence[Planned], env: Environment, stats: dict[str, RungStats]
) -> list[Climb]:
    """Take rows through the chain; one `Climb` per row, in order. Adds to `stats` per rung."""
    climbs = [Climb(row) for row in planned]
    for number, rung in enumerate(stage.rungs):
        waiting = [
            each
            for each in climbs
            if each.made is None and not each.stopped and number < each.planned.ceiling
        ]
        if not waiting:
            continue
        candidates = _admitted(stage, rung, waiting, env.resources)
        if candidates:
            _call_rung(stage, number, candidates, env, stats.setdefault(rung.name, RungStats()))
    return climbs


def _recalled(
    stage: Stage, number: int, candidates: list[Climb], env: Environment, stats: RungStats
) -> list[Climb]:
    """Settle the rows whose result is kept from equal work; the others are to be called for."""
    rung = stage.rungs[number]
    if rung.recall is None:
        return candidates
    # Whoever forces a row wants the work done again, not its memory.
    asked = [each for each in candidates if each.planned.reason is not Reason.FORCED]
    try:
        kept = rung.recall(env.resources, [each.planned.work for each in asked])
        pairs = list(zip(asked, kept, strict=True))
    except Exception:
        log.exception("%s: nothing could be recalled, every row is worked on", rung.name)
        return candidates
    required = _required(stage)
    for each, made in pairs:
        if made is not None and isinstance(_checked_one(stage, rung, made, required), Made):
            each.made, each.rung = made, number
            stats.recalled += 1
    return [each for each in candidates if each.made is None]


def _admitted(stage: Stage, rung: Rung, waiting: list[Climb], resources: Any) -> list[Climb]:
    """The rows that may be given to the rung; the others get their reason without a call."""
    family = rung.family(resources) if stage.agreement else None
    admitted = []
    for each in waiting:
        refusal = _refusal(stage, rung, family, each.planned.work)
        if refusal is None:
            admitted.append(each)
        else:
            _note(each, rung, refusal)
    return admitted


def _refusal(stage: Stage, rung: Rung, family: str | None, work: Work) -> RowError | None:
    try:
        missing = rung.requires(work)
    except Exception as error:  # noqa: BLE001 - a declaration that fails is a status, never a crash
        return classify(error, f"{rung.name}.requires")
    if missing is not None:
        return UpstreamMissing(missing)
    if stage.agreement is None or family is None:
        return None
    wanted = work[stage.agreement.field]
    if wanted is None or wanted == family:
        return None
    return ConstraintBroken(
        f"{rung.name} would give {family!r}, but {stage.agreement.field} is {wanted!r}"
    )


def _call_rung(
    stage: Stage, number: int, candidates: list[Climb], env: Environment, stats: RungStats
) -> None:
    """Call a rung on all candidates, in batches that fit into memory."""
    rung = stage.rungs[number]
    name = f"{stage.name}.{rung.name}"
    queue = _recalled(stage, number, candidates, env, stats)
    while queue:
        size = min(env.sizes.size(name, stage.micro_batch), len(queue))
        batch, permits = _permitted(rung, name, queue[:size], env.gate)
        rest = queue[size:]
        if batch:
            outcomes, seconds = _call(stage, rung, batch, env, stats)
            if isinstance(outcomes, ResourceExhausted) and len(batch) > 1:
                _release(permits.values())
                env.sizes.too_large(name, len(batch))
                stats.errors[str(outcomes.kind)] += 1
                rest = [*batch, *rest]
            else:
                env.sizes.note(name, len(batch), fitted=not isinstance(outcomes, RowError))
                _settle(rung, number, batch, outcomes, permits, seconds)
                _count(stats, outcomes, len(batch))
        queue = rest


def _permitted(
    rung: Rung, name: str, batch: list[Climb], gate: Gate
) -> tuple[list[Climb], dict[str, Permit]]:
    """The rows whose breaker lets a call through, with one permit for each scope among them."""
    answers: dict[str, Permit | CircuitOpen] = {}
    allowed = []
    for each in batch:
        scope = _scope(rung, each.planned.work)
        if scope not in answers:
            answers[scope] = gate.permit(name, scope)
        answer = answers[scope]
        if isinstance(answer, CircuitOpen):
            _note(each, rung, answer)
        else:
            allowed.append(each)
    permits = {s: a for s, a in answers.items() if not isinstance(a, CircuitOpen)}
    return allowed, permits


def _scope(rung: Rung, work: Work) -> str:
    """The breaker's scope for a row; a row that a rung cannot place shares the unnamed one."""
    try:
        return rung.scope(work)
    except Exception:
        log.exception("%s: no scope for %s", rung.name, work.id)
        return ""


def _call(
    stage: Stage, rung: Rung, batch: list[Climb], env: Environment, stats: RungStats
) -> tuple[Sequence[Outcome] | RowError, float]:
    """The outcomes, or the error of the whole call, and the seconds that it took."""
    started = env.timer()
    try:
        outcomes: Sequence[Outcome] | RowError = rung.call(
            env.resources, [each.planned.work for each in batch]
        )
        if not isinstance(outcomes, RowError):
            outcomes = _checked(stage, rung, outcomes, len(batch))
    except StorageError:  # our own disk, not the rows: the run ends, what is committed stays
        raise
    except Exception as error:  # noqa: BLE001 - every failure of a rung is a status, never a crash
        outcomes = classify(error, rung.name)
    elapsed = env.timer() - started
    stats.calls += 1
    stats.seconds += elapsed
    for each in batch:
        each.seconds += elapsed / len(batch)
    return outcomes, elapsed


def _checked(
    stage: Stage, rung: Rung, outcomes: Sequence[object], rows: int
) -> Sequence[Outcome] | RowError:
    """What a rung gave, with `Internal` in place of what no rung may give."""
    if len(outcomes) != rows:
        return Internal(
            f"{rung.name} gave {len(outcomes)} outcomes for {rows} rows; "
            "a rung gives one outcome per row"
        )
    required = _required(stage)
    return [_checked_one(stage, rung, outcome, required) for outcome in outcomes]


def _required(stage: Stage) -> list[int]:
    """The positions of the value columns that an `ok` row always has."""
    return [at for at, value in enumerate(stage.values) if value.name in stage.required]


def _checked_one(stage: Stage, rung: Rung, outcome: object, required: Sequence[int]) -> Outcome:
    """The outcome, unless the table could not hold it: one such row would refuse the hour."""
    if isinstance(outcome, RowError):
        return outcome
    if not isinstance(outcome, Made):
        return Internal(f"{rung.name} gave {type(outcome).__name__}, not Made or a RowError")
    if len(outcome.values) != len(stage.values):
        return Internal(
            f"{rung.name} made {len(outcome.values)} values; the table has {len(stage.values)} "
            "columns for them"
        )
    for share in (outcome.quality, outcome.confidence):
        if share is not None and not 0 <= share <= 1:
            return Internal(f"{rung.name} gave a quality or confidence of {share}, not 0..1")
    for position in required:
        if outcome.values[position] is None:
            return Internal(f"{rung.name} made no {stage.values[position].name}, which is required")
    return outcome


def _settle(
    rung: Rung,
    number: int,
    batch: list[Climb],
    outcomes: Sequence[Outcome] | RowError,
    permits: dict[str, Permit],
    seconds: float,
) -> None:
    """Give every row its outcome and every permit its result."""
    each_outcome = [outcomes] * len(batch) if isinstance(outcomes, RowError) else outcomes
    by_scope: dict[str, list[Outcome]] = {scope: [] for scope in permits}
    for each, outcome in zip(batch, each_outcome, strict=True):
        by_scope[_scope(rung, each.planned.work)].append(outcome)
        each.cost_usd += rung.cost_usd
        each.called = True
        each.charged = each.charged or not isinstance(outcome, UpstreamMissing)
        if isinstance(outcome, Made):
            each.made, each.rung = outcome, number
        else:
            _note(each, rung, outcome)
    for scope, permit in permits.items():
        _report(permit, by_scope[scope], seconds)


def _count(stats: RungStats, outcomes: Sequence[Outcome] | RowError, rows: int) -> None:
    each_outcome = [outcomes] * rows if isinstance(outcomes, RowError) else outcomes
    stats.rows += rows
    stats.made += sum(isinstance(outcome, Made) for outcome in each_outcome)
    stats.errors.update(
        str(outcome.kind) for outcome in each_outcome if isinstance(outcome, RowError)
    )


def _report(permit: Permit, outcomes: list[Outcome], seconds: float) -> None:
    """One result per call: it failed if something could pass later and nothing came of it.

    Data errors never count: a call that only found bad data was answered.
    """
    if not outcomes:
        permit.release()
        return
    transient = next((o for o in outcomes if isinstance(o, RowError) and o.transient), None)
    if transient is not None and not any(isinstance(outcome, Made) for outcome in outcomes):
        permit.failure(transient, seconds)
    else:
        permit.success(seconds)


def _release(permits: Any) -> None:
    for permit in permits:
        permit.release()


def _note(each: Climb, rung: Rung, error: RowError) -> None:
    each.errors.append(error)
    each.stopped = error.kind not in rung.falls_through
