"""What the checks of an hour take, and how sure the drift check is of what it says."""

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from pipeline_assets.monitoring.drift import REFERENCE_HOURS, compared
from pipeline_assets_tests.benchmarks.measure import Measure, Wanted
from pipeline_assets_tests.checks.large import judge, tables_of_an_hour
from pipeline_assets_tests.synthetic import Source

ITEMS = 10_000
SUITES_BAR_S = 3.0
AN_HOUR, HOURS = 500, 100
SEED = 471
USUAL = Source()
SHIFTS = {
    "15 points of the label mix, from one to another": USUAL.moved(0.15, to=3, by=0),
    "brightness by half a standard deviation": replace(USUAL, brightness=0.58),
    "text length by 30 %": replace(USUAL, text_scale=1.3),
}
FEATURES = ("label", "brightness", "text_length")


def measures() -> Iterator[Measure]:
    """Seconds of all suites; false alarms and shifts found, of a hundred hours each."""
    yield _suites()
    false = sum(bool(named) for named in _moved(USUAL))
    yield Measure(f"drift: false alarms in {HOURS} unchanged hours", false, "", "bar", 1)
    for feature, (what, source) in zip(FEATURES, SHIFTS.items(), strict=True):
        found = sum(feature in named for named in _moved(source))
        yield Measure(
            f"drift: {what}, found of {HOURS}", found, "", "bar", 0.95 * HOURS, Wanted.AT_LEAST
        )


def _suites() -> Measure:
    judge(tables_of_an_hour(1))  # imports the library
    hour = tables_of_an_hour(ITEMS)
    started = time.perf_counter()
    judge(hour)
    taken = time.perf_counter() - started
    return Measure(f"all suites of an hour of {ITEMS:,} items", taken, "s", "bar", SUITES_BAR_S)


def _moved(source: Source) -> Iterator[set[str]]:
    """The features named in hours of the source, each against a day of the usual one."""
    for number in range(HOURS):
        rng = np.random.default_rng([SEED, number])
        reference = USUAL.items(REFERENCE_HOURS * AN_HOUR, rng)
        table = compared(source.items(AN_HOUR, rng), reference)
        yield {row["feature"] for row in table.to_pylist() if row["drifted"]}
