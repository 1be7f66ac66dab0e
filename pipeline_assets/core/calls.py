"""Calling a rung: with a permit, within budget, in batches that fit, again where it helps."""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache

from pipeline_assets.core.budget import Again, Later, next_try
from pipeline_assets.core.climb import Climb, Environment, Permit, RungStats
from pipeline_assets.core.outcomes import checked
from pipeline_assets.core.results import LONGEST_WAIT
from pipeline_assets.core.rows import Made, Outcome, Work
from pipeline_assets.core.stage import Rung, Stage
from pipeline_assets.errors import (
    CircuitOpen,
    ResourceExhausted,
    RowError,
    StorageError,
    TooLarge,
    UpstreamMissing,
    classify,
    is_context_lost,
)

log = logging.getLogger(__name__)

Answers = Sequence[Outcome] | RowError
"""One outcome per row, or the error of the whole call."""


@dataclass(frozen=True, slots=True)
class _Failed:
    """A row that a rung failed in passing, why, and whether that was an attempt of its own."""

    climb: Climb
    error: RowError
    charged: bool


@dataclass(frozen=True, slots=True)
class _Caller:
    """One rung of one stage, called with rows of one micro-batch.

    `alive` are, once rows are tried again, the scopes that have made something of the others.
    """

    stage: Stage
    number: int
    env: Environment
    stats: RungStats
    alive: frozenset[str] = frozenset()

    @property
    def rung(self) -> Rung:
        return self.stage.rungs[self.number]

    @property
    def name(self) -> str:
        return f"{self.stage.name}.{self.rung.name}"


def call_rung(
    stage: Stage, number: int, candidates: Sequence[Climb], env: Environment, stats: RungStats
) -> None:
    """Call a rung on all candidates; what fails in passing is tried again as its backoff says."""
    caller = _Caller(stage, number, env, stats)
    began = env.timer()
    failed = _call_all(caller, list(candidates))
    tries = 1
    while failed:
        again = _wait(caller, failed, tries, began)
        failed = _call_all(replace(caller, alive=_alive(caller.rung, candidates)), again)
        tries += 1


def _alive(rung: Rung, candidates: Sequence[Climb]) -> frozenset[str]:
    """The scopes that have made something of their share."""
    shares = _by_scope(rung, candidates).items()
    return frozenset(scope for scope, share in shares if any(each.made for each in share))


def _wait(caller: _Caller, failed: list[_Failed], tries: int, began: float) -> list[Climb]:
    """Wait for those that may be tried again; the others have their error and fall on."""
    rung, env = caller.rung, caller.env
    elapsed = env.timer() - began
    once = cache(env.draw)  # one draw for all rows: they are called together
    again: list[tuple[_Failed, float]] = []
    for each in failed:
        answer = (
            None
            if rung.backoff is None
            else next_try(rung.backoff, tries, elapsed, each.error.retry_after, once)
        )
        if isinstance(answer, Again):
            again.append((each, answer.wait_s))
        else:
            _give_up(each, rung, answer)
    granted = env.budget.retries(len(again)) if again else 0
    for each, _wait_s in again[granted:]:
        _give_up(each, rung, None)
    if granted and not env.sleep(max(wait_s for _failed, wait_s in again[:granted])):
        # Called away: whoever asked for time has not had it.
        for each, wait_s in again[:granted]:
            _give_up(each, rung, Later(wait_s, asked=each.error.retry_after is not None))
        return []
    return [_held(each) for each, _wait_s in again[:granted]]


def _held(failed: _Failed) -> Climb:
    failed.climb.passing = failed.error
    return failed.climb


def _give_up(failed: _Failed, rung: Rung, later: Later | None) -> None:
    """Fall on with the error; a try that ended in being asked to wait longer is not charged."""
    climb, error = failed.climb, failed.error
    if later is not None and later.asked:
        climb.tries -= failed.charged
        climb.deferred = True
    if later is not None:
        wait_s = min(later.wait_s, LONGEST_WAIT.total_seconds())
        error = type(error)(error.message, retry_after=timedelta(seconds=wait_s))
    note(climb, rung, error)


def _call_all(caller: _Caller, queue: list[Climb]) -> list[_Failed]:
    """One call for each row, in batches that fit into memory; the rows that may be tried again."""
    env, stage = caller.env, caller.stage
    failed: list[_Failed] = []
    while queue:
        size = min(env.sizes.size(caller.name, stage.micro_batch), len(queue))
        batch, permits, queue = _permitted(caller, queue[:size], queue[size:])
        if not batch:
            continue
        answers, seconds = _call(caller, batch)
        if isinstance(answers, ResourceExhausted) and len(batch) > 1:
            _unmade(caller, batch, permits, answers)
            env.sizes.too_large(caller.name, len(batch))
            queue = [*batch, *queue]
        elif isinstance(answers, TooLarge) and len(batch) > 1:
            # One row may be too large, or all of them together: only each half can tell.
            _unmade(caller, batch, permits, answers)
            half = len(batch) // 2
            failed.extend(_call_all(caller, batch[:half]))
            failed.extend(_call_all(caller, batch[half:]))
        else:
            env.sizes.note(caller.name, len(batch), fitted=not isinstance(answers, RowError))
            failed.extend(_settle(caller, batch, answers, permits, seconds))
    return failed


def _permitted(
    caller: _Caller, batch: list[Climb], rest: list[Climb]
) -> tuple[list[Climb], dict[str, Permit], list[Climb]]:
    """The rows that breakers and budget let through, with one permit for each scope among them.

    Who refused is not asked again for the rest: where only single rows fit into memory, each of
    them would ask. What is left of the rest comes back.
    """
    allowed: list[Climb] = []
    permits: dict[str, Permit] = {}
    for scope, rows in _by_scope(caller.rung, batch).items():
        answer = caller.env.gate.permit(caller.name, scope)
        if isinstance(answer, CircuitOpen):
            rest = _refuse_all(caller, scope, rows, rest, answer)
        else:
            permits[scope] = answer
            allowed.extend(rows)
    paid, rest = _paid(caller, allowed, rest)
    if not paid:
        _release(permits.values())
    return paid, permits, rest


def _refuse_all(
    caller: _Caller, scope: str, rows: list[Climb], rest: list[Climb], why: CircuitOpen
) -> list[Climb]:
    """Refuse a scope's rows, and those among the rest; the others of the rest."""
    refused = [*rows, *_by_scope(caller.rung, rest).get(scope, ())]
    for each in refused:
        _refuse(each, caller.rung, why)
    gone = {id(each) for each in refused}
    return [each for each in rest if id(each) not in gone]


def _paid(
    caller: _Caller, allowed: list[Climb], rest: list[Climb]
) -> tuple[list[Climb], list[Climb]]:
    """The rows that the budget has money for, and the rest, if there may be some left for it."""
    cost = caller.rung.cost_usd
    if not (cost and allowed):
        return allowed, rest
    granted = caller.env.budget.spend(cost, len(allowed))
    if granted.refusal is None:
        return allowed, rest
    for each in (*allowed[granted.rows :], *rest):
        _refuse(each, caller.rung, granted.refusal)
    return allowed[: granted.rows], []


def _unmade(
    caller: _Caller, batch: list[Climb], permits: dict[str, Permit], error: RowError
) -> None:
    """The call did not fit and is made again in smaller ones: it proves and costs nothing."""
    _release(permits.values())
    caller.stats.errors[str(error.kind)] += 1
    if caller.rung.cost_usd:
        caller.env.budget.give_back(caller.rung.cost_usd, len(batch))


def _refuse(each: Climb, rung: Rung, why: RowError) -> None:
    """No call, or no further one: then what the last one failed with is worth more than `why`."""
    note(each, rung, each.passing or why)


def _by_scope(rung: Rung, batch: Sequence[Climb]) -> dict[str, list[Climb]]:
    """The rows by their breaker's scope; those that a rung cannot place share the unnamed one."""
    if rung.scope is None:
        return {"": list(batch)}
    by_scope: dict[str, list[Climb]] = defaultdict(list)
    for each in batch:
        by_scope[_scope(rung, rung.scope, each.planned.work)].append(each)
    return by_scope


def _scope(rung: Rung, scope: Callable[[Work], str], work: Work) -> str:
    try:
        return scope(work)
    except Exception:
        log.exception("%s: no scope for %s", rung.name, work.id)
        return ""


def _call(caller: _Caller, batch: list[Climb]) -> tuple[Answers, float]:
    """The answers, and the seconds that the call took."""
    stage, rung, env, stats = caller.stage, caller.rung, caller.env, caller.stats
    works = tuple(_works(caller, batch))  # so that no rung can take rows out of it
    env.watch.calling(caller.name, [work.id for work in works])
    started = env.timer()
    answers: Answers
    try:
        given = rung.call(env.resources, works)
        answers = given if isinstance(given, RowError) else checked(stage, rung, works, given)
    except StorageError:  # our own disk, not the rows: the run ends, what is committed stays
        raise
    except Exception as error:  # noqa: BLE001 - every failure of a rung is a status, never a crash
        if is_context_lost(error):
            env.watch.context_lost(error)
        answers = classify(error, rung.name)
    elapsed = env.timer() - started
    stats.calls += 1
    stats.seconds += elapsed
    share = elapsed / len(batch)
    for each in batch:
        each.seconds += share
    return answers, elapsed


def _works(caller: _Caller, batch: list[Climb]) -> list[Work]:
    works = [each.planned.work for each in batch]
    if not caller.rung.keyed:
        return works
    return [replace(work, key=caller.env.keys.key(work, caller.number)) for work in works]


def _settle(
    caller: _Caller,
    batch: list[Climb],
    answers: Answers,
    permits: dict[str, Permit],
    seconds: float,
) -> list[_Failed]:
    """Give every row its outcome and every permit its result; the rows that may be tried again."""
    rung, stats = caller.rung, caller.stats
    outcomes = [answers] * len(batch) if isinstance(answers, RowError) else answers
    failed, made = [], 0
    for each, outcome in zip(batch, outcomes, strict=True):
        each.cost_usd += rung.cost_usd
        each.called = True
        if isinstance(outcome, Made):
            _charge(each, caller.number)
            each.made, each.rung, each.passing = outcome, caller.number, None
            made += 1
            continue
        stats.errors[str(outcome.kind)] += 1
        charged = not isinstance(outcome, UpstreamMissing) and _charge(each, caller.number)
        if rung.backoff is not None and outcome.transient:
            failed.append(_Failed(each, outcome, charged))
        else:
            note(each, rung, outcome)
    stats.rows += len(batch)
    stats.made += made
    if rung.backoff is not None:
        caller.env.budget.succeeded(made)
    _report(caller, permits, batch, outcomes, seconds)
    return failed


def _charge(each: Climb, rung: int) -> bool:
    """One attempt for the first answered call of a climb, and one for each repeated call."""
    charged = not each.deferred and (each.tries == 0 or each.asked == rung)
    each.tries += charged
    each.asked = rung
    return charged


def _report(
    caller: _Caller,
    permits: dict[str, Permit],
    batch: list[Climb],
    outcomes: Sequence[Outcome],
    seconds: float,
) -> None:
    """Tell each permit what came of its share of the call; none of it: it goes back."""
    of_row = {id(each): outcome for each, outcome in zip(batch, outcomes, strict=True)}
    by_scope = _by_scope(caller.rung, batch)
    for scope, permit in permits.items():
        share = [of_row[id(each)] for each in by_scope.get(scope, ())]
        _tell(permit, share, seconds, alive=scope in caller.alive)


def _tell(permit: Permit, outcomes: Sequence[Outcome], seconds: float, *, alive: bool) -> None:
    """One result per call: it failed if something could pass later and nothing came of it.

    Data errors never count: a call that only found bad data was answered. Where the others of the
    micro-batch had their values (`alive`), a repeated call of just those that failed proves nothing
    by failing: they were picked for it.
    """
    transient = next((o for o in outcomes if isinstance(o, RowError) and o.transient), None)
    made = any(isinstance(outcome, Made) for outcome in outcomes)
    if not outcomes or (transient is not None and not made and alive):
        permit.release()
    elif transient is not None and not made:
        permit.failure(transient, seconds)
    else:
        permit.success(seconds)


def _release(permits: Iterable[Permit]) -> None:
    for permit in permits:
        permit.release()


def note(each: Climb, rung: Rung, error: RowError) -> None:
    """The row has its error and falls on, unless the rung holds such an error for final."""
    each.errors.append(error)
    each.passing = None
    each.stopped = error.kind not in rung.falls_through
