"""Starts runs as Dagster does by itself, and can tell whether a run's process is still there.

Dagster's own launcher cannot: a run whose host lost power stays "started" for good, and holds its
partition and its pool against every later run. `dagster.yaml` names this one instead, so that run
monitoring ends such a run and run retries start it again.
"""

import json
import socket
from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any

from dagster_shared.serdes import deserialize_value

# Dagster documents launchers as something to write, but exports only its default one's base.
from pipeline_assets.automation.dagster_internals import (
    GRPC_INFO_TAG,
    MAX_RETRIES_TAG,
    CanCancelExecutionRequest,
    CanCancelExecutionResult,
    CheckRunHealthResult,
    DagsterGrpcClient,
    DagsterUserCodeUnreachableError,
    DefaultRunLauncher,
    WorkerStatus,
)
from pipeline_assets.store.processes import has_ended, shown, this_process

if TYPE_CHECKING:
    import dagster as dg

PROCESS_TAG = "pipeline_assets/process"
"""The process of a run that the command line works on itself."""

ASKED_FOR_S = 10
CONNECTING_S = 1.0


def own_process_tags() -> dict[str, str]:
    """The tags of a run in this process. If it dies, whoever typed the command sees it."""
    return {PROCESS_TAG: this_process(), MAX_RETRIES_TAG: "0"}


class WatchfulRunLauncher(DefaultRunLauncher):
    """Dagster's launcher, with the health check that run monitoring asks for."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Run monitoring may ask."""
        return True

    def check_run_worker_health(self, run: "dg.DagsterRun") -> CheckRunHealthResult:
        """Not found only where it is certain; a server that does not answer proves nothing."""
        lost = lost_reason(run.run_id, run.tags)
        if lost is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.NOT_FOUND, lost)


def lost_reason(run_id: str, tags: Mapping[str, str]) -> str | None:
    """Why nobody works on a started run any more; None while somebody does, or may."""
    if PROCESS_TAG in tags:
        return _process_lost(tags[PROCESS_TAG])
    if GRPC_INFO_TAG in tags:
        return _worker_lost(run_id, json.loads(tags[GRPC_INFO_TAG]))
    return None


def _process_lost(owner: str) -> str | None:
    if not has_ended(owner):
        return None
    host, process = shown(owner).split(":")
    return f"the command that ran it, process {process} on {host}, has ended"


def _worker_lost(run_id: str, server: Mapping[str, Any]) -> str | None:
    """Ask the code server that started the run; one that was started again knows nothing of it."""
    path = server.get("socket")
    if path is not None and _nobody_listens(path):
        return f"the code server that started it, at {path}, has ended"
    try:
        answer = DagsterGrpcClient(**server).can_cancel_execution(
            CanCancelExecutionRequest(run_id=run_id), timeout=ASKED_FOR_S
        )
    except DagsterUserCodeUnreachableError:
        return None
    if deserialize_value(answer, CanCancelExecutionResult).can_cancel:
        return None
    return "the code server was started again since, and has no such run"


def _nobody_listens(path: str) -> bool:
    """Whether a socket of this host has lost its server, which takes the address along."""
    with closing(socket.socket(socket.AF_UNIX)) as client:
        client.settimeout(CONNECTING_S)
        try:
            client.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            return True
        except OSError:  # busy: it is there
            return False
    return False
