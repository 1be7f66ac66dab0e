"""Climbing down a chain: every row is tried on the best rung that may have it.

A row that fails on a rung goes to the next one alone; the rest of the batch keeps its result. The
outcome of every call is counted.
"""

import logging
from collections.abc import Sequence
from typing import Any

from pipeline_assets.core.attempt import Attempt
from pipeline_assets.core.calls import Caller
from pipeline_assets.core.environment import Environment, RungStats, add_stats
from pipeline_assets.core.outcomes import held
from pipeline_assets.core.plan import Planned, Reason
from pipeline_assets.core.retrying import call_until_settled
from pipeline_assets.core.rows import Made, Work
from pipeline_assets.core.stage import Rung, Stage
from pipeline_assets.errors import ConstraintBroken, RowError, Timeout, UpstreamMissing, classify

log = logging.getLogger(__name__)


def climb(
    stage: Stage, planned: Sequence[Planned], env: Environment, stats: dict[str, RungStats]
) -> list[Attempt]:
    """Take rows through the chain; one `Attempt` per row, in order. Adds to `stats` per rung."""
    attempts = [Attempt(row) for row in planned]
    for number, rung in enumerate(stage.rungs):
        waiting = [each for each in attempts if each.may_try(number)]
        caller = Caller(stage, number, env, RungStats())
        waiting = _not_hung(caller, waiting)
        if not waiting:
            continue
        to_call = _left_to_call_for(caller, waiting)
        if to_call or caller.stats.recalled:
            call_until_settled(caller, to_call)
            add_stats(stats, {rung.name: caller.stats})
    return attempts


def _not_hung(caller: Caller, waiting: list[Attempt]) -> list[Attempt]:
    """The rows over which the rung did not hang; for the others that was their call."""
    if not caller.env.hung:
        return waiting
    left = []
    for each in waiting:
        why = caller.env.hung.get(each.planned.work.id, {}).get(caller.name)
        if why is None:
            left.append(each)
            continue
        each.answered(Timeout(why), caller.number, caller.rung.cost_usd)
        each.fall(caller.rung, Timeout(why))
    return left


def _left_to_call_for(caller: Caller, waiting: list[Attempt]) -> list[Attempt]:
    """The rows that are to be called for; the others have their reason, or what was kept."""
    if not caller.rung.has_more_code:
        return _admitted(caller.stage, caller.rung, waiting, caller.env.resources)
    with caller.watched([each.planned.work for each in waiting]):
        candidates = _admitted(caller.stage, caller.rung, waiting, caller.env.resources)
        return _recalled(caller.stage, caller.number, candidates, caller.env, caller.stats)


def _admitted(stage: Stage, rung: Rung, waiting: list[Attempt], resources: Any) -> list[Attempt]:
    """The rows that may be given to the rung; the others get their reason without a call."""
    compared = stage.agreement is not None and rung.family is not None
    family = rung.family(resources) if compared and rung.family else None
    admitted = []
    for each in waiting:
        refusal = _refusal(stage, rung, family, each.planned.work)
        if refusal is None:
            admitted.append(each)
        else:
            each.fall(rung, refusal)
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


def _recalled(
    stage: Stage, number: int, candidates: list[Attempt], env: Environment, stats: RungStats
) -> list[Attempt]:
    """Settle the rows whose result is kept from equal work; the others are to be called for."""
    rung = stage.rungs[number]
    if rung.recall is None or not candidates:
        return candidates
    # Whoever forces a row wants the work done again, not its memory.
    asked = [each for each in candidates if each.planned.reason is not Reason.FORCED]
    try:
        kept = rung.recall(env.resources, [each.planned.work for each in asked])
        pairs = [pair for pair in zip(asked, kept, strict=True) if pair[1] is not None]
        works = [each.planned.work for each, _ in pairs]
        outcomes = held(stage, rung, works, [made for _, made in pairs])
    except Exception:
        log.exception("%s: nothing could be recalled, every row is worked on", rung.name)
        return candidates
    for (each, _), outcome in zip(pairs, outcomes, strict=True):
        if isinstance(outcome, Made):
            each.recalled(outcome, number)
            stats.recalled += 1
    return [each for each in candidates if each.made is None]
