"""One order, opened: its rows are planned, taken through the chain, and made durable.

Whoever works on a piece, in the run's own process, in a worker or on another machine, calls the
same `work`. It reads the piece's own input rows, leaves durable shards and gives a small report;
only crashes cross it.
"""

from __future__ import annotations

import random
import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from pipeline_assets.core.attempt import Attempt
from pipeline_assets.core.chain import climb
from pipeline_assets.core.contract import check_contract
from pipeline_assets.core.environment import Environment, RungStats, add_stats
from pipeline_assets.core.fingerprint import Keys
from pipeline_assets.core.narrowing import Suspects, batches
from pipeline_assets.core.plan import Planned, Reason, Situation, Standing, plan_row
from pipeline_assets.core.results import Stamp, untried, worked
from pipeline_assets.core.rows import Row, brought_up, from_table, to_table
from pipeline_assets.engine.inputs import read_ids, read_works
from pipeline_assets.engine.orders import Listener, Report
from pipeline_assets.errors import WorkerCrash
from pipeline_assets.store.checkpoints import Checkpoints, Guard

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from pipeline_assets.core.rows import Work
    from pipeline_assets.core.stage import Stage
    from pipeline_assets.engine.orders import Order, Piece, Span
    from pipeline_assets.resources import Resources


@dataclass(frozen=True, slots=True)
class OpenOrder:
    """An order with all that is needed to work on it."""

    order: Order
    stage: Stage
    resources: Resources
    checkpoints: Checkpoints
    keys: Keys

    @classmethod
    def of(
        cls,
        order: Order,
        stage: Stage,
        resources: Resources,
        base: str,
        guard: Guard = nullcontext,
    ) -> OpenOrder:
        """Open it over the table of version `base`; `guard` is held around each durable write."""
        checkpoints = Checkpoints(
            resources.shards, stage.name, order.hour, base=base, tidy=False, guard=guard
        )
        return cls(order, stage, resources, checkpoints, Keys.of(stage, resources))

    def situation(self) -> Situation:
        """What planning needs to know besides the rows, as it is now."""
        gate = self.resources.breakers.gate(self.stage.breaker)
        names = [f"{self.stage.name}.{rung.name}" for rung in self.stage.rungs]
        return Situation(
            keys=self.keys,
            now=self.resources.clock(),
            available=[gate.available(name) for name in names],
            force=self.order.force,
            decisions=self.resources.decisions.of(self.stage.name, self.order.hour),
        )

    def decisions(
        self, span: Span, situation: Situation
    ) -> Iterator[tuple[Work, Planned | Standing, Row | None]]:
        """The decision about every row of some items, with the row as it stands."""
        stage, order = self.stage, self.order
        old = {row.id: row for row in from_table(self.present(span), len(stage.key_fields))}
        for work in read_works(self.resources.tables, stage, order.hour, span, order.strict):
            row = old.get(work.id)
            if order.items and work.id[0] not in order.items:
                yield work, Standing.NOT_ASKED_FOR, row
                continue
            decision = plan_row(stage, work, row, situation)
            if order.only_improvable and isinstance(decision, Planned):
                decision = _narrowed(stage, decision, situation.available)
            yield work, decision, row

    def present(self, span: Span) -> pa.Table:
        """What is known of these items now: the table, with the shards laid over it.

        Both may be from before a column was added.
        """
        name, hour, schema = self.stage.name, self.order.hour, self.stage.schema
        parts = [schema.empty_table()]
        if self.resources.tables.exists(name, hour):
            parts.append(self.resources.tables.read(name, hour, items=span))
        parts.extend(self.checkpoints.read(*span))
        table = pa.concat_tables([brought_up(part, schema) for part in parts])
        if table.num_rows == pc.count_distinct(table["item_id"]).as_py():
            return table
        latest = {row_id: position for position, row_id in enumerate(read_ids(table))}
        if len(latest) == table.num_rows:
            return table
        return table.take(pa.array(latest.values(), pa.int64()))

    def work(self, piece: Piece, listener: Listener) -> Report:
        """Work on the rows of a piece: durable shards, and a report."""
        stage, suspects, report = self.stage, piece.suspects, Report()
        situation = self.situation()
        to_climb: list[Planned] = []
        without_call: list[Planned] = []
        for work, decision, row in self.decisions(piece.span, situation):
            report.rows += 1
            if isinstance(decision, Standing):
                report.standing[decision] += 1
                if decision is Standing.WAITING and row is not None:
                    report.wait_until(row.retry_at)
                continue
            report.planned[decision.reason] += 1
            needs_a_call = work.blocked is None and stage.applies(work)
            (to_climb if needs_a_call else without_call).append(decision)
        stamp = Stamp(self.order.run_id, self.resources.clock(), self.keys)
        self._keep([untried(stage, each, stamp) for each in without_call], without_call, report)
        if not piece.again:
            listener.finished(report.rows - len(to_climb), {})
        crashed = [each for each in to_climb if each.work.id in suspects.crashed]
        given_up = [worked(stage, _gave_up(each, suspects), stamp) for each in crashed]
        self._keep(given_up, crashed, report)
        listener.finished(len(crashed), {})
        alive = [each for each in to_climb if each.work.id not in suspects.crashed]
        env = self._environment(listener, suspects)
        for batch in batches(alive, stage.micro_batch, suspects):
            if listener.stopped():
                report.interrupted = True
                break
            rungs: dict[str, RungStats] = {}
            climbs = climb(stage, batch, env, rungs)
            stamp = Stamp(self.order.run_id, self.resources.clock(), self.keys)
            # Durable first, told second: what was told is never done again.
            self._keep([worked(stage, each, stamp) for each in climbs], batch, report)
            add_stats(report.rungs, rungs)
            listener.finished(len(batch), rungs)
        return report

    def _keep(self, rows: Sequence[Row], planned: Sequence[Planned], report: Report) -> None:
        """Make rows durable, and note when one of them may be tried again.

        A row that the table could not hold is refused before it is kept.
        """
        if not rows:
            return
        table = to_table(rows, self.stage.schema)
        check_contract(f"a shard of {self.stage.name}", table, self.stage.required)
        self.checkpoints.write(table)
        now = self.resources.clock()
        for row, each in zip(rows, planned, strict=True):
            is_current = self.keys.is_made_by(row.key, self.stage.index(row.rung))
            if row.retryable or not is_current:
                report.wait_until(self._due(each.work, row, now))

    def _due(self, work: Work, row: Row, now: datetime) -> datetime | None:
        """When a row that was just written is worked on again, if nothing changes but the time."""
        # As if every breaker were closed: which are is part of what the table was made of.
        everything = Situation(self.keys, now, [True] * len(self.stage.rungs))
        decision = plan_row(self.stage, work, row, everything)
        if isinstance(decision, Planned):
            return now
        return row.retry_at if decision is Standing.WAITING else None

    def _environment(self, listener: Listener, suspects: Suspects) -> Environment:
        return Environment(
            resources=self.resources,
            keys=self.keys,
            gate=self.resources.breakers.gate(self.stage.breaker),
            budget=self.resources.budgets.stage(self.stage.name),
            sizes=self.resources.sizes,
            watch=listener,
            hung=suspects.hung,
            timer=time.perf_counter,
            sleep=listener.sleep,
            draw=random.uniform,
        )


def _narrowed(stage: Stage, decision: Planned, available: Sequence[bool]) -> Planned | Standing:
    """A changed producer alone makes no row better; a better rung does, whatever has changed."""
    old = decision.old
    if decision.reason is not Reason.PRODUCER_CHANGED or old is None:
        return decision
    improvable = old.retryable and any(available[: stage.index(old.rung)])
    return decision if improvable else Standing.NOT_ASKED_FOR


def _gave_up(planned: Planned, suspects: Suspects) -> Attempt:
    cause = suspects.crashed[planned.work.id]
    deaths = suspects.deaths[planned.work.id]
    error = WorkerCrash(
        f"it killed its worker {deaths} times while alone in a call: {cause}. "
        "`pipeline-assets dead-letters requeue` tries it again"
    )
    return Attempt(planned, errors=[error], tries=deaths)
