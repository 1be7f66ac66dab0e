"""Whether somebody still works on a run that says it is started."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest

from pipeline_assets.automation.dagster_internals import WorkerStatus
from pipeline_assets.automation.launcher import (
    PROCESS_TAG,
    WatchfulRunLauncher,
    lost_reason,
    own_process_tags,
)
from pipeline_assets.store.processes import this_process

RUN = "9f0e0000-0000-0000-0000-000000000000"
GRPC = ".dagster/grpc_info"


def ended_process() -> int:
    """The id of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def at_this_place(process: int) -> str:
    """A process as it is told."""
    return f"{this_process().rpartition(':')[0]}:{process}"


def server_tags(**where: object) -> dict[str, str]:
    """The tags of a run that a code server has started."""
    return {GRPC: json.dumps({"host": "localhost", **where})}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a name that is short enough for a socket."""
    made = Path(f"/tmp/launcher-{os.getpid()}")  # noqa: S108 - a socket's path is short
    made.mkdir()
    yield made
    shutil.rmtree(made)


def test_a_run_of_a_command_that_goes_on_is_there() -> None:
    """It is this very process."""
    assert lost_reason(RUN, own_process_tags()) is None


def test_a_run_of_a_command_that_was_killed_is_lost() -> None:
    """It would hold its hour against every later run."""
    process = ended_process()
    reason = lost_reason(RUN, {PROCESS_TAG: at_this_place(process)})
    assert reason is not None
    assert str(process) in reason


def test_of_a_command_on_another_host_nothing_is_known() -> None:
    """A run is only ended where it is certain that nobody works on it."""
    assert lost_reason(RUN, {PROCESS_TAG: f"elsewhere:{ended_process()}"}) is None


def test_a_run_that_says_nothing_of_its_process_is_left_alone() -> None:
    """Somebody else's launcher started it."""
    assert lost_reason(RUN, {}) is None


def test_a_code_server_that_is_gone_takes_its_runs_along(folder: Path) -> None:
    """Its socket is not there, or nobody listens on it."""
    path = folder / "socket"
    assert "has ended" in (lost_reason(RUN, server_tags(socket=str(path))) or "")
    with closing(socket.socket(socket.AF_UNIX)) as left_behind:
        left_behind.bind(str(path))
    assert "has ended" in (lost_reason(RUN, server_tags(socket=str(path))) or "")


def test_a_code_server_of_another_host_that_does_not_answer_proves_nothing() -> None:
    """It may be busy, or on its way back; once it is back it says itself what it knows."""
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        tags = server_tags(host="127.0.0.1", port=taken.getsockname()[1])
        assert lost_reason(RUN, tags) is None


def test_run_monitoring_is_told() -> None:
    """In Dagster's own words, with the reason."""
    tags = {PROCESS_TAG: at_this_place(ended_process())}
    health = WatchfulRunLauncher().check_run_worker_health(dg.DagsterRun("hour", RUN, tags=tags))
    assert health.status is WorkerStatus.NOT_FOUND
    assert "has ended" in (health.msg or "")
    alive = dg.DagsterRun("hour", RUN, tags=own_process_tags())
    assert WatchfulRunLauncher().check_run_worker_health(alive).status is WorkerStatus.RUNNING
