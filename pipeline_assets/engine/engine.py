"""The engine: takes one stage of one hour from its tables to its table.

    plan ─▶ micro-batch through the chain ─▶ durable shard ─▶ … ─▶ fold into the table ─▶ publish

An hour is divided into pieces, which worker processes share, or which this process works on itself
where PIPELINE_WORKERS is 0.
"""

from __future__ import annotations

import logging
import math
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline_assets.core.contract import check_contract
from pipeline_assets.core.fingerprint import Keys
from pipeline_assets.core.narrowing import Suspects
from pipeline_assets.core.plan import Planned, Standing
from pipeline_assets.core.rows import Row, to_table
from pipeline_assets.core.status import Status
from pipeline_assets.engine.inputs import read_ids, row_ids
from pipeline_assets.engine.orders import Order, Report
from pipeline_assets.engine.shard import Surroundings, decisions, present, process_shard
from pipeline_assets.engine.workers import Death, Task, shared_workers
from pipeline_assets.errors import CircuitOpen, Unavailable
from pipeline_assets.store.checkpoints import Checkpoints, Guard
from pipeline_assets.store.processes import available_cores
from pipeline_assets.store.rung_calls import keep_calls
from pipeline_assets.store.tables import ROW_GROUP_ROWS
from pipeline_assets.upkeep.recovery import recover

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pipeline_assets.core.rows import Work
    from pipeline_assets.core.stage import Stage
    from pipeline_assets.engine.shard import Piece
    from pipeline_assets.resources import Resources
    from pipeline_assets.state.leases import Lease

log = logging.getLogger(__name__)


def materialize(order: Order, resources: Resources, around: Surroundings | None = None) -> Report:
    """Bring the table of a stage and hour up to date, and publish it.

    When `around.stopped` says so, the micro-batches in hand are finished, the rest stays as it was,
    and the table is published with what there is. Raises `FileNotFoundError` for an hour whose
    items were never materialized (no items at all is a table of 0 rows), `LeaseHeld` while another
    run writes the same table, `LeaseLost` or `Overtaken` if this one slept too long, `StorageError`
    when the disk refuses.
    """
    started = time.monotonic()
    around = around or Surroundings()
    report = Report(forgotten=recover(resources))
    if not resources.tables.exists("items", order.hour):
        raise FileNotFoundError(
            f"items has no table for hour {order.hour}: materialize items for it first"
        )
    with resources.leases.acquire(f"{order.stage.name}/{order.hour}") as lease:
        # Before the lease is looked at: what a successor publishes after that is not replaced.
        seen = resources.tables.version(order.stage.name, order.hour)
        with lease.publishing():  # a predecessor that still writes a shard is waited for
            left_behind = _checkpoints(order, resources, seen)
        report.recovered_rows = left_behind.recovered_rows
        for manifest in _worked_on(order, resources, lease, left_behind, around, report):
            report.add(manifest)
        _publish_what_is_new(order, resources, lease, seen, report)
        with lease.publishing():
            keep_calls(
                resources.tables,
                order.stage.name,
                order.hour,
                order.run_id,
                resources.clock(),
                report.rungs,
            )
    report.seconds = time.monotonic() - started
    return report


def plan_hour(order: Order, resources: Resources) -> Iterator[tuple[Work, Planned | Standing]]:
    """The decision about every row of a stage and hour; changes nothing."""
    seen = resources.tables.version(order.stage.name, order.hour)
    checkpoints = _checkpoints(order, resources, seen, tidy=False)
    keys = Keys.of(order.stage, resources)
    for piece in resources.tables.pieces("items", order.hour, ROW_GROUP_ROWS):
        yield from decisions(order, piece, resources, checkpoints, keys)


def _worked_on(
    order: Order,
    resources: Resources,
    lease: Lease,
    left_behind: Checkpoints,
    around: Surroundings,
    report: Report,
) -> Iterator[Report]:
    """The manifest of each piece, in whatever order they are finished."""
    count = resources.settings.workers
    count = available_cores() if count is None else count
    share = min(count, order.stage.workers or count)
    pieces = resources.tables.pieces("items", order.hour, _rows_a_piece(order, resources, share))
    keys = Keys.of(order.stage, resources)
    if count == 0:
        checkpoints = _checkpoints(order, resources, left_behind.base, guard=lease.publishing)
        for piece in pieces:
            if around.stopped():
                yield Report(interrupted=True)
                return
            yield process_shard(order, piece, resources, checkpoints, keys, around, Suspects())
        return

    def tasks() -> Iterator[Task]:
        for piece in pieces:
            settled = _settled(order, piece, resources, left_behind, keys)
            if settled is None:
                yield _task(order, piece, resources, lease, left_behind.base)
            else:
                around.progress(settled.rows)
                report.add(settled)

    def died(death: Death) -> None:
        report.worker_deaths += 1
        _bury(order.stage, death, resources)

    yield from shared_workers(count).run(
        tasks(), share, progress=around.progress, stopped=around.stopped, died=died
    )
    report.interrupted |= around.stopped()


def _rows_a_piece(order: Order, resources: Resources, workers: int) -> int:
    """Small enough that all workers have some, and not smaller than a micro-batch."""
    share = math.ceil(resources.tables.rows("items", order.hour) / max(1, workers))
    return min(ROW_GROUP_ROWS, max(share, order.stage.micro_batch))


def _settled(
    order: Order, piece: Piece, resources: Resources, checkpoints: Checkpoints, keys: Keys
) -> Report | None:
    """The manifest of a piece in which every row stands; None where there is work in it.

    So that going through a finished hour starts no worker.
    """
    if not checkpoints and not resources.tables.exists(order.stage.name, order.hour):
        return None
    manifest = Report()
    for _work, decision in decisions(order, piece, resources, checkpoints, keys):
        if isinstance(decision, Planned):
            return None
        manifest.rows += 1
        manifest.standing[decision] += 1
    return manifest


def _checkpoints(
    order: Order,
    resources: Resources,
    base: str,
    *,
    tidy: bool = True,
    guard: Guard = nullcontext,
) -> Checkpoints:
    return Checkpoints(
        resources.shards, order.stage.name, order.hour, base=base, tidy=tidy, guard=guard
    )


def _task(order: Order, piece: Piece, resources: Resources, lease: Lease, base: str) -> Task:
    return Task(
        settings=resources.settings,
        stage=order.stage.name,
        hour=order.hour,
        run_id=order.run_id,
        items=order.items,
        force=order.force,
        only_improvable=order.only_improvable,
        strict=order.strict,
        piece=piece,
        lease=lease.name,
        token=lease.token,
        base=base,
    )


def _bury(stage: Stage, death: Death, resources: Resources) -> None:
    """Say that a worker died; it may be a failure of the rung, too."""
    if death.calling is None:
        log.warning("%s: a worker died between calls: %s", stage.name, death.cause)
        return
    rung, rows = death.calling.rung, death.calling.rows
    log.warning(
        "%s: a worker died in a call of %d rows (%s%s): %s; it is replaced",
        rung,
        len(rows),
        "/".join(rows[0]),
        " …" if len(rows) > 1 else "",
        death.cause,
    )
    if death.blames_rung:
        permit = resources.breakers.gate(stage.breaker).permit(rung, "")
        if not isinstance(permit, CircuitOpen):
            permit.failure(Unavailable(f"its worker died: {death.cause}"), 0.0)


def _publish_what_is_new(
    order: Order, resources: Resources, lease: Lease, seen: str, report: Report
) -> None:
    pieces = resources.tables.pieces("items", order.hour, ROW_GROUP_ROWS)
    with lease.publishing():
        checkpoints = _checkpoints(order, resources, seen)
        if checkpoints or not _is_whole(order, pieces, resources):
            _publish(order, pieces, resources, checkpoints)
            checkpoints.clear()
            report.published = True


def _publish(
    order: Order, pieces: Sequence[Piece], resources: Resources, checkpoints: Checkpoints
) -> None:
    stage, hour = order.stage, order.hour

    def check(table: pa.Table) -> None:
        check_contract(f"{stage.name} of {hour}", table, stage.required)

    with resources.tables.writer(stage.name, hour, stage.schema, check, checkpoints.base) as writer:
        for piece in pieces:
            stands = present(order, piece, resources, checkpoints)
            ids = row_ids(resources.tables, stage, hour, piece)
            writer.write(_in_order(stage, stands, ids))
        writer.publish()


def _in_order(stage: Stage, stands: pa.Table, ids: pa.Table) -> pa.Table:
    """The rows with these ids, in their order; those that nobody has worked on are pending."""
    keys = list(stage.key_names)
    ordered = stands.sort_by([(key, "ascending") for key in keys])
    if ordered.select(keys).equals(ids.cast(ordered.select(keys).schema)):
        return ordered
    known = {row_id: index for index, row_id in enumerate(read_ids(ordered))}
    wanted = read_ids(ids)
    missing = [row_id for row_id in wanted if row_id not in known]
    pending = [Row(row_id, stage.empty_values(), Status.PENDING) for row_id in missing]
    known.update((row_id, len(ordered) + index) for index, row_id in enumerate(missing))
    table = pa.concat_tables([ordered, to_table(pending, stage.schema)])
    return table.take(pa.array([known[row_id] for row_id in wanted], pa.int64()))


def _is_whole(order: Order, pieces: Sequence[Piece], resources: Resources) -> bool:
    """Whether the table stands and has just the rows that it should have."""
    if not resources.tables.exists(order.stage.name, order.hour):
        return False
    rows = sum(
        row_ids(resources.tables, order.stage, order.hour, piece).num_rows for piece in pieces
    )
    return resources.tables.rows(order.stage.name, order.hour) == rows
