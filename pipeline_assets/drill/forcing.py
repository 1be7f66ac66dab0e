"""The fallback drill: each fallback forced on rows that the primary made lately.

It calls the rungs that a run would call, with the resources that a run would have. But no breaker
hears of it, nothing is recalled, and what they make is measured and goes into no table. Paid calls
are paid for: a stage's caps and pauses hold here, too.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from pipeline_assets.core.chain import climb
from pipeline_assets.core.contract import SCHEMA_VERSION, SCHEMA_VERSION_KEY, TIMESTAMP
from pipeline_assets.core.environment import Environment
from pipeline_assets.core.fingerprint import Keys
from pipeline_assets.core.names import FALLBACK_DRILL, ITEMS
from pipeline_assets.core.plan import Planned, Reason
from pipeline_assets.core.sizes import BatchSizes
from pipeline_assets.core.status import Status
from pipeline_assets.drill.judging import Drilled, DrillLimits, Example, alone, drawn, judged
from pipeline_assets.engine.inputs import read_ids, read_works
from pipeline_assets.engine.orders import Listener
from pipeline_assets.errors import SettingsError
from pipeline_assets.stages import all_stages, strict_tables
from pipeline_assets.store.tables import ROW_GROUP_ROWS, WHOLE, Tables

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from datetime import datetime

    from pipeline_assets.core.rows import RowId
    from pipeline_assets.core.stage import Rung, Stage
    from pipeline_assets.errors import RowError
    from pipeline_assets.resources import Resources
    from pipeline_assets.settings import Settings

LOOKED_BACK_HOURS = 168
"""A week, as it is from one drill to the next: an older row says little of today's."""

SCHEMA = pa.schema(
    [
        pa.field("at", TIMESTAMP, nullable=False),
        pa.field("run_id", pa.string(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("rung", pa.string(), nullable=False),
        pa.field("factor", pa.float64(), nullable=False),
        pa.field("supported", pa.float64()),
        pa.field("agreement", pa.float64()),
        pa.field("compared", pa.int64(), nullable=False),
        pa.field("rows", pa.int64(), nullable=False),
        pa.field("made", pa.int64(), nullable=False),
        pa.field("errors", pa.map_(pa.string(), pa.int64())),
        pa.field("error", pa.string()),
        pa.field("ms_p50", pa.float64()),
        pa.field("ms_p95", pa.float64()),
        pa.field("cost_usd", pa.float64(), nullable=False),
        pa.field("first_hour", pa.string()),
        pa.field("last_hour", pa.string()),
    ],
    metadata={SCHEMA_VERSION_KEY: str(SCHEMA_VERSION).encode()},
)
MEANINGS = {
    "at": "when the drill was",
    "run_id": "the run that drilled",
    "stage": "the stage whose fallback was forced",
    "rung": "the fallback",
    "factor": "the quality that a row of it has, as the stage declares",
    "supported": "the factor that the measurements support; null where nothing was compared",
    "agreement": "mean agreement with the primary's values, 0..1",
    "compared": "rows whose values could be compared",
    "rows": "rows that the fallback was given",
    "made": "rows that it made a value of",
    "errors": "why it made none of the others: rows by error kind",
    "error": "the first of the errors, in one sentence",
    "ms_p50": "milliseconds a row, median",
    "ms_p95": "milliseconds a row that 95 of 100 rows were under",
    "cost_usd": "what the calls of this fallback cost",
    "first_hour": "the oldest hour that rows were taken from",
    "last_hour": "the newest hour that rows were taken from",
}


@dataclass(frozen=True, slots=True)
class DrillRequest:
    """What to drill with: so many rows of each stage, of one hour or else of the newest ones."""

    items: int
    seed: str
    hour: str | None = None


class Unguarded:
    """Lets every call through and hears nothing of what came of it: gate and permit in one."""

    def permit(self, _rung: str, _scope: str) -> Unguarded:
        """Go on."""
        return self

    def success(self, seconds: float) -> None:
        """A drill closes no breaker."""

    def failure(self, error: RowError, seconds: float) -> None:
        """A drill opens none."""

    def release(self) -> None:
        """There is nothing to give back."""


def drill(resources: Resources, wanted: DrillRequest) -> Iterator[Drilled]:
    """Force every fallback of every stage, one after the other.

    Raises `FileNotFoundError` for an hour that was never materialized.
    """
    limits(resources.settings)  # before anything is called
    if wanted.hour is not None and not resources.tables.exists(ITEMS, wanted.hour):
        raise FileNotFoundError(
            f"{ITEMS} has no table for hour {wanted.hour}: run the hour first, or drill another"
        )
    for stage in all_stages(resources.settings):
        below = stage.rungs[1:]
        examples = _examples(stage, resources, wanted) if below else []
        for rung in below:
            yield forced(stage, rung, examples, resources)


def fallbacks(settings: Settings) -> list[str]:
    """The names of all fallbacks, `stage.rung`, upstream first."""
    return [
        f"{stage.name}.{rung.name}" for stage in all_stages(settings) for rung in stage.rungs[1:]
    ]


def limits(settings: Settings) -> DrillLimits:
    """What is wanted of fallbacks. Raises `SettingsError` for one that there is not."""
    known = fallbacks(settings)
    for name in settings.drill_agreement:
        if name not in known:
            raise SettingsError(
                "PIPELINE_DRILL_AGREEMENT", name, f"a fallback: one of {', '.join(known)}"
            )
    return DrillLimits(settings.drill_errors, settings.drill_agreement)


def forced(stage: Stage, rung: Rung, examples: list[Example], resources: Resources) -> Drilled:
    """Call one rung for all examples, whatever better rungs there are."""
    lone, listener = alone(stage, rung), Listener()
    env = Environment(
        resources=resources,
        keys=Keys.of(lone, resources),
        gate=Unguarded(),
        budget=resources.budgets.stage(stage.name),
        sizes=BatchSizes(),
        watch=listener,
        hung={},
        timer=time.perf_counter,
        sleep=listener.sleep,
        draw=random.uniform,
    )
    planned = [Planned(each.work, Reason.FORCED, len(lone.rungs), None) for each in examples]
    return judged(stage, rung, examples, climb(lone, planned, env, {}))


def _examples(stage: Stage, resources: Resources, wanted: DrillRequest) -> list[Example]:
    keys = Keys.of(stage, resources)
    newest = resources.tables.hours(stage.name)[-LOOKED_BACK_HOURS:]
    found: list[Example] = []
    for hour in reversed(newest) if wanted.hour is None else [wanted.hour]:
        ids = _of_primary(resources.tables, stage, hour)
        drawn_ids = drawn(ids, wanted.items - len(found), wanted.seed)
        found.extend(_read(stage, hour, drawn_ids, keys, resources))
        if len(found) >= wanted.items:
            break
    return found


def _of_primary(tables: Tables, stage: Stage, hour: str) -> list[RowId]:
    """The ids of the rows that the primary made."""
    if not tables.exists(stage.name, hour):
        return []
    table = tables.read(stage.name, hour, [*stage.key_names, "status", "rung"])
    is_ok = pc.equal(table["status"], Status.OK.value)
    return read_ids(table.filter(pc.and_(is_ok, pc.equal(table["rung"], stage.rungs[0].name))))


def _read(
    stage: Stage, hour: str, ids: Collection[RowId], keys: Keys, resources: Resources
) -> Iterator[Example]:
    """The rows that are just what the primary would make now: the others prove nothing."""
    strict = strict_tables(resources.settings)
    for first, last in resources.tables.pieces(ITEMS, hour, ROW_GROUP_ROWS):
        here = {each for each in ids if first <= each[0] <= last}
        if not here:
            continue
        piece = (min(here)[0], max(here)[0])
        made = _values(resources.tables, stage, hour, piece)
        for work in read_works(resources.tables, stage, hour, piece, strict):
            if work.id in here and made[work.id]["key"] == keys.key(work, 0):
                yield Example(hour, work, made[work.id])


def _values(
    tables: Tables, stage: Stage, hour: str, piece: tuple[str, str]
) -> dict[RowId, dict[str, object]]:
    columns = [*stage.key_names, "key", *(value.name for value in stage.values)]
    table = tables.read(stage.name, hour, columns, piece)
    return dict(zip(read_ids(table), table.to_pylist(), strict=True))


def keep(resources: Resources, found: Iterable[Drilled], at: datetime, run_id: str) -> pa.Table:
    """Add a drill to those before it; gives its own rows."""
    names = [each.name for each in fields(Drilled)]
    rows = [
        {
            **{name: getattr(each, name) for name in names},
            "errors": list(each.errors.items()),
            "supported": each.supported,
            "at": at,
            "run_id": run_id,
        }
        for each in found
    ]
    added = pa.Table.from_pylist(rows, schema=SCHEMA)
    with resources.leases.acquire(f"{FALLBACK_DRILL}/{WHOLE}") as lease, lease.publishing():
        before = drills(resources.tables)
        resources.tables.write(FALLBACK_DRILL, WHOLE, pa.concat_tables([before, added]))
    return added


def drills(tables: Tables) -> pa.Table:
    """Every drill there ever was, oldest first, a row for each fallback."""
    if not tables.exists(FALLBACK_DRILL, WHOLE):
        return SCHEMA.empty_table()
    return tables.read(FALLBACK_DRILL, WHOLE)


def last_drill(tables: Tables) -> list[Drilled]:
    """What came of the last drill; nothing where there was none."""
    table = drills(tables)
    if not len(table):
        return []
    names = [each.name for each in fields(Drilled)]
    is_last = pc.equal(table["run_id"], table["run_id"][-1])
    rows = table.filter(is_last).select(names).to_pylist()
    return [Drilled(**{**row, "errors": dict(row["errors"])}) for row in rows]
