"""What a tick of a sensor that heals takes over many hours, on SQLite and on PostgreSQL.

All of them are degraded, and half of them were asked for before.
"""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import dagster as dg
import pytest
import sqlalchemy as sa

from pipeline_assets.core.hours import hour_name
from pipeline_assets.healing.hours import hours
from pipeline_assets.healing.requests import heal_requests
from pipeline_assets.healing.rules import Outcome, Priority
from pipeline_assets.state.database import State
from pipeline_assets_tests.benchmarks.measure import Measure
from pipeline_assets_tests.postgres import NO_BINARIES, find_binaries, running

HOURS = 50_000
TICKS = 5
BAR_S = 2.0
FIRST = datetime(2020, 1, 1, tzinfo=UTC)
CLASSES = tuple(Priority)


def measures() -> Iterator[Measure]:
    """Seconds of a tick, the slowest of a few."""
    with TemporaryDirectory() as folder:
        yield from _database("SQLite", f"sqlite:///{Path(folder) / 'state.db'}")
    binaries = find_binaries()
    if binaries is None:
        print(f"left out: {NO_BINARIES}", file=sys.stderr)
        return
    with running(binaries, {}) as server:
        yield from _database("PostgreSQL", server.schema_url())


def _database(what: str, url: str) -> Iterator[Measure]:
    _fill(url)
    with TemporaryDirectory() as folder:
        settings = {
            "PIPELINE_DATA": folder,
            "PIPELINE_STATE_URL": url,
            "PIPELINE_START": FIRST.isoformat(),
            "PIPELINE_HEAL_IN_FLIGHT": "1000",
        }
        with _environment(settings), dg.DagsterInstance.ephemeral() as instance:
            from pipeline_assets.automation.healing import HEAL, RETRY  # noqa: PLC0415 - reads settings

            for cause in (HEAL, RETRY):
                taken = [_tick_s(cause.name, instance) for _ in range(TICKS)]
                name = f"a tick of {cause.name} over {HOURS:,} hours on {what}, slowest of {TICKS}"
                yield Measure(name, max(taken), "s", "bar", BAR_S)


def _tick_s(name: str, instance: dg.DagsterInstance) -> float:
    from pipeline_assets.definitions import defs  # noqa: PLC0415 - reads settings

    sensor = defs.get_repository_def().get_sensor_def(name)
    context = dg.build_sensor_context(instance=instance, definitions=defs)
    started = time.perf_counter()
    result = sensor(context)
    taken = time.perf_counter() - started
    if not isinstance(result, dg.SensorResult) or not result.run_requests:
        raise TypeError(f"{name} asked for nothing: {result}")
    return taken


def _fill(url: str) -> None:
    state = State(url)
    with state.transaction() as connection:
        now = state.now(connection)
        names = [hour_name(FIRST + timedelta(hours=number)) for number in range(HOURS)]
        connection.execute(
            sa.insert(hours), [_line(number, name, now) for number, name in enumerate(names)]
        )
        connection.execute(
            sa.insert(heal_requests),
            [_given_up(name, asker, now) for name in names[::2] for asker in _ASKED_BY],
        )
    state.close()


_ASKED_BY = ("heal_low_quality_partitions", "retry_due")


def _line(number: int, hour: str, now: float) -> Mapping[str, object]:
    return {
        "hour": hour,
        "items": 500,
        "quality_mean": number % 97 / 97,
        "improvable": 20,
        "improvable_accelerated": 10,
        "next_retry_at": now,
        "by_priority": dict.fromkeys(Priority, 5),
        "accelerated_due_at": now,
        "accelerated_priority": CLASSES[number % len(CLASSES)],
        "other_due_at": now,
        "other_priority": CLASSES[number % len(CLASSES)],
        "updated_at": now,
    }


def _given_up(hour: str, asked_by: str, now: float) -> Mapping[str, object]:
    return {
        "asked_by": asked_by,
        "hour": hour,
        "epoch": 0,
        "number": 3,
        "asked_at": now,
        "rows": 10,
        "in_vain": 3,
        "outcome": Outcome.IN_VAIN,
        "ended_at": now,
    }


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, value)
        yield
