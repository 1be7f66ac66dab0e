"""Parsing strangers' documents in processes that may die of it.

A page can be written so that a parser takes minutes or all memory for it, and a PDF so that native
code crashes. Each is parsed in a child process with a limit of time and of memory, which goes on to
the next document as long as it lives: a poison file costs one child and one row.

Bytes go in, JSON comes out: a pickle from a process that has read a stranger's bytes would be code.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from multiprocessing.connection import Connection, Pipe
from threading import Lock
from typing import Any

from pipeline_assets.documents.documents import Document
from pipeline_assets.documents.parser import OUT_OF_MEMORY, READY
from pipeline_assets.errors import (
    BY_KIND,
    ErrorKind,
    InvalidInput,
    ResourceExhausted,
    RowError,
    Timeout,
    TooLarge,
    Unavailable,
)

MAX_ANSWER_BYTES = 16_000_000
"""A text has a million characters at most, in up to six bytes each."""
WALL_FACTOR = 5
"""Times the limit that a document may take on the clock: the limit itself is of CPU time."""
STARTED_WITHIN_S = 60.0
"""A start takes 0.1 s; on a machine that is overloaded, much longer."""
DEAD_WITHIN_S = 5.0

_ENVIRONMENT = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ")
"""What a parser is told of ours: none of the secrets."""
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
_FROM_OUTSIDE = (-signal.SIGKILL, -signal.SIGTERM)
"""How the kernel ends a process when the machine is out of memory, and how people do."""


class Parsers:
    """Parser processes, one for each thread that has a document; kept for the next.

    `time_s` is CPU time and `memory_bytes` the data of the whole process, whose `module` is run.
    """

    def __init__(
        self, time_s: float, memory_bytes: int, module: str = "pipeline_assets.documents.parser"
    ) -> None:
        self._time_s, self._memory_bytes, self._module = time_s, memory_bytes, module
        self._idle: list[_Parser] = []
        self._lock = Lock()

    def count_pages(self, data: bytes) -> int:
        """As `documents.count_pages`, within the limits."""
        return int(self._asked("count_pages", data))

    def structured(self, data: bytes) -> Document:
        """As `documents.structured`, within the limits."""
        return _document(self._asked("structured", data))

    def plain(self, data: bytes) -> Document:
        """As `documents.plain`, within the limits."""
        return _document(self._asked("plain", data))

    def close(self) -> None:
        """End the processes."""
        with self._lock:
            idle, self._idle = self._idle, []
        for parser in idle:
            parser.end()

    def _asked(self, action: str, data: bytes) -> Any:
        """What a parser found.

        Raises what it says, `TooLarge` over a limit, `InvalidInput` for a document that kills it.
        """
        try:
            return self._ask(self._hired(), action, data)
        except _Died as died:
            if died.code == -signal.SIGPROF:
                raise self._verdict(died) from None
        # It may have been weak with age, or ended by somebody: a new one proves it.
        try:
            return self._ask(self._started(), action, data)
        except _Died as died:
            raise self._verdict(died) from None

    def _ask(self, parser: _Parser, action: str, data: bytes) -> Any:
        try:
            said = parser.ask(action, data, self._time_s * WALL_FACTOR)
        except BaseException:
            parser.end(at_once=True)
            raise
        if said["retires"]:
            parser.end()
        else:
            with self._lock:
                self._idle.append(parser)
        if "error" in said:
            raise BY_KIND[ErrorKind(said["error_kind"])](said["error"])
        return said["found"]

    def _hired(self) -> _Parser:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return self._started()

    def _started(self) -> _Parser:
        return _Parser.started(self._module, self._time_s, self._memory_bytes)

    def _verdict(self, died: _Died) -> RowError:
        """What the death of a parser says of its document."""
        if died.code == -signal.SIGPROF:
            return TooLarge(
                f"parsing it took more than {self._time_s:g} s of CPU time "
                "(PIPELINE_PARSE_TIMEOUT_S)"
            )
        if died.code == OUT_OF_MEMORY:
            return TooLarge(
                f"parsing it took more than {self._memory_bytes} bytes of memory "
                "(PIPELINE_PARSE_MEMORY_BYTES)"
            )
        if died.code in _FROM_OUTSIDE:
            return ResourceExhausted(
                f"its parser was ended twice from outside ({died}), as the kernel does when the "
                "machine is out of memory"
            )
        return InvalidInput(
            f"it kills its parser, two out of two: {died}; native code may end so, too, where "
            f"PIPELINE_PARSE_MEMORY_BYTES={self._memory_bytes} is too little for it"
        )


class _Died(Exception):
    """A parser ended over a document."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(f"exit code {code}" if code >= 0 else signal.Signals(-code).name)


@dataclass(slots=True)
class _Parser:
    """A parser process. It ends when the connection does."""

    process: subprocess.Popen[bytes]
    connection: Connection

    @classmethod
    def started(cls, module: str, time_s: float, memory_bytes: int) -> _Parser:
        """A process that is ready. Raises `Unavailable` where none can be had."""
        ours, theirs = Pipe()
        limits = (str(time_s), str(memory_bytes))
        given = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        # A Ctrl-C is for who runs the stage; standard output is not for libraries to write to.
        process = subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-m", module, str(theirs.fileno()), *limits],
            pass_fds=[theirs.fileno()],
            env={**given, **_ONE_THREAD},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            process_group=0,
        )
        theirs.close()
        parser = cls(process, ours)
        try:
            if parser.heard(STARTED_WITHIN_S) == READY:
                return parser
            ended = f"it was not ready after {STARTED_WITHIN_S:g} s"
        except _Died as died:
            ended = str(died)
        parser.end(at_once=True)
        raise Unavailable(
            f"no parser process can be started: {ended}. See what it wrote to stderr; libraries "
            f"alone need 200 MB of PIPELINE_PARSE_MEMORY_BYTES={memory_bytes}"
        )

    def ask(self, action: str, data: bytes, wall_s: float) -> dict[str, Any]:
        """What it says of a document. Raises `_Died`, and `Timeout` where it says nothing."""
        try:
            self.connection.send_bytes(action.encode())
            self.connection.send_bytes(data)
        except OSError:
            raise _Died(self._code()) from None
        said = self.heard(wall_s)
        if said is None:
            raise Timeout(
                f"its parser had no answer after {wall_s:g} s on the clock and is within its limit "
                "of CPU time (PIPELINE_PARSE_TIMEOUT_S): this machine is overloaded"
            )
        answer: dict[str, Any] = json.loads(said)
        return answer

    def heard(self, within_s: float) -> bytes | None:
        """The next message; None where there is none in time. Raises `_Died`."""
        try:
            if self.connection.poll(within_s):
                return self.connection.recv_bytes(MAX_ANSWER_BYTES)
        except (EOFError, OSError):
            raise _Died(self._code()) from None
        return None

    def end(self, *, at_once: bool = False) -> None:
        """At once where it has a document in hand; else it ends by itself."""
        self.connection.close()
        if at_once:
            self.process.kill()
        self.process.wait()

    def _code(self) -> int:
        """How it ended, or ends now that nobody listens to it."""
        self.connection.close()
        with suppress(subprocess.TimeoutExpired):
            return self.process.wait(DEAD_WITHIN_S)
        self.process.kill()
        return self.process.wait()


def _document(said: dict[str, Any]) -> Document:
    published = said["published"]
    return Document(**{**said, "published": published and datetime.fromisoformat(published)})


@lru_cache(maxsize=4)
def shared_parsers(time_s: float, memory_bytes: int) -> Parsers:
    """The parsers of this process with these limits: kept for its life, as its workers are."""
    parsers = Parsers(time_s, memory_bytes)
    atexit.register(parsers.close)
    return parsers


# A process that is forked from this one must not speak into its connections.
os.register_at_fork(after_in_child=shared_parsers.cache_clear)
