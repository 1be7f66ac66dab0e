"""The engine's seam: one piece of an hour, worked on from its input rows to durable shards.

`process_shard` reads its own input rows, runs the whole chain over them in micro-batches, leaves
durable shards and returns a small manifest. Only crashes cross it. Whoever runs it, in this
process, in a worker or on another machine, runs the same function.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from pipeline_assets.core.chain import climb
from pipeline_assets.core.climb import Climb, Environment, RungStats, add_stats
from pipeline_assets.core.contract import check_contract
from pipeline_assets.core.narrowing import Suspects, batches
from pipeline_assets.core.plan import Planned, Reason, Situation, Standing, plan_row
from pipeline_assets.core.results import Stamp, untried, worked
from pipeline_assets.core.rows import Row, brought_up, from_table, to_table
from pipeline_assets.engine.inputs import read_ids, read_works
from pipeline_assets.engine.orders import Report
from pipeline_assets.errors import WorkerCrash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pipeline_assets.core.climb import Watch
    from pipeline_assets.core.fingerprint import Keys
    from pipeline_assets.core.rows import RowId, Work
    from pipeline_assets.core.stage import Stage
    from pipeline_assets.engine.orders import Order
    from pipeline_assets.resources import Resources
    from pipeline_assets.store.checkpoints import Checkpoints

Piece = tuple[str, str]
"""The first and the last item of a piece of an hour."""


class Unwatched:
    """The process that runs a piece itself: nobody could replace it."""

    def calling(self, rung: str, rows: Sequence[RowId]) -> None:
        """Nobody needs to know."""

    def context_lost(self, error: Exception) -> None:
        """The row's error says it."""


def _silent(_rows: int) -> None:
    return None


def _uncounted(_rungs: Mapping[str, RungStats]) -> None:
    return None


def _never() -> bool:
    return False


def _slept(seconds: float) -> bool:
    time.sleep(seconds)
    return True


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The process in which a piece is worked on.

    `progress` is told how many more rows are finished, and `counted` before it what the calls for
    them came to. When `stopped` says so, the micro-batch in hand is finished and the rest stays as
    it was. `again` means that the rows that stand have been told before.
    """

    watch: Watch = field(default_factory=Unwatched)
    progress: Callable[[int], None] = _silent
    counted: Callable[[Mapping[str, RungStats]], None] = _uncounted
    stopped: Callable[[], bool] = _never
    sleep: Callable[[float], bool] = _slept
    again: bool = False


def process_shard(
    order: Order,
    piece: Piece,
    resources: Resources,
    checkpoints: Checkpoints,
    keys: Keys,
    around: Surroundings,
    suspects: Suspects,
) -> Report:
    """Work on the items from the first to the last named: durable shards, and a manifest."""
    stage, manifest = order.stage, Report()
    to_climb, without_call = _divided(order, piece, resources, checkpoints, keys, manifest)
    if not around.again:
        around.progress(manifest.rows - len(to_climb))

    def keep(rows: Sequence[Row]) -> None:
        _checkpoint(stage, checkpoints, rows)

    stamp = Stamp(order.run_id, resources.clock(), keys)
    keep([untried(stage, each, stamp) for each in without_call])
    crashed = [each for each in to_climb if each.work.id in suspects.crashed]
    keep([worked(stage, _gave_up(each, suspects), stamp) for each in crashed])
    around.progress(len(crashed))
    alive = [each for each in to_climb if each.work.id not in suspects.crashed]
    env = _environment(stage, resources, keys, around)
    for batch in batches(alive, stage.micro_batch, suspects):
        if around.stopped():
            manifest.interrupted = True
            break
        rungs: dict[str, RungStats] = {}
        climbs = climb(stage, batch, env, rungs)
        stamp = Stamp(order.run_id, resources.clock(), keys)
        keep([worked(stage, each, stamp) for each in climbs])
        add_stats(manifest.rungs, rungs)
        around.counted(rungs)
        around.progress(len(batch))
    return manifest


def decisions(
    order: Order, piece: Piece, resources: Resources, checkpoints: Checkpoints, keys: Keys
) -> Iterator[tuple[Work, Planned | Standing]]:
    """The decision about every row of a piece."""
    stage = order.stage
    gate = resources.breakers.gate(stage.breaker)
    situation = Situation(
        keys=keys,
        now=resources.clock(),
        available=[gate.available(f"{stage.name}.{rung.name}") for rung in stage.rungs],
        force=order.force,
        decisions=resources.decisions.of(stage.name, order.hour),
    )
    stands = present(order, piece, resources, checkpoints)
    old = {row.id: row for row in from_table(stands, len(stage.key_fields))}
    for work in read_works(resources.tables, stage, order.hour, piece, order.strict):
        if order.items and work.id[0] not in order.items:
            yield work, Standing.NOT_ASKED_FOR
            continue
        decision = plan_row(stage, work, old.get(work.id), situation)
        if order.only_improvable and isinstance(decision, Planned):
            decision = _narrowed(stage, decision, situation.available)
        yield work, decision


def _narrowed(stage: Stage, decision: Planned, available: Sequence[bool]) -> Planned | Standing:
    """A changed producer alone makes no row better; a better rung does, whatever has changed."""
    old = decision.old
    if decision.reason is not Reason.PRODUCER_CHANGED or old is None:
        return decision
    improvable = old.retryable and any(available[: stage.index(old.rung)])
    return decision if improvable else Standing.NOT_ASKED_FOR


def present(order: Order, piece: Piece, resources: Resources, checkpoints: Checkpoints) -> pa.Table:
    """What is known of these items now: the table, with the shards laid over it.

    Both may be from before a column was added.
    """
    parts = [order.stage.schema.empty_table()]
    if resources.tables.exists(order.stage.name, order.hour):
        parts.append(resources.tables.read(order.stage.name, order.hour, items=piece))
    parts.extend(checkpoints.read(*piece))
    table = pa.concat_tables([brought_up(part, order.stage.schema) for part in parts])
    if table.num_rows == pc.count_distinct(table["item_id"]).as_py():
        return table
    latest = {row_id: position for position, row_id in enumerate(read_ids(table))}
    if len(latest) == table.num_rows:
        return table
    return table.take(pa.array(latest.values(), pa.int64()))


def _divided(
    order: Order,
    piece: Piece,
    resources: Resources,
    checkpoints: Checkpoints,
    keys: Keys,
    manifest: Report,
) -> tuple[list[Planned], list[Planned]]:
    """The rows to take through the chain, and those to write without a call; the others stand."""
    to_climb: list[Planned] = []
    without_call: list[Planned] = []
    for work, decision in decisions(order, piece, resources, checkpoints, keys):
        manifest.rows += 1
        if isinstance(decision, Standing):
            manifest.standing[decision] += 1
            continue
        manifest.planned[decision.reason] += 1
        callable_ = work.blocked is None and order.stage.applies(work)
        (to_climb if callable_ else without_call).append(decision)
    return to_climb, without_call


def _environment(
    stage: Stage, resources: Resources, keys: Keys, around: Surroundings
) -> Environment:
    return Environment(
        resources=resources,
        keys=keys,
        gate=resources.breakers.gate(stage.breaker),
        budget=resources.budgets.stage(stage.name),
        sizes=resources.sizes,
        watch=around.watch,
        timer=time.perf_counter,
        sleep=around.sleep,
        draw=random.uniform,
    )


def _gave_up(planned: Planned, suspects: Suspects) -> Climb:
    cause = suspects.crashed[planned.work.id]
    deaths = suspects.deaths[planned.work.id]
    error = WorkerCrash(
        f"it killed its worker {deaths} times while alone in a call: {cause}. "
        "`pipeline-assets dead-letters requeue` tries it again"
    )
    return Climb(planned, errors=[error], tries=deaths)


def _checkpoint(stage: Stage, checkpoints: Checkpoints, rows: Sequence[Row]) -> None:
    """Make rows durable; a row that the table could not hold is refused before it is kept."""
    if rows:
        table = to_table(rows, stage.schema)
        check_contract(f"a shard of {stage.name}", table, stage.required)
        checkpoints.write(table)
