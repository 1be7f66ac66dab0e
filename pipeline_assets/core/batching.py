"""How large a call is: batches that fit into memory, and what is too large taken apart."""

from pipeline_assets.core.attempt import Attempt
from pipeline_assets.core.calls import Caller
from pipeline_assets.errors import ResourceExhausted, RowError, TooLarge


def call_in_batches(caller: Caller, rows: list[Attempt]) -> list[tuple[Attempt, RowError]]:
    """One answered call for each row, in batches that fit; those that may be called for again.

    Out of memory halves the batch for this and later calls. What is too large may be one row or all
    of them together: only each half can tell.
    """
    env, name = caller.env, caller.name
    failed: list[tuple[Attempt, RowError]] = []
    while rows:
        size = min(env.sizes.size(name, caller.stage.micro_batch), len(rows))
        batch, permits, rows = caller.permitted(rows[:size], rows[size:])
        if not batch:
            continue
        answers, seconds = caller.call(batch)
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
            env.sizes.note(name, len(batch), fitted=not isinstance(answers, RowError))
            failed.extend(caller.settle(batch, answers, permits, seconds))
    return failed
