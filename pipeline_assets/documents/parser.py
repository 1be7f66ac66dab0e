"""A parser process: `python -m pipeline_assets.documents.parser FD TIME_S MEMORY_BYTES`.

Takes documents from the connection, one after the other, and says what became of each. Both limits
are kept by the kernel, whatever the parser is doing then. It ends with whoever started it.
"""

import json
import logging
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pipeline_assets.documents import documents
from pipeline_assets.errors import RowError, TooLarge, classify

READY = b"ready"
OUT_OF_MEMORY = 7
"""The exit code of a parser that met its limit: what is left of it is not to be trusted."""
RETIRES_AT = 0.5
"""Share of the memory limit that may be in use between two documents."""

ACTIONS: Mapping[str, tuple[Callable[[bytes], Any], tuple[str, ...]]] = MappingProxyType(
    {
        "count_pages": (documents.count_pages, ("pypdfium2",)),
        "structured": (documents.structured, ("pypdfium2", "trafilatura")),
        "plain": (documents.plain, ()),
    }
)
"""What can be asked for, and the packages whose loading is not on the document's time."""


def main(connection: Connection, time_s: float, memory_bytes: int) -> None:
    """Parse documents until the other end is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    logging.disable()  # a stranger's page must not fill the log
    try:
        connection.send_bytes(READY)
        while True:
            action, data = connection.recv_bytes().decode(), connection.recv_bytes()
            connection.send_bytes(_answer(action, data, time_s, memory_bytes))
    except (EOFError, OSError):
        return
    except MemoryError:
        os._exit(OUT_OF_MEMORY)


def _answer(action: str, data: bytes, time_s: float, memory_bytes: int) -> bytes:
    call, packages = ACTIONS[action]
    for package in packages:
        import_module(package)
    # SIGPROF ends the process. CPU time: that others keep the machine busy is no document's fault.
    signal.setitimer(signal.ITIMER_PROF, time_s)
    said = _outcome(call, data)
    signal.setitimer(signal.ITIMER_PROF, 0)
    said["retires"] = _memory_in_use() > RETIRES_AT * memory_bytes
    return json.dumps(said, ensure_ascii=False, default=str).encode()


def _outcome(call: Callable[[bytes], Any], data: bytes) -> dict[str, Any]:
    try:
        found = call(data)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the document's reason
        reason = _reason(error)
        return {"error_kind": reason.kind, "error": reason.message}
    return {"found": asdict(found) if isinstance(found, documents.Document) else found}


def _reason(error: Exception) -> RowError:
    if isinstance(error, RecursionError):
        return TooLarge("it is nested more deeply than the parser can go")
    return classify(error)


def _memory_in_use() -> int:
    """What counts against the limit; 0 on a system that does not tell, nor keeps such a limit."""
    with suppress(OSError):
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[5]
        return int(pages) * resource.getpagesize()
    return 0


if __name__ == "__main__":
    main(Connection(int(sys.argv[1])), float(sys.argv[2]), int(sys.argv[3]))
