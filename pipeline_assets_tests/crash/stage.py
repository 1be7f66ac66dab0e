"""A stage that notes outside of the platform what it was called with, as slow as it is told."""

import os
import signal
import time
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from pipeline_assets.core.breaker import BreakerRule
from pipeline_assets.core.rows import Made, Outcome, Work
from pipeline_assets.core.stage import Rung, Stage

CALLS, SLOW_S, VERSION = "CRASH_CALLS", "CRASH_SLOW_S", "CRASH_VERSION"
"""The file of the calls, the seconds that a call takes, the producer's version."""
KILLER, PARENT = "CRASH_KILLER", "CRASH_PARENT"
"""An item that kills who is called with it; one that makes a child first, and dies but once."""
MICRO_BATCH = 50


def shout(_resources: Any, works: Sequence[Work]) -> list[Outcome]:
    """The name in capitals, with the version that made it."""
    items = [work.id[0] for work in works]
    _note(f"{os.getpid()} {' '.join(items)}\n")
    if os.environ.get(PARENT) in items and os.fork() == 0:
        _note(f"{os.getpid()}\n")
        signal.pause()
    if os.environ.get(KILLER) in items:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(float(os.environ.get(SLOW_S, "0")))
    return [Made((f"{work['items.name'].upper()} v{_version()}",)) for work in works]


def _note(line: str) -> None:
    """One write at the end of the file, which other processes write to as well."""
    descriptor = os.open(os.environ[CALLS], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def _version() -> str:
    return os.environ.get(VERSION, "1")


STAGE = Stage(
    name="crash",
    description="Names in capitals.",
    values=(pa.field("shout", pa.string()),),
    required=("shout",),
    rungs=(
        Rung(
            name="shout",
            factor=1.0,
            call=shout,
            reads=("items.name",),
            producer=lambda _resources: f"shout/{_version()}",
        ),
    ),
    skip_factor=0.5,
    micro_batch=MICRO_BATCH,
    breaker=BreakerRule(failures=None),  # whoever kills fifty workers is no failing rung
)
