"""Whether and when a rung is called again in the same run, for rows that it failed in passing."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from pipeline_assets.core.attempt import Attempt
from pipeline_assets.core.batching import call_in_batches
from pipeline_assets.core.budget import Again, Later, next_try
from pipeline_assets.core.calls import Caller, by_scope
from pipeline_assets.core.environment import Environment
from pipeline_assets.core.stage import Rung
from pipeline_assets.errors import RowError


def call_until_settled(caller: Caller, candidates: Sequence[Attempt]) -> None:
    """Call a rung with all candidates, and again as its backoff says; then the others fall on."""
    rung, env = caller.rung, caller.env
    began = env.timer()
    failed = call_in_batches(caller, list(candidates))
    tries = 1
    while failed:
        again = _after_a_wait(rung, env, failed, tries, env.timer() - began)
        shares = by_scope(rung, candidates).items()
        alive = frozenset(scope for scope, share in shares if any(each.made for each in share))
        failed = call_in_batches(replace(caller, alive=alive), again)
        tries += 1


def _after_a_wait(
    rung: Rung,
    env: Environment,
    failed: list[tuple[Attempt, RowError]],
    tries: int,
    elapsed_s: float,
) -> list[Attempt]:
    """Wait for those that may be called for again; the others fall on with their error."""
    once = cache(env.draw)  # one draw for all rows: they are called together
    waits: list[tuple[Attempt, RowError, float]] = []
    for each, error in failed:
        answer = (
            None
            if rung.backoff is None
            else next_try(rung.backoff, tries, elapsed_s, error.retry_after, once)
        )
        if isinstance(answer, Again):
            waits.append((each, error, answer.wait_s))
        else:
            each.give_up(rung, error, answer)
    granted = env.budget.retries(len(waits)) if waits else 0
    for each, error, _wait_s in waits[granted:]:
        each.give_up(rung, error, None)
    waits = waits[:granted]
    if waits and not env.sleep(max(wait_s for _each, _error, wait_s in waits)):
        # Called away: whoever asked for time has not had it.
        for each, error, wait_s in waits:
            each.give_up(rung, error, Later(wait_s, asked=error.retry_after is not None))
        return []
    for each, error, _wait_s in waits:
        each.hold(error)
    return [each for each, _error, _wait_s in waits]
