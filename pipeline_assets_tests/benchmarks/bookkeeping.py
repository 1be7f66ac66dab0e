"""What the bookkeeping of partial success costs: a stage that does next to nothing, over many rows.

One row in ten fails and falls back, every column is written, and every 1,000 rows are a durable
checkpoint. `python -m pipeline_assets_tests.benchmarks.bookkeeping ROWS` does it once, on the data
root of PIPELINE_DATA, and prints what it took.
"""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa

from pipeline_assets.core.names import ITEMS
from pipeline_assets.core.rows import Row, to_table
from pipeline_assets.core.status import Status
from pipeline_assets.engine.engine import materialize
from pipeline_assets.engine.orders import Order
from pipeline_assets.ingest import items
from pipeline_assets.resources import Resources, opened
from pipeline_assets.settings import load_settings
from pipeline_assets.store.tables import ROW_GROUP_ROWS
from pipeline_assets_tests.benchmarks import trivial
from pipeline_assets_tests.benchmarks.measure import Measure, Wanted
from pipeline_assets_tests.benchmarks.peers import pixeltable_rows_per_s
from pipeline_assets_tests.benchmarks.processes import run_python

ROWS, FEW, MANY, FINISHED = 200_000, 10_000, 1_000_000, 12_000
WARMING_UP = 2_000
BAR_ROWS_PER_S = 60_000.0
TIMES_PIXELTABLE = 8.0
LINEAR, FLAT = 1.2, 1.3
RESUME_BAR_S = 1.0
HOUR, WARM_UP_HOUR = "2026-03-02-06", "2026-03-02-05"
EVENT_TIME = datetime(2026, 3, 2, 6, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Taken:
    """What an hour of `rows` rows took, and going through it again when all was finished."""

    rows: int
    seconds: float
    resumed_s: float


def measures() -> Iterator[Measure]:
    """Rows a second beside the peer's, growth from few rows to many, and a finished hour."""
    some, _ = _measured(ROWS)
    rows_per_s = some.rows / some.seconds
    what = f"bookkeeping, {ROWS:,} rows"
    at_least = Wanted.AT_LEAST
    yield Measure(f"{what}: rate", rows_per_s, "rows/s", "bar", BAR_ROWS_PER_S, at_least)
    theirs = pixeltable_rows_per_s(ROWS)
    if isinstance(theirs, str):
        print(f"pixeltable: {theirs}", file=sys.stderr)
    else:
        yield Measure(
            f"{what}: rate", rows_per_s, "rows/s", "pixeltable", theirs, at_least, TIMES_PIXELTABLE
        )
    few, few_peak = _measured(FEW)
    many, many_peak = _measured(MANY)
    few_us, many_us = (1e6 * each.seconds / each.rows for each in (few, many))
    yield Measure(f"a row of {MANY:,}", many_us, "µs", f"of {FEW:,}", few_us, bar=LINEAR)
    yield Measure(
        f"peak memory, {MANY:,} rows", many_peak / 1e6, "MB", f"{FEW:,}", few_peak / 1e6, bar=FLAT
    )
    finished, _ = _measured(FINISHED)
    yield Measure(f"{FINISHED:,} finished rows again", finished.resumed_s, "s", "bar", RESUME_BAR_S)


def _measured(rows: int) -> tuple[Taken, int]:
    """What it took in a fresh process, and the peak memory of that and its workers."""
    with TemporaryDirectory() as folder:
        finished = run_python(["-m", __name__, str(rows)], Path(folder))
    return Taken(**json.loads(finished.output)), finished.peak_bytes


def main() -> None:
    """Do it once, after the workers have done a few rows, as a peer's processes run already."""
    rows = int(sys.argv[1])
    with opened(load_settings(stages=trivial.__name__)) as resources:
        _worked(resources, WARM_UP_HOUR, WARMING_UP)
        seconds = _worked(resources, HOUR, rows)
        started = time.perf_counter()
        again = materialize(
            Order(trivial.STAGE.name, HOUR, "again"), resources, stage=trivial.STAGE
        )
        resumed_s = time.perf_counter() - started
    if again.rungs or again.published:
        raise RuntimeError(f"a finished hour was worked on again: {again}")
    print(json.dumps(asdict(Taken(rows, seconds, resumed_s))))


def _worked(resources: Resources, hour: str, rows: int) -> float:
    _write_items(resources, hour, rows)
    started = time.perf_counter()
    report = materialize(Order(trivial.STAGE.name, hour, "run"), resources, stage=trivial.STAGE)
    seconds = time.perf_counter() - started
    made = {name: stats.made for name, stats in report.rungs.items()}
    if made != {"upper": rows - rows // 10, "as_it_is": rows // 10}:
        raise RuntimeError(f"{rows} rows were not worked on as they should: {made}")
    if resources.tables.rows(trivial.STAGE.name, hour) != rows:
        raise RuntimeError(f"the table of {hour} has not {rows} rows")
    return seconds


def _write_items(resources: Resources, hour: str, rows: int) -> None:
    with resources.tables.writer(ITEMS, hour, items.SCHEMA, _unchecked) as writer:
        for start in range(0, rows, ROW_GROUP_ROWS):
            numbers = range(start, min(rows, start + ROW_GROUP_ROWS))
            writer.write(to_table([_item(number) for number in numbers], items.SCHEMA))
        writer.publish()


def _item(number: int) -> Row:
    values = (f"name {number}", "product", None, None, None, EVENT_TIME, "batch", number)
    return Row(
        (f"i{number:08d}",), values, Status.OK, rung="feed", quality=1.0, key=f"{number}.feed"
    )


def _unchecked(_table: pa.Table) -> None:
    return None


if __name__ == "__main__":
    main()
