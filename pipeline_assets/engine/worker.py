"""A worker process: `python -m pipeline_assets.engine.worker FD`, started by its supervisor.

Takes tasks from the connection, works on one after the other, and says what it is doing. It ends
with its supervisor, whatever it is doing then.
"""

import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection
from queue import SimpleQueue
from traceback import format_exception

from pipeline_assets.core.climb import RungStats
from pipeline_assets.core.fingerprint import Keys
from pipeline_assets.core.rows import RowId
from pipeline_assets.engine.orders import Order, Report
from pipeline_assets.engine.shard import Surroundings, process_shard
from pipeline_assets.engine.stopping import Stop
from pipeline_assets.engine.workers import (
    Calling,
    ContextLost,
    Done,
    Failed,
    Finished,
    Task,
    picklable,
)
from pipeline_assets.resources import Resources
from pipeline_assets.settings import Settings
from pipeline_assets.stages import find_stage
from pipeline_assets.store.checkpoints import Checkpoints

CONTEXT_LOST = 3
ORPHANED = 4
GARBAGE_AT = 50_000
"""Rows are made by the thousand and die young: looking for cycles among them every 700 objects
costs a fifth of the bookkeeping."""


class Supervisor:
    """The other end of the connection; a message is whole, whichever thread sends it."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._lock = connection, threading.Lock()
        self._rungs: Mapping[str, RungStats] = {}
        self.tasks: SimpleQueue[Task] = SimpleQueue()
        threading.Thread(target=self._listen, name="supervisor", daemon=True).start()

    def tell(self, message: object) -> None:
        """Send a message. A supervisor that is gone needs no worker."""
        try:
            with self._lock:
                self._connection.send(message)
        except OSError:
            os._exit(ORPHANED)

    def calling(self, rung: str, rows: Sequence[RowId]) -> None:
        """A rung is about to be called."""
        self.tell(Calling(rung, tuple(rows)))

    def counted(self, rungs: Mapping[str, RungStats]) -> None:
        """What the calls came to for the rows that are said to be finished next."""
        self._rungs = rungs

    def finished(self, rows: int) -> None:
        """So many more rows are durable."""
        self.tell(Finished(rows, self._rungs))
        self._rungs = {}

    def context_lost(self, error: Exception) -> None:
        """End: every later call here would fail as this one did."""
        self.tell(ContextLost(f"{type(error).__name__}: {error}"))
        os._exit(CONTEXT_LOST)

    def _listen(self) -> None:
        """Take tasks, also while one is worked on: the end of the connection must be seen."""
        while True:
            try:
                self.tasks.put(self._connection.recv())
            except (EOFError, OSError):
                os._exit(ORPHANED)


class Forward(QueueHandler):
    """Log records go where the supervisor's go."""

    def __init__(self, supervisor: Supervisor) -> None:
        super().__init__(SimpleQueue())
        self.setFormatter(logging.Formatter())  # the message alone: its line is made over there
        self._supervisor = supervisor

    def enqueue(self, record: logging.LogRecord) -> None:
        """Send it, instead of queueing it."""
        self._supervisor.tell(record)


@dataclass(frozen=True, slots=True)
class Opened:
    """What the pieces of one order share."""

    order: Order
    resources: Resources
    checkpoints: Checkpoints
    keys: Keys

    @classmethod
    def of(cls, task: Task) -> "Opened":
        """Open it for the order that a task is a piece of."""
        resources = Resources(task.settings)
        stage = find_stage(task.settings, task.stage)
        lease = resources.leases.joined(task.lease, task.token)
        return cls(
            Order(
                stage=stage,
                hour=task.hour,
                run_id=task.run_id,
                items=task.items,
                force=task.force,
                only_improvable=task.only_improvable,
                strict=task.strict,
            ),
            resources,
            Checkpoints(
                resources.shards,
                stage.name,
                task.hour,
                base=task.base,
                tidy=False,
                guard=lease.publishing,
            ),
            Keys.of(stage, resources),
        )


@dataclass(slots=True)
class Desk:
    """What a worker keeps open from one piece of an order to the next."""

    lease: tuple[Settings, str, int] | None = None
    opened: Opened | None = None
    stop: Stop = field(default_factory=Stop)

    def open(self, task: Task) -> Opened:
        """What a task needs. A piece that is handed out again was begun by a worker that died."""
        lease = (task.settings, task.lease, task.token)
        if self.opened is None or self.lease != lease or task.again:
            if self.opened is not None:
                self.opened.resources.close()
            self.opened, self.lease = Opened.of(task), lease
        return self.opened

    def ask_to_stop(self, number: int, _frame: object) -> None:
        """SIGTERM: finish the micro-batch in hand."""
        self.stop.ask(number)


def work(task: Task, desk: Desk, supervisor: Supervisor) -> Report:
    """Work on one piece."""
    opened = desk.open(task)
    around = Surroundings(
        watch=supervisor,
        progress=supervisor.finished,
        counted=supervisor.counted,
        stopped=desk.stop,
        sleep=desk.stop.sleep,
        again=task.again,
    )
    return process_shard(
        opened.order,
        task.piece,
        opened.resources,
        opened.checkpoints,
        opened.keys,
        around,
        task.suspects,
    )


def main(connection: Connection) -> None:
    """Work on tasks until the supervisor is gone."""
    supervisor, desk = Supervisor(connection), Desk()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever sends it to all: the supervisor decides
    signal.signal(signal.SIGTERM, desk.ask_to_stop)
    logging.basicConfig(level=logging.INFO, handlers=[Forward(supervisor)])
    gc.freeze()
    gc.set_threshold(GARBAGE_AT)
    while True:
        task = supervisor.tasks.get()
        answer: Done | Failed
        try:
            answer = Done(work(task, desk, supervisor))
        except Exception as error:  # noqa: BLE001 - the supervisor raises it
            error.add_note("".join(format_exception(error)))
            answer = Failed(picklable(error))
        desk.stop = Stop()  # before the next task may come: a word that comes with it must be heard
        supervisor.tell(answer)


if __name__ == "__main__":
    main(Connection(int(sys.argv[1])))
