"""A worker process: `python -m pipeline_assets.engine.worker FD`, started by its supervisor.

Takes orders and their pieces from the connection, works on one after the other, and says what it
is doing. It ends with its supervisor, whatever it is doing then.
"""

import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection
from queue import SimpleQueue
from traceback import format_exception

from pipeline_assets.core.environment import RungStats
from pipeline_assets.core.rows import RowId
from pipeline_assets.engine.orders import Job, Listener, Piece, Report
from pipeline_assets.engine.shard import OpenOrder
from pipeline_assets.engine.stopping import Stop
from pipeline_assets.engine.workers import (
    Answered,
    Calling,
    ContextLost,
    Done,
    Failed,
    Finished,
    picklable,
)
from pipeline_assets.resources import Resources
from pipeline_assets.stages import find_stage

CONTEXT_LOST = 3
ORPHANED = 4
GARBAGE_AT = 50_000
"""Rows are made by the thousand and die young: looking for cycles among them every 700 objects
costs a fifth of the bookkeeping."""


class Supervisor:
    """The other end of the connection; a message is whole, whichever thread sends it."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._lock = connection, threading.Lock()
        self.orders: SimpleQueue[Job | Piece] = SimpleQueue()
        threading.Thread(target=self._listen, name="supervisor", daemon=True).start()

    def tell(self, message: object) -> None:
        """Send a message. A supervisor that is gone needs no worker."""
        try:
            with self._lock:
                self._connection.send(message)
        except OSError:
            os._exit(ORPHANED)

    def calling(self, rung: str, rows: Sequence[RowId], deadline_s: float) -> None:
        """A rung is about to be called."""
        self.tell(Calling(rung, tuple(rows), deadline_s))

    def answered(self) -> None:
        """The call has ended."""
        self.tell(Answered())

    def finished(self, rows: int, rungs: Mapping[str, RungStats]) -> None:
        """So many more rows are durable, and this is what the calls for them came to."""
        self.tell(Finished(rows, rungs))

    def context_lost(self, error: BaseException) -> None:
        """End: every later call here would fail as this one did."""
        self.tell(ContextLost(f"{type(error).__name__}: {error}"))
        os._exit(CONTEXT_LOST)

    def listener(self, stop: Stop) -> Listener:
        """Who hears of a piece, and may end it."""
        return Listener(
            calling=self.calling,
            answered=self.answered,
            context_lost=self.context_lost,
            finished=self.finished,
            stopped=stop,
            sleep=stop.sleep,
        )

    def _listen(self) -> None:
        """Take orders, also while one is worked on: the end of the connection must be seen."""
        while True:
            try:
                self.orders.put(self._connection.recv())
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


class Worker:
    """Keeps open what the pieces of one order share."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._job: Job | None = None
        self._opened: OpenOrder | None = None
        self._stop = Stop()

    def ask_to_stop(self, number: int, _frame: object) -> None:
        """SIGTERM: finish the micro-batch in hand."""
        self._stop.ask(number)

    def take(self, order: Job | Piece) -> None:
        """Take up another order, or work on a piece of the one that there is."""
        if isinstance(order, Job):
            self._close()
            self._job = order
            return
        answer: Done | Failed
        try:
            answer = Done(self._work(order))
        except Exception as error:  # noqa: BLE001 - the supervisor raises it
            error.add_note("".join(format_exception(error)))
            answer = Failed(picklable(error))
        # Before the next piece may come: a word that comes with it must be heard.
        self._stop = Stop()
        self._supervisor.tell(answer)

    def _work(self, piece: Piece) -> Report:
        # A piece that is handed out again was begun by a worker that died: its shards are new.
        if self._opened is None or piece.again:
            self._close()
            self._opened = _opened(self._job)
        return self._opened.work(piece, self._supervisor.listener(self._stop))

    def _close(self) -> None:
        if self._opened is not None:
            self._opened.resources.close()
            self._opened = None


def _opened(job: Job | None) -> OpenOrder:
    if job is None:
        raise RuntimeError("a piece came before its order")
    os.chdir(job.folder)  # it may have been started for another order, and somewhere else
    resources = Resources(job.settings)
    stage = find_stage(job.settings, job.order.stage)
    lease = resources.leases.joined(job.lease, job.token)
    return OpenOrder.of(job.order, stage, resources, job.base, lease.publishing)


def main(connection: Connection) -> None:
    """Work on what comes until the supervisor is gone."""
    supervisor = Supervisor(connection)
    worker = Worker(supervisor)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever sends it to all: the supervisor decides
    signal.signal(signal.SIGTERM, worker.ask_to_stop)
    logging.basicConfig(level=logging.INFO, handlers=[Forward(supervisor)])
    gc.freeze()
    gc.set_threshold(GARBAGE_AT)
    while True:
        worker.take(supervisor.orders.get())


if __name__ == "__main__":
    main(Connection(int(sys.argv[1])))
