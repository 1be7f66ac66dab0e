"""What a breaker costs a micro-batch: one permit and one result, on SQLite and on PostgreSQL.

With the rule that a stage has by default, where a success is not written down, and with one that
counts a rate, where every result is. The databases are as a user has them: PostgreSQL waits for
its disk at each commit.
"""

import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline_assets.core.breaker import BreakerRule
from pipeline_assets.state.breakers import BreakerGate, BreakerPermit, BreakerStore
from pipeline_assets.state.database import State
from pipeline_assets_tests.benchmarks.measure import Measure
from pipeline_assets_tests.postgres import NO_BINARIES, find_binaries, running

CALLS = 1000
WARMING_UP = 200
"""Enough to fill the memory of a rate: it is as full as it gets after its window."""
WINDOW_S = 0.5
RULES = {
    "by count": BreakerRule(),
    "by rate": BreakerRule(failure_rate=0.5, minimum_calls=20, window_s=WINDOW_S),
}
SQLITE_BAR_MS, POSTGRES_BAR_MS = 1.0, 3.0


def measures() -> Iterator[Measure]:
    """Milliseconds of a permit and its result, the median and the 95th percentile."""
    with TemporaryDirectory() as folder:
        yield from _database("SQLite", f"sqlite:///{Path(folder) / 'state.db'}", SQLITE_BAR_MS)
    binaries = find_binaries()
    if binaries is None:
        print(f"left out: {NO_BINARIES}", file=sys.stderr)
        return
    with running(binaries, {}) as server:
        yield from _database("PostgreSQL", server.schema_url(), POSTGRES_BAR_MS)


def _database(what: str, url: str, bar_ms: float) -> Iterator[Measure]:
    with closing(State(url)) as state:
        for rule_name, rule in RULES.items():
            taken = sorted(_taken_ms(BreakerStore(state).gate(rule), f"bench.{rule_name}"))
            for name, figure in (
                ("median", statistics.median(taken)),
                ("95th percentile", taken[int(0.95 * CALLS)]),
            ):
                yield Measure(
                    f"permit and result on {what}, {rule_name}, {name}", figure, "ms", "bar", bar_ms
                )


def _taken_ms(gate: BreakerGate, name: str) -> list[float]:
    return [_one_ms(gate, name) for _ in range(WARMING_UP + CALLS)][WARMING_UP:]


def _one_ms(gate: BreakerGate, name: str) -> float:
    started = time.perf_counter()
    permit = gate.permit(name, "")
    if not isinstance(permit, BreakerPermit):
        raise TypeError(f"{name} gave no permit: {permit}")
    permit.success(0.0)
    return (time.perf_counter() - started) * 1000
