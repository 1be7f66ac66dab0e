"""The engine: takes one stage of one hour from its tables to its table.

    plan ─▶ micro-batch through the chain ─▶ durable shard ─▶ … ─▶ fold into the table ─▶ publish

`process_shard` is the seam: it reads its own input rows, runs the whole chain over them, leaves
durable shards and returns a small manifest. Only crashes cross it. The local engine calls it in
this process, one shard after the other.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline_assets.adapters.checkpoints import Checkpoints
from pipeline_assets.adapters.history import keep_calls
from pipeline_assets.adapters.inputs import read_ids, read_works, row_ids
from pipeline_assets.core.chain import Environment, RungStats, climb
from pipeline_assets.core.contract import check_contract
from pipeline_assets.core.fingerprint import Keys
from pipeline_assets.core.plan import Planned, Situation, Standing, plan_row
from pipeline_assets.core.results import Stamp, untried, worked
from pipeline_assets.core.rows import Row, RowId, Work, from_table, to_table
from pipeline_assets.core.status import Status

if TYPE_CHECKING:
    from pipeline_assets.core.stage import Stage
    from pipeline_assets.resources import Resources

log = logging.getLogger(__name__)

Progress = Callable[[int], None]
"""Told how many more rows are finished."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for: one stage of one hour, for one run.

    `items` narrows the work to some items; the others stand. `force` redoes rows that are current.
    Failed rows of the tables in `strict` block what depends on them.
    """

    stage: Stage
    hour: str
    run_id: str
    items: frozenset[str] = frozenset()
    force: bool = False
    strict: frozenset[str] = frozenset({"items"})


@dataclass(slots=True)
class Report:
    """What came of an order."""

    rows: int = 0
    planned: Counter[str] = field(default_factory=Counter)
    standing: Counter[str] = field(default_factory=Counter)
    rungs: dict[str, RungStats] = field(default_factory=dict)
    recovered_rows: int = 0
    published: bool = False
    interrupted: bool = False
    seconds: float = 0.0

    def add(self, other: Report) -> None:
        """Count a shard's manifest in."""
        self.rows += other.rows
        self.interrupted |= other.interrupted
        self.planned.update(other.planned)
        self.standing.update(other.standing)
        for name, stats in other.rungs.items():
            self.rungs.setdefault(name, RungStats()).add(stats)


def _never() -> bool:
    return False


def _silent(_rows: int) -> None:
    return None


def materialize(
    order: Order,
    resources: Resources,
    *,
    stopped: Callable[[], bool] = _never,
    progress: Progress = _silent,
) -> Report:
    """Bring the table of a stage and hour up to date, and publish it.

    When `stopped` says so, the micro-batch in hand is finished, the rest stays `pending`, and the
    table is published with what there is. Raises `FileNotFoundError` for an hour whose items were
    never materialized (no items at all is a table of 0 rows), `LeaseHeld` while another run
    writes the same table, `LeaseLost` if this one slept too long, `StorageError` when the disk
    refuses.
    """
    started = time.monotonic()
    report = Report()
    if not resources.tables.exists("items", order.hour):
        raise FileNotFoundError(
            f"items has no table for hour {order.hour}: materialize items for it first"
        )
    with resources.leases.acquire(f"{order.stage.name}/{order.hour}") as lease:
        with lease.publishing():  # a predecessor that still writes a shard is waited for
            checkpoints = Checkpoints(
                resources.work, order.stage.name, order.hour, guard=lease.publishing
            )
        report.recovered_rows = checkpoints.recovered_rows
        keys = Keys.of(order.stage, resources)
        shards = resources.tables.shards("items", order.hour)
        for items in shards:
            if stopped():
                report.interrupted = True
                break
            report.add(process_shard(order, items, resources, checkpoints, keys, stopped, progress))
        if checkpoints or not _is_whole(order, shards, resources):
            with lease.publishing():
                _publish(order, shards, resources, checkpoints)
                checkpoints.clear()
            report.published = True
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
    checkpoints = Checkpoints(resources.work, order.stage.name, order.hour, tidy=False)
    keys = Keys.of(order.stage, resources)
    for items in resources.tables.shards("items", order.hour):
        yield from _decisions(order, items, resources, checkpoints, keys)


def process_shard(
    order: Order,
    items: tuple[str, str],
    resources: Resources,
    checkpoints: Checkpoints,
    keys: Keys,
    stopped: Callable[[], bool],
    progress: Progress,
) -> Report:
    """Work on the items from the first to the last named: durable shards, and a manifest."""
    manifest = Report()
    to_climb: list[Planned] = []
    without_call: list[Planned] = []
    for work, decision in _decisions(order, items, resources, checkpoints, keys):
        manifest.rows += 1
        if isinstance(decision, Standing):
            manifest.standing[decision] += 1
            continue
        manifest.planned[decision.reason] += 1
        callable_ = work.blocked is None and order.stage.applies(work)
        (to_climb if callable_ else without_call).append(decision)
    progress(manifest.rows - len(to_climb))
    stamp = Stamp(order.run_id, resources.clock(), keys)
    _checkpoint(
        order.stage, checkpoints, [untried(order.stage, each, stamp) for each in without_call]
    )
    env = Environment(
        resources, resources.breakers.gate(order.stage.breaker), resources.sizes, time.perf_counter
    )
    for batch in _batches(to_climb, order.stage.micro_batch):
        if stopped():
            manifest.interrupted = True
            break
        climbs = climb(order.stage, batch, env, manifest.rungs)
        stamp = Stamp(order.run_id, resources.clock(), keys)
        _checkpoint(order.stage, checkpoints, [worked(order.stage, each, stamp) for each in climbs])
        progress(len(batch))
    return manifest


def _decisions(
    order: Order,
    items: tuple[str, str],
    resources: Resources,
    checkpoints: Checkpoints,
    keys: Keys,
) -> Iterator[tuple[Work, Planned | Standing]]:
    stage = order.stage
    gate = resources.breakers.gate(stage.breaker)
    situation = Situation(
        keys=keys,
        now=resources.clock(),
        available=[gate.available(f"{stage.name}.{rung.name}") for rung in stage.rungs],
        force=order.force,
    )
    old = {row.id: row for row in _present_rows(order, items, resources, checkpoints)}
    for work in read_works(resources.tables, stage, order.hour, items, order.strict):
        if order.items and work.id[0] not in order.items:
            yield work, Standing.NOT_ASKED_FOR
        else:
            yield work, plan_row(stage, work, old.get(work.id), situation)


def _present_rows(
    order: Order, items: tuple[str, str], resources: Resources, checkpoints: Checkpoints
) -> list[Row]:
    present = _present(order, items, resources, checkpoints)
    return from_table(present, len(order.stage.key_fields))


def _present(
    order: Order, items: tuple[str, str], resources: Resources, checkpoints: Checkpoints
) -> pa.Table:
    """What is known of these items now: the table, with the shards laid over it."""
    parts = [order.stage.schema.empty_table()]
    if resources.tables.exists(order.stage.name, order.hour):
        parts.append(resources.tables.read(order.stage.name, order.hour, items=items))
    parts.extend(checkpoints.read(*items))
    table = pa.concat_tables(parts)
    latest = {row_id: position for position, row_id in enumerate(read_ids(table))}
    if len(latest) == table.num_rows:
        return table
    return table.take(pa.array(latest.values(), pa.int64()))


def _publish(
    order: Order,
    shards: Sequence[tuple[str, str]],
    resources: Resources,
    checkpoints: Checkpoints,
) -> None:
    stage, hour = order.stage, order.hour

    def check(table: pa.Table) -> None:
        check_contract(f"{stage.name} of {hour}", table, stage.required)

    with resources.tables.writer(stage.name, hour, stage.schema, check) as writer:
        for items in shards:
            present = _present(order, items, resources, checkpoints)
            ids = row_ids(resources.tables, stage, hour, items)
            writer.write(_in_order(stage, present, ids))
        writer.publish()


def _in_order(stage: Stage, present: pa.Table, ids: Sequence[RowId]) -> pa.Table:
    """The rows with these ids, in their order; those that nobody has worked on are pending."""
    known = set(read_ids(present))
    pending = [
        Row(row_id, stage.empty_values(), Status.PENDING) for row_id in ids if row_id not in known
    ]
    table = pa.concat_tables([present, to_table(pending, stage.schema)])
    position = {row_id: index for index, row_id in enumerate(read_ids(table))}
    return table.take(pa.array([position[row_id] for row_id in ids], pa.int64()))


def _is_whole(order: Order, shards: Sequence[tuple[str, str]], resources: Resources) -> bool:
    """Whether the table stands and has just the rows that it should have."""
    if not resources.tables.exists(order.stage.name, order.hour):
        return False
    rows = sum(len(row_ids(resources.tables, order.stage, order.hour, items)) for items in shards)
    return resources.tables.rows(order.stage.name, order.hour) == rows


def _checkpoint(stage: Stage, checkpoints: Checkpoints, rows: Sequence[Row]) -> None:
    """Make rows durable; a row that the table could not hold is refused before it is kept."""
    if rows:
        table = to_table(rows, stage.schema)
        check_contract(f"a shard of {stage.name}", table, stage.required)
        checkpoints.write(table)


def _batches(planned: Sequence[Planned], size: int) -> Iterator[Sequence[Planned]]:
    for start in range(0, len(planned), size):
        yield planned[start : start + size]
