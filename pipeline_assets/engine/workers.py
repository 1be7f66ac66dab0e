"""The local engine: worker processes, and the supervisor that sees them die.

A worker that dies (a crash in native code, the kernel out of memory, a CUDA context that is gone)
takes no run along: it is replaced, and its piece is handed out again. What it had finished is
durable; what it was calling is narrowed down to the row that kills.
"""

from __future__ import annotations

import atexit
import logging
import math
import os
import pickle
import signal
import subprocess
import sys
import time
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from multiprocessing.connection import Connection, Pipe, wait
from typing import TYPE_CHECKING

from pipeline_assets.core.environment import RungStats, add_stats
from pipeline_assets.core.narrowing import blames_rung
from pipeline_assets.engine.orders import Report
from pipeline_assets.errors import ErrorKind, PipelineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from pipeline_assets.core.rows import RowId
    from pipeline_assets.engine.orders import Job, Listener, Order, Piece

log = logging.getLogger(__name__)

LISTEN_S = 0.2
"""How long a stop may go unnoticed."""
STILLBORN = 3
"""Workers that die one after the other before any call: not a row's fault, the run ends."""


@dataclass(frozen=True, slots=True)
class Calling:
    """A worker is about to call a rung (`stage.rung`) with these rows."""

    rung: str
    rows: tuple[RowId, ...]
    deadline_s: float


@dataclass(frozen=True, slots=True)
class Answered:
    """The call has ended."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A worker has made so many more rows durable; `rungs` is what the calls for them came to."""

    rows: int
    rungs: Mapping[str, RungStats]


@dataclass(frozen=True, slots=True)
class Done:
    """A worker has worked on its piece."""

    report: Report


@dataclass(frozen=True, slots=True)
class Failed:
    """What ended the piece: an error that is nobody's row's (the disk, a lease, a bug of ours)."""

    error: Exception


@dataclass(frozen=True, slots=True)
class ContextLost:
    """The last word of a worker whose CUDA context is gone."""

    reason: str


@dataclass(frozen=True, slots=True)
class Death:
    """What a live supervisor saw: a worker ended while it called a rung, or between calls.

    It `hung` where the supervisor ended it, past the deadline of the call.
    """

    calling: Calling | None
    cause: str
    blames_rung: bool = False
    hung: bool = False


class WorkersDied(PipelineError):
    """Workers die before they call any rung: no row is to blame."""

    def __init__(self, order: Order, cause: str) -> None:
        self.order, self.cause = order, cause
        super().__init__(
            f"{order.stage} of {order.hour}: {STILLBORN} workers in a row died before they called "
            f"a rung: {cause}. See what they wrote to stderr; with PIPELINE_WORKERS=0 the work is "
            "done in the run's own process, where the error is seen"
        )


# glibc raises this threshold when something large is freed, and then keeps what it held for the
# next time: a model's forward pass left 1.2 GB with a worker that needs 0.85. Given, it stays.
_GIVES_BACK = {"MALLOC_TRIM_THRESHOLD_": str(128 * 1024)}


@dataclass(slots=True)
class _Worker:
    """A worker process as its supervisor sees it. It ends when the connection does."""

    process: subprocess.Popen[bytes]
    connection: Connection
    job: Job | None = None
    piece: Piece | None = None
    calling: Calling | None = None
    due: float = math.inf
    rungs: dict[str, RungStats] = field(default_factory=dict)
    last_words: str | None = None

    @classmethod
    def started(cls) -> _Worker:
        ours, theirs = Pipe()
        command = [sys.executable, "-m", "pipeline_assets.engine.worker", str(theirs.fileno())]
        # It imports what its supervisor can, added stages too, wherever either was started.
        path = {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
        # A Ctrl-C is for the supervisor: a worker that still starts would end in a traceback.
        process = subprocess.Popen(  # noqa: S603 - ourselves
            command,
            pass_fds=[theirs.fileno()],
            env={**_GIVES_BACK, **os.environ, **path},
            process_group=0,
        )
        theirs.close()
        return cls(process, ours)

    def give(self, job: Job, piece: Piece) -> None:
        self.piece, self.rungs, self.last_words = piece, {}, None
        self.calling, self.due = None, math.inf
        if job is not self.job:
            self.job = job
            self.connection.send(job)
        self.connection.send(piece)

    def gone(self) -> bool:
        """Whether it ended without its connection: a process that it forked may still hold that."""
        return self.process.poll() is not None and not self.connection.poll()

    def overdue(self) -> bool:
        """Whether its call has taken longer than any that comes to an end."""
        return time.monotonic() > self.due

    def kill(self) -> None:
        """End it at once, with whatever it has started in its group."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def cause(self) -> str:
        """How the process ended."""
        code = self.process.wait()
        ended = f"it ended with {code}" if code >= 0 else f"killed by {_signal_name(-code)}"
        return f"{self.last_words} ({ended})" if self.last_words else ended

    def end(self, *, at_once: bool) -> None:
        """At once where it has work in hand that nobody wants any more; else when it likes."""
        self.connection.close()
        if at_once:
            self.process.kill()
        self.process.wait()


class Workers:
    """At most `count` worker processes, started when there is work for them."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._idle: list[_Worker] = []

    def run(
        self,
        job: Job,
        pieces: Iterable[Piece],
        at_most: int,
        listener: Listener,
        died: Callable[[Death], None],
    ) -> Iterator[Report]:
        """The report of each piece, as they come. Raises what ended a piece, and `WorkersDied`.

        At most `at_most` workers share the pieces. `died` is told of each death. Once
        `listener.stopped`, no further piece is begun, and those begun end after the micro-batch in
        hand.
        """
        shift = _Shift(self, job, iter(pieces), min(self._count, at_most), listener, died)
        try:
            yield from shift.work()
        finally:
            shift.over()

    def hire(self) -> _Worker:
        """An idle worker, the longest-serving first, since it has its models loaded."""
        while self._idle:
            worker = self._idle.pop(0)
            if worker.process.poll() is None:
                return worker
            worker.end(at_once=False)  # it died while it was idle
        return _Worker.started()

    def back(self, worker: _Worker) -> None:
        """A worker without a piece is kept for the next."""
        self._idle.append(worker)
        self._idle.sort(key=lambda each: each.process.pid)

    def close(self) -> None:
        """End the processes."""
        while self._idle:
            self._idle.pop().end(at_once=False)


@lru_cache(maxsize=1)
def shared_workers(count: int) -> Workers:
    """The workers of this process: kept for its life, since starting them costs a second each."""
    workers = Workers(count)
    atexit.register(workers.close)
    return workers


@dataclass(slots=True)
class _Shift:
    """The pieces of one order, shared out among workers."""

    workers: Workers
    job: Job
    pieces: Iterator[Piece]
    most: int
    listener: Listener
    died: Callable[[Death], None]
    busy: list[_Worker] = field(default_factory=list)
    again: deque[Piece] = field(default_factory=deque)
    stillborn: int = 0
    asked_to_stop: bool = False

    def work(self) -> Iterator[Report]:
        while True:
            self._hand_out()
            if not self.busy:
                return
            ready = wait([worker.connection for worker in self.busy], timeout=LISTEN_S)
            for worker in list(self.busy):
                if worker.connection in ready:
                    yield from self._heard(worker)
                elif worker.gone():
                    yield from self._buried(worker)
                elif worker.overdue():
                    worker.kill()
                    yield from self._buried(worker, hung=True)

    def over(self) -> None:
        """Whoever still works does so for nobody: what they finished is durable."""
        for worker in self.busy:
            worker.end(at_once=True)
        self.busy.clear()

    def _hand_out(self) -> None:
        if self.listener.stopped():
            if not self.asked_to_stop:
                self.asked_to_stop = True
                for worker in self.busy:
                    worker.process.send_signal(signal.SIGTERM)
            return
        while len(self.busy) < self.most:
            piece = self.again.popleft() if self.again else next(self.pieces, None)
            if piece is None:
                return
            worker = self.workers.hire()
            self.busy.append(worker)
            # One that died while it was idle cannot be told; the next look at it says so.
            with suppress(OSError):
                worker.give(self.job, piece)

    def _heard(self, worker: _Worker) -> Iterator[Report]:
        try:
            message = worker.connection.recv()
        except (EOFError, OSError):
            yield from self._buried(worker)
            return
        match message:
            case Calling():
                self.stillborn = 0
                worker.calling = message
                worker.due = time.monotonic() + message.deadline_s
            case Answered():
                worker.due = math.inf
            case Finished(rows, rungs):
                worker.calling = None
                add_stats(worker.rungs, rungs)
                self.listener.finished(rows, rungs)
            case Done(report):
                self.busy.remove(worker)
                self.workers.back(worker)
                yield self._accepted(report, worker.piece)
            case Failed(error):
                self.busy.remove(worker)
                self.workers.back(worker)
                raise error
            case ContextLost(reason):
                worker.last_words = reason
            case logging.LogRecord():
                logger = logging.getLogger(message.name)
                if logger.isEnabledFor(message.levelno):
                    logger.handle(message)

    def _accepted(self, report: Report, piece: Piece | None) -> Report:
        """A piece that another's SIGTERM interrupted is handed out again, and counted then."""
        if not report.interrupted or self.asked_to_stop or piece is None:
            return report
        self.again.append(replace(piece, again=True))
        return replace(report, rows=0, planned=Counter(), standing=Counter(), interrupted=False)

    def _buried(self, worker: _Worker, *, hung: bool = False) -> Iterator[Report]:
        """A worker died, or hung and was ended: its piece is handed out again, with what that says.

        What it had called before is counted; so is the call that it died in.
        """
        self.busy.remove(worker)
        worker.connection.close()
        cause, piece = worker.cause(), worker.piece
        if piece is None or (worker.calling is None and self.listener.stopped()):
            return  # asked to end while it started, which it could not do politely yet
        yield Report(rungs=_with_last_call(worker, hung=hung))
        if worker.calling is None:
            self.stillborn += 1
            if self.stillborn >= STILLBORN:
                raise WorkersDied(self.job.order, cause)
            self.died(Death(None, cause))
        else:
            calling, suspects = worker.calling, piece.suspects
            if hung:
                cause = f"no answer within {calling.deadline_s:g} s (call_deadline_s); it was ended"
                known = suspects.hung_in(calling.rung, calling.rows, cause)
            else:
                known = suspects.died(calling.rows, cause)
            blames = hung or blames_rung(suspects, calling.rows)
            self.died(Death(calling, cause, blames, hung))
            piece = replace(piece, suspects=known)
        if not self.asked_to_stop:
            self.again.append(replace(piece, again=True))


def _with_last_call(worker: _Worker, *, hung: bool) -> dict[str, RungStats]:
    """What the calls of a worker that died came to, the last one included."""
    rungs = dict(worker.rungs)
    if worker.calling is not None:
        rows, kind = len(worker.calling.rows), ErrorKind.TIMEOUT if hung else ErrorKind.WORKER_CRASH
        last = RungStats(calls=1, rows=rows, errors=Counter({str(kind): rows}))
        add_stats(rungs, {worker.calling.rung.partition(".")[2]: last})
    return rungs


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def picklable(error: Exception) -> Exception:
    """An error as it may cross to the supervisor; one that cannot be is told in words."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    except Exception:  # noqa: BLE001 - whatever is wrong with it
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
