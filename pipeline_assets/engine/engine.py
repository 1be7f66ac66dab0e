"""The engine: takes one stage of one hour from its tables to its table.

    plan ─▶ micro-batch through the chain ─▶ durable shard ─▶ … ─▶ fold into the table ─▶ publish

An hour is divided into pieces, which worker processes share, or which this process works on itself
where PIPELINE_WORKERS is 0. An hour in which every row stood last time, and that is made of just
what it was made of then, is passed over.
"""

from __future__ import annotations

import logging
import math
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline_assets.core.contract import check_contract
from pipeline_assets.core.fingerprint import digest
from pipeline_assets.core.plan import Standing
from pipeline_assets.core.rows import Row, to_table
from pipeline_assets.core.status import Status
from pipeline_assets.engine.inputs import read_ids, row_ids
from pipeline_assets.engine.orders import Job, Listener, Order, Piece, Report
from pipeline_assets.engine.shard import OpenOrder
from pipeline_assets.engine.workers import Death, shared_workers
from pipeline_assets.errors import CircuitOpen, Timeout, Unavailable
from pipeline_assets.stages import find_stage
from pipeline_assets.state.settled import Settled
from pipeline_assets.store.checkpoints import Checkpoints
from pipeline_assets.store.processes import default_workers
from pipeline_assets.store.rung_calls import keep_calls
from pipeline_assets.store.storage import NOT_THERE
from pipeline_assets.store.tables import ROW_GROUP_ROWS
from pipeline_assets.upkeep.lost_state import recover

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pipeline_assets.core.plan import Planned
    from pipeline_assets.core.rows import Work
    from pipeline_assets.core.stage import Stage
    from pipeline_assets.engine.orders import Span
    from pipeline_assets.resources import Resources
    from pipeline_assets.state.leases import Lease

log = logging.getLogger(__name__)

VERSION = version("pipeline-assets")
"""What an earlier program found settled is looked at again."""


def materialize(
    order: Order,
    resources: Resources,
    listener: Listener | None = None,
    stage: Stage | None = None,
) -> Report:
    """Bring the table of a stage and hour up to date, and publish it.

    `stage` is the declaration, by default the one that the settings have under the order's name.
    When `listener.stopped` says so, the micro-batches in hand are finished, the rest stays as it
    was, and the table is published with what there is. Raises `FileNotFoundError` for an hour whose
    items were never materialized (no items at all is a table of 0 rows), `LeaseHeld` while another
    run writes the same table, `LeaseLost` or `Overtaken` if this one slept too long, `StorageError`
    when the disk refuses.
    """
    started = time.monotonic()
    listener = listener or Listener()
    stage = stage or find_stage(resources.settings, order.stage)
    report = Report(forgotten=recover(resources))
    if not resources.tables.exists("items", order.hour):
        raise FileNotFoundError(
            f"items has no table for hour {order.hour}: materialize items for it first"
        )
    if _passed_over(order, stage, resources, report):
        listener.finished(report.rows, {})
    else:
        _work(order, stage, resources, listener, report)
    report.seconds = time.monotonic() - started
    return report


def plan_hour(
    order: Order, resources: Resources, stage: Stage | None = None
) -> Iterator[tuple[Work, Planned | Standing]]:
    """The decision about every row of a stage and hour; changes nothing."""
    stage = stage or find_stage(resources.settings, order.stage)
    seen = resources.tables.version(stage.name, order.hour)
    opened = OpenOrder.of(order, stage, resources, seen)
    for span in resources.tables.pieces("items", order.hour, ROW_GROUP_ROWS):
        for work, decision, _row in opened.decisions(span, opened.situation()):
            yield work, decision


def _work(
    order: Order, stage: Stage, resources: Resources, listener: Listener, report: Report
) -> None:
    """Work on what there is to do, under the lease, and publish what came of it."""
    with resources.leases.acquire(f"{stage.name}/{order.hour}") as lease:
        # Before the lease is looked at: what a successor publishes after that is not replaced.
        seen = resources.tables.version(stage.name, order.hour)
        with lease.publishing():  # a predecessor that still writes a shard is waited for
            left_behind = Checkpoints(resources.shards, stage.name, order.hour, base=seen)
        report.recovered_rows = left_behind.recovered_rows
        # Whoever is killed from here on leaves work behind, which nobody may pass over.
        resources.settled.drop(stage.name, order.hour)
        made_of = _made_of(order, stage, resources)  # before the rows are read
        for piece in _worked_on(order, stage, resources, lease, seen, listener, report):
            report.add(piece)
        _publish_what_is_new(order, stage, resources, lease, seen, report)
        with lease.publishing():
            now = resources.clock()
            keep_calls(resources.tables, stage.name, order.hour, order.run_id, now, report.rungs)
        if not (order.items or report.interrupted):
            _remember_settled(order, stage, resources, made_of, report)


def _worked_on(
    order: Order,
    stage: Stage,
    resources: Resources,
    lease: Lease,
    base: str,
    listener: Listener,
    report: Report,
) -> Iterator[Report]:
    """The report of each piece, in whatever order they are finished."""
    count = resources.settings.workers
    count = default_workers() if count is None else count
    share = min(count, stage.workers or count)
    rows = _rows_a_piece(stage, resources.tables.rows("items", order.hour), share)
    spans = resources.tables.pieces("items", order.hour, rows)
    if count == 0:
        opened = OpenOrder.of(order, stage, resources, base, lease.publishing)
        for span in spans:
            if listener.stopped():
                yield Report(interrupted=True)
                return
            yield opened.work(Piece(span), listener)
        return

    def died(death: Death) -> None:
        report.worker_deaths += 1
        _bury(stage, death, resources)

    job = Job(order, resources.settings, lease.name, lease.token, base, Path.cwd())
    yield from shared_workers(count).run(job, map(Piece, spans), share, listener, died)
    report.interrupted |= listener.stopped()


def _rows_a_piece(stage: Stage, rows: int, workers: int) -> int:
    """Small enough that all workers have some, and not smaller than a micro-batch."""
    share = math.ceil(rows / max(1, workers))
    return min(ROW_GROUP_ROWS, max(share, stage.micro_batch))


def _passed_over(order: Order, stage: Stage, resources: Resources, report: Report) -> bool:
    """Whether every row stands, as far as that is known without reading one.

    So that going through a finished hour starts no worker and reads no table.
    """
    if order.force or order.items:
        return False
    found = resources.settled.find(stage.name, order.hour, _asked(order))
    if found is None:
        return False
    made_of = _made_of(order, stage, resources)
    if found.stamp != _stamp(made_of, stage, resources, order.hour):
        return False
    if found.due_at is not None and found.due_at <= resources.clock().timestamp():
        return False
    report.standing.update(found.standing)
    report.rows = report.standing.total()
    return True


def _remember_settled(
    order: Order, stage: Stage, resources: Resources, before: str, report: Report
) -> None:
    """Note that nothing is left to do, unless a row may be tried again at once.

    What was worked on just now stands from now on: as current, if it does not wait for a time.
    """
    made_of = _made_of(order, stage, resources)
    if made_of != before:
        return
    if report.due_at is not None and report.due_at <= resources.clock():
        return
    standing = report.standing.copy()
    if worked := report.planned.total():
        standing[Standing.CURRENT] += worked
    due_at = None if report.due_at is None else report.due_at.timestamp()
    stamp = _stamp(made_of, stage, resources, order.hour)
    found = Settled(stamp, due_at, {str(why): rows for why, rows in standing.items()})
    resources.settled.keep(stage.name, order.hour, _asked(order), found)


def _made_of(order: Order, stage: Stage, resources: Resources) -> str:
    """What decides about the rows of a table, but for the table itself and the time."""
    tables, hour = resources.tables, order.hour
    opened = OpenOrder.of(order, stage, resources, NOT_THERE)
    situation = opened.situation()
    decided = sorted((row, str(decision)) for row, decision in situation.decisions.items())
    return digest(
        (
            VERSION,
            [tables.stamp(name, hour) for name in stage.upstream],
            str(situation.keys),
            sorted(order.strict),
            decided,
            list(situation.available),
        )
    )


def _stamp(made_of: str, stage: Stage, resources: Resources, hour: str) -> str:
    return f"{made_of}.{resources.tables.stamp(stage.name, hour)}"


def _asked(order: Order) -> str:
    return "improvable" if order.only_improvable else "all"


def _bury(stage: Stage, death: Death, resources: Resources) -> None:
    """Say that a worker died, or hung; it may be a failure of the rung, too."""
    if death.calling is None:
        log.warning("%s: a worker died between calls: %s", stage.name, death.cause)
        return
    rung, rows = death.calling.rung, death.calling.rows
    log.warning(
        "%s: a worker %s in a call of %d rows (%s%s): %s; it is replaced",
        rung,
        "hung" if death.hung else "died",
        len(rows),
        "/".join(rows[0]),
        " …" if len(rows) > 1 else "",
        death.cause,
    )
    if death.blames_rung:
        permit = resources.breakers.gate(stage.breaker).permit(rung, "")
        if not isinstance(permit, CircuitOpen):
            died = Unavailable(f"its worker died: {death.cause}")
            permit.failure(Timeout(death.cause) if death.hung else died, 0.0)


def _publish_what_is_new(
    order: Order, stage: Stage, resources: Resources, lease: Lease, seen: str, report: Report
) -> None:
    spans = resources.tables.pieces("items", order.hour, ROW_GROUP_ROWS)
    with lease.publishing():
        opened = OpenOrder.of(order, stage, resources, seen)
        if opened.checkpoints or not _is_whole(opened, spans):
            _publish(opened, spans)
            opened.checkpoints.clear()
            report.published = True


def _publish(opened: OpenOrder, spans: Sequence[Span]) -> None:
    stage, hour, tables = opened.stage, opened.order.hour, opened.resources.tables

    def check(table: pa.Table) -> None:
        check_contract(f"{stage.name} of {hour}", table, stage.required)

    base = opened.checkpoints.base
    with tables.writer(stage.name, hour, stage.schema, check, base) as writer:
        for span in spans:
            ids = row_ids(tables, stage, hour, span)
            writer.write(_in_order(stage, opened.present(span), ids))
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


def _is_whole(opened: OpenOrder, spans: Sequence[Span]) -> bool:
    """Whether the table stands and has just the rows that it should have."""
    stage, hour, tables = opened.stage, opened.order.hour, opened.resources.tables
    if not tables.exists(stage.name, hour):
        return False
    return tables.rows(stage.name, hour) == sum(
        row_ids(tables, stage, hour, span).num_rows for span in spans
    )
