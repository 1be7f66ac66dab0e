"""What a feed of five million rows takes: the first look, an hour of it, and what is in no hour.

Rows come in the order of their times, as a shop's log of changes has them, and once in no order at
all, as a catalogue has them: each hour is then all over the file.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline_assets_tests.benchmarks.measure import Measure, Wanted
from pipeline_assets_tests.benchmarks.processes import run_python

ROWS = 5_000_000
HOURS = 720
FIRST = datetime(2026, 3, 1, tzinfo=UTC)
ASKED_FOR = "2026-03-16-00"
SCATTER = 7919
"""A prime: row after row, another hour."""

BAR_BYTES = 1_000_000_000
BAR_ROWS_PER_S = 20_000
"""Five million rows in less than five minutes."""

BAR_HOUR_S = 5.0


def measures() -> Iterator[Measure]:
    """Rows a second and peak memory of each step, each in a process of its own."""
    with TemporaryDirectory() as place:
        for order, step in (("by time", 1), ("in no order", SCATTER)):
            folder = Path(place) / order.replace(" ", "-")
            folder.mkdir()
            feed = folder / "feed.csv"
            write(feed, ROWS, step)
            yield from _measured(folder, feed, order)
            feed.unlink()


def _measured(folder: Path, feed: Path, order: str) -> Iterator[Measure]:
    what = f"a feed of {ROWS:,} rows {order}"
    for step in ("look", "hour", "rejects"):
        took = run_python(
            ["-m", "pipeline_assets_tests.benchmarks.feed_step", step, str(feed), ASKED_FOR], folder
        )
        yield Measure(
            f"{what}, peak of {step}", took.peak_bytes / 1e6, "MB", "bar", BAR_BYTES / 1e6
        )
        if step == "hour":
            bar = BAR_HOUR_S if order == "by time" else None
            yield Measure(f"{what}, an hour", took.seconds, "s", "bar", BAR_HOUR_S, bar=bar and 1.0)
        else:
            rate = ROWS / took.seconds
            yield Measure(f"{what}, {step}", rate, "rows/s", "bar", BAR_ROWS_PER_S, Wanted.AT_LEAST)


def write(path: Path, rows: int, step: int = 1) -> None:
    """A CSV feed over a month, its hours `step` apart from row to row."""
    per_hour = rows // HOURS + 1
    hours = [f"{FIRST + timedelta(hours=hour):%Y-%m-%dT%H}" for hour in range(HOURS)]
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write("item_id,name,kind,description,document_url,image_url,event_time\n")
        for number in range(rows):
            hour = hours[number // per_hour if step == 1 else number * step % HOURS]
            file.write(
                f"sku-{number},Red linen shirt {number},product,Light and airy; size {number % 9},"
                f"https://shop.example/p/{number}.html,https://shop.example/i/{number}.jpg,"
                f"{hour}:{number % 60:02}:00Z\n"
            )
