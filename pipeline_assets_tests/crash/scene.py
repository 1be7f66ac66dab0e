"""One hour on a real disk, the processes that work on it, and what can be seen from outside."""

import multiprocessing
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Lock

import pyarrow.compute as pc
import pytest

from pipeline_assets.core.rows import Row, to_table
from pipeline_assets.core.status import Status
from pipeline_assets.ingest.items import SCHEMA
from pipeline_assets.store.tables import ROW_GROUP_ROWS, Tables
from pipeline_assets_tests import REPOSITORY
from pipeline_assets_tests.crash import run
from pipeline_assets_tests.crash.run import HOUR
from pipeline_assets_tests.crash.stage import CALLS, STAGE
from pipeline_assets_tests.lengths import HANG_S

POLL_S = 0.001
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([run.__name__, "pytest"])
POLLING = Lock()
"""Whoever starts a process looks at all others too, and an exit code can be read but once."""


def alive(process: int) -> bool:
    """Whether a process still runs; one that nobody has waited for yet does not."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


@dataclass(frozen=True, slots=True)
class Running:
    """A run in a process of its own."""

    process: BaseProcess

    @property
    def pid(self) -> int:
        """The supervisor's process."""
        assert self.process.pid is not None
        return self.process.pid

    def workers(self) -> list[int]:
        """Its worker processes."""
        with suppress(FileNotFoundError, ProcessLookupError):
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
            return [int(child) for child in children.split()]
        return []

    def alive(self) -> bool:
        """Whether it has not ended yet."""
        with POLLING:
            return self.process.is_alive()

    def signal(self, number: int, *, all_of_it: bool = False) -> None:
        """Send a signal to the supervisor, or to all of the run's processes."""
        for process in [self.pid, *(self.workers() if all_of_it else [])]:
            os.kill(process, number)

    def ended(self) -> int:
        """The exit code, once it has ended; the number of a signal, negative. No worker is left."""
        workers = self.workers()
        until(lambda: not self.alive(), "end of the run")
        assert self.process.exitcode is not None
        until(lambda: not any(map(alive, workers)), "end of the workers of a run that ended")
        return self.process.exitcode

    def kill(self) -> None:
        """End it at once, and its workers with it."""
        workers = self.workers()
        self.signal(signal.SIGKILL)
        assert self.ended() == -signal.SIGKILL
        until(lambda: not any(map(alive, workers)), "end of the workers of a killed run")


def until(condition: Callable[[], object], what: str, run: Running | None = None) -> None:
    """Wait until something is so, which it will never be once the `run` has ended."""
    deadline = time.monotonic() + HANG_S
    while not condition():
        assert time.monotonic() < deadline, f"no {what} within {HANG_S:.0f} s"
        assert run is None or run.alive() or condition(), f"the run ended: no {what}"
        time.sleep(POLL_S)


def attach(process: int, *options: str) -> None:
    """Have strace follow a process to its end. Skips the test where that is not to be had."""
    command = ["strace", "--follow-forks", f"--attach={process}", *options]
    try:
        tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    except FileNotFoundError:
        os.kill(process, signal.SIGKILL)
        pytest.skip("strace is not installed")
    assert tracer.stderr is not None
    told = tracer.stderr.readline()
    if "attached" not in told:
        os.kill(process, signal.SIGKILL)
        pytest.skip(f"strace may not follow processes here: {told.strip()}")


@dataclass(frozen=True, slots=True)
class Scene:
    """A data root with one hour of `rows` items, worked on by so many `workers`.

    With a `shop`, each item has a picture there, under its number.
    """

    folder: Path
    rows: int
    workers: int = 0
    shop: str | None = None

    def write_items(self) -> None:
        """Publish the items of the hour."""
        at = datetime(2026, 3, 2, 6, tzinfo=UTC)
        with self.tables.writer("items", HOUR, SCHEMA, lambda _table: None) as writer:
            for start in range(0, self.rows, ROW_GROUP_ROWS):
                numbers = range(start, min(self.rows, start + ROW_GROUP_ROWS))
                rows = [
                    Row(
                        (f"i{n:05d}",),
                        (f"name {n}", "product", None, None, self._picture(n), at, "batch", n),
                        Status.OK,
                        rung="feed",
                        quality=1.0,
                        key="k",
                    )
                    for n in numbers
                ]
                writer.write(to_table(rows, SCHEMA))
            writer.publish()

    def _picture(self, n: int) -> str | None:
        return None if self.shop is None else f"{self.shop}{n}"

    @property
    def data(self) -> Path:
        """The data root."""
        return self.folder / "data"

    @property
    def tables(self) -> Tables:
        """Its tables."""
        return Tables(self.data / "tables")

    @property
    def settings(self) -> dict[str, str]:
        """The environment of its runs."""
        return {
            "PIPELINE_DATA": str(self.data),
            "PIPELINE_WORKERS": str(self.workers),
            "PIPELINE_STAGES": "pipeline_assets_tests.crash.stage",
            "PYTHONPATH": str(REPOSITORY),
            CALLS: str(self.calls),
        }

    @property
    def calls(self) -> Path:
        """The file in which the rung notes its calls."""
        return self.folder / "calls"

    @property
    def items(self) -> list[str]:
        """The items of the hour."""
        return [f"i{n:05d}" for n in range(self.rows)]

    def start(self, *traced: str, **environment: str) -> Running:
        """Start a run; `traced` are options of strace, which follows it from its first step."""
        ours, theirs = FORKS.Pipe()
        settings = self.settings | environment
        process = FORKS.Process(target=run.main, args=(settings, self.folder, theirs))
        with POLLING:
            process.start()
        running = Running(process)
        if traced:
            attach(running.pid, *traced)
        ours.send("go")
        return running

    def finish(self, **environment: str) -> None:
        """Run to the end."""
        code = self.start(**environment).ended()
        assert code == 0, f"it ended with {code}: {self.said()}"

    def said(self) -> str:
        """What the runs have said."""
        return (self.folder / "said").read_text()

    def shards(self) -> set[str]:
        """The durable micro-batches that are not in the table yet."""
        return {path.name for path in (self.data / "work" / STAGE.name).rglob("*.arrow")}

    def wait_for_shards(self, new: int, run: Running) -> None:
        """Wait until so many more micro-batches are durable than now."""
        before = self.shards()
        until(lambda: len(self.shards() - before) >= new, "new durable work", run)

    def called(self) -> Counter[str]:
        """How often the rung was given each item."""
        return Counter(item for _caller, items in self._calls() for item in items)

    def callers(self) -> set[int]:
        """The processes that have called the rung."""
        return {caller for caller, items in self._calls() if items}

    def children(self) -> set[int]:
        """The processes that the rung has left behind."""
        return {caller for caller, items in self._calls() if not items}

    def _calls(self) -> Iterator[tuple[int, list[str]]]:
        lines = self.calls.read_text().splitlines() if self.calls.exists() else []
        for line in lines:
            caller, *items = line.split()
            yield int(caller), items

    def redone(self) -> int:
        """How many rows the rung was given more often than once."""
        called = self.called()
        return called.total() - len(called)

    def shouts(self) -> list[str]:
        """The values of the published table, after a look at its rows."""
        table = self.tables.read(STAGE.name, HOUR)
        assert table["item_id"].to_pylist() == self.items
        return table["shout"].to_pylist()

    def with_status(self, status: str) -> set[str]:
        """The items of the published table that have this status."""
        table = self.tables.read(STAGE.name, HOUR)
        return set(table.filter(pc.equal(table["status"], status))["item_id"].to_pylist())

    def why(self, item: str) -> str:
        """The error of an item's row."""
        table = self.tables.read(STAGE.name, HOUR, items=(item, item))
        return str(table["error"][0].as_py())

    def made(self, version: int = 1) -> list[str]:
        """The values of a table that is whole."""
        return [f"NAME {n} v{version}" for n in range(self.rows)]


def scene_of(folder: Path, rows: int, workers: int = 0) -> Scene:
    """A new data root with its hour of items."""
    scene = Scene(folder, rows, workers)
    scene.write_items()
    return scene
