"""What questions over a year of hours cost: 1,000 partitions, 10 million rows.

Of items that every hour has again, where all partitions are one file under many names, which costs
neither time nor disk, and the contents that are read are as many; and of items that are all
different, where each has to be told from all the others to know that it is current. The page cache
is warm, as it is for whoever asks twice.
`python -m pipeline_assets_tests.benchmarks.analytics FOLDER` asks once, in this process, and prints
the seconds of each question.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa

from pipeline_assets.analytics import Data
from pipeline_assets.core.contract import TIMESTAMP
from pipeline_assets.core.hours import hour_name
from pipeline_assets.core.names import ENRICHED
from pipeline_assets.resources import Resources
from pipeline_assets.settings import load_settings
from pipeline_assets.store.tables import Tables
from pipeline_assets_tests.benchmarks.measure import Measure
from pipeline_assets_tests.benchmarks.processes import run_python

HOURS, ITEMS_AN_HOUR = 1000, 10_000
BAR_S = 2.0
START = datetime(2026, 1, 1, tzinfo=UTC)
TEXT = "Of linen, for warm days. Washed at thirty degrees, dried in the shade. " * 4
SEED = 31

QUESTIONS = {
    "quality by hour": """
        SELECT hour, count(*), avg(quality), quantile_cont(quality, 0.1)
        FROM enriched_items GROUP BY hour
    """,
    "quality by label": "SELECT label, count(*), avg(quality) FROM enriched_items GROUP BY label",
    "a day": """
        SELECT label, count(*), avg(quality) FROM enriched_items
        WHERE hour BETWEEN '2026-01-15-00' AND '2026-01-15-23' GROUP BY label
    """,
    "one hour's worst items": """
        SELECT item_id, quality FROM enriched_items
        WHERE hour = '2026-01-15-12' ORDER BY quality LIMIT 10
    """,
    "current items by label": """
        SELECT label, count(*), avg(quality) FROM current_items GROUP BY label
    """,
}


def measures() -> Iterator[Measure]:
    """Each question about each kind of data, in a fresh process."""
    for kind, make in KINDS.items():
        with TemporaryDirectory() as folder:
            make(Path(folder))
            finished = run_python(["-m", __name__, folder], Path(folder))
        for question, seconds in json.loads(finished.output).items():
            what = f"analytics, {HOURS:,} hours, {HOURS * ITEMS_AN_HOUR:,} rows, {kind}: {question}"
            yield Measure(what, seconds, "s", "bar", BAR_S)


def make_same(root: Path) -> None:
    """Publish an hour, and give its file the names of all the others."""
    tables = Tables(root / "tables")
    first = _publish(tables, 0, _hour())
    for number in range(1, HOURS):
        path = tables.path(ENRICHED, _named(number))
        path.parent.mkdir()
        os.link(first, path)


def make_different(root: Path) -> None:
    """Publish hours whose items no other hour has."""
    tables, hour = Tables(root / "tables"), _hour()
    for number in range(HOURS):
        _publish(tables, number, hour.set_column(0, "item_id", _items(number * ITEMS_AN_HOUR)))


KINDS = {"items of every hour": make_same, "all different": make_different}


def _publish(tables: Tables, number: int, table: pa.Table) -> Path:
    tables.write(ENRICHED, _named(number), table)
    return tables.path(ENRICHED, _named(number))


def _named(number: int) -> str:
    return hour_name(START + timedelta(hours=number))


def _items(first: int) -> pa.Array:
    return pa.array(f"item-{number:08}" for number in range(first, first + ITEMS_AN_HOUR))


def _hour() -> pa.Table:
    random = np.random.default_rng(SEED)
    count = ITEMS_AN_HOUR
    return pa.table(
        {
            "item_id": _items(0),
            "event_time": pa.array([START] * count, TIMESTAMP),
            "status": pa.array(["ok"] * count),
            "label": pa.array(random.choice(["shirt", "lamp", "cup", "chair"], count)),
            "quality": pa.array(random.choice([1.0, 0.9, 0.72], count), pa.float32()),
            "text": pa.array(f"{TEXT}{number}" for number in range(count)),
        }
    )


def main() -> None:
    """Ask each question once."""
    seconds = {}
    with Data(Resources(load_settings(data=Path(sys.argv[1])))) as data:
        for question, query in QUESTIONS.items():
            started = time.perf_counter()
            data.sql(query).fetchall()
            seconds[question] = time.perf_counter() - started
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
