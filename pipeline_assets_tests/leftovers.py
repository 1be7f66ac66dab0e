"""No process outlives a test run: neither one that ended, nor one that was interrupted or killed.

Whatever is started while tests run inherits a mark in its environment. A watcher, told by nothing
but the end of its input that the run is over, ends all that still bear the mark; a run that left
some at its orderly end is failed for it. Where there is no /proc nothing is found.
"""

import os
import signal
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from pathlib import Path

import pytest

from pipeline_assets_tests import REPOSITORY

MARK = "STARTED_BY_TESTS"
WATCHER = pytest.StashKey[subprocess.Popen[bytes]]()
GONE_WITHIN_S = 60.0
"""What was told to end has so long for it, before it is called a leftover and killed."""
LOOK_EVERY_S = 0.1


def marked(mark: str) -> dict[int, str]:
    """The command lines of the living processes that bear the mark, by process id."""
    wanted, found = f"{MARK}={mark}".encode(), {}
    for folder in Path("/proc").glob("[0-9]*"):
        # A process may end meanwhile, or be somebody else's.
        with suppress(OSError):
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                found[int(folder.name)] = command.decode(errors="replace").strip()
    return found


def end_all(mark: str, but: set[int]) -> dict[int, str]:
    """Kill those that bear the mark, and what they start meanwhile; which ones they were."""
    killed: dict[int, str] = {}
    while left := {pid: line for pid, line in marked(mark).items() if pid not in but}:
        killed |= left
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(LOOK_EVERY_S)
    return killed


def leftovers(mark: str, but: set[int]) -> dict[int, str]:
    """Those that are still there when what was told to end has had its time; they are killed."""
    deadline = time.monotonic() + GONE_WITHIN_S
    while set(marked(mark)) - but and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY_S)
    return end_all(mark, but)


def watch() -> None:
    """Wait for the end of the input, and end what is left. A Ctrl-C is not for this process."""
    sys.stdin.buffer.read()
    end_all(os.environ[MARK], {os.getpid()})


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Heed signals, and mark what will be started, in the process that starts all others."""
    # A job in the background of a script is started deaf, and so would be all that it starts.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if MARK in os.environ:
        return
    os.environ[MARK] = uuid.uuid4().hex
    config.stash[WATCHER] = subprocess.Popen(
        [sys.executable, "-m", __name__],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        start_new_session=True,
    )


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail a run that leaves processes behind; workers of pytest-xdist have ended by now.

    Without them some of what was started ends only when this process does, and whoever interrupts
    a run does not want to wait: then there is just the watcher.
    """
    watcher = session.config.stash.get(WATCHER, None)
    shared_out = session.config.pluginmanager.hasplugin("dsession")
    if watcher is None or not shared_out or exitstatus == pytest.ExitCode.INTERRUPTED:
        return
    left = leftovers(os.environ.pop(MARK), {os.getpid(), watcher.pid})
    watcher.communicate()
    if left:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        for pid, line in left.items():
            print(f"\nleft behind and killed: process {pid}: {line}")


if __name__ == "__main__":
    watch()
