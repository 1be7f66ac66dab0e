"""How large a call is: batches that fit into memory, and what is too large taken apart."""

from pipeline_assets.core.attempt import Attempt
from pipeline_assets.core.batched import batched
from pipeline_assets.core.calls import Caller
from pipeline_assets.core.narrowing import narrower
from pipeline_assets.core.outcomes import Uncountable
from pipeline_assets.errors import ResourceExhausted, RowError, TooLarge


def call_in_batches(caller: Caller, rows: list[Attempt]) -> list[tuple[Attempt, RowError]]:
    """One answered call for each row, in batches that fit; those that may be called for again.

    Out of memory halves the batch for this and later calls, and a call that took more than its
    share of the deadline makes later ones smaller. What is too large may be one row or all of them
    together: only each half can tell. A wrong number of outcomes is narrowed down to the rows that
    bring it about.
    """
    env, name = caller.env, caller.name
    failed: list[tuple[Attempt, RowError]] = []
    while rows:
        size = min(env.sizes.size(name, caller.stage.micro_batch), len(rows))
        batch, permits, rows = caller.permitted(rows[:size], rows[size:])
        if not batch:
            continue
        answers, seconds = caller.call(batch)
        if isinstance(answers, Uncountable):
            if len(batch) > 1:
                # A rung that always does this opens its breaker with the first few single rows.
                caller.unmade(batch, permits, answers.error, paid=True)
                for part in batched(batch, narrower(len(batch))):
                    failed.extend(call_in_batches(caller, part))
                continue
            answers = answers.error
        if isinstance(answers, ResourceExhausted) and len(batch) > 1:
            caller.unmade(batch, permits, answers)
            env.sizes.too_large(name, len(batch))
            rows = [*batch, *rows]
        elif isinstance(answers, TooLarge) and len(batch) > 1:
            caller.unmade(batch, permits, answers)
            half = len(batch) // 2
            failed.extend(call_in_batches(caller, batch[:half]))
            failed.extend(call_in_batches(caller, batch[half:]))
        else:
            share = caller.share_of_deadline(batch, seconds)
            if share > 1 and len(batch) > 1:
                env.sizes.too_slow(name, len(batch), 1 / share)
            else:
                env.sizes.note(name, len(batch), fitted=not isinstance(answers, RowError))
            failed.extend(caller.settle(batch, answers, permits, seconds))
    return failed
