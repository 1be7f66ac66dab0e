"""A run of one hour in a process of its own, for tests to end in every way there is.

It does what an asset does, without Dagster. The process is forked from a server that has imported
everything, so that fifty starts cost no imports; its workers are started as always.
"""

import logging
import os
import sys
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path

from pipeline_assets.engine.engine import materialize
from pipeline_assets.engine.orders import Listener, Order
from pipeline_assets.engine.stopping import polite_stop
from pipeline_assets.errors import PipelineError
from pipeline_assets.resources import opened
from pipeline_assets.stages import find_stage
from pipeline_assets_tests.crash.stage import STAGE

HOUR = "2026-03-02-06"
STAGE_NAME = "CRASH_STAGE"
"""The stage that is run where it is not the one that notes its calls."""
FAILED, INTERRUPTED = 1, 130


def main(environment: Mapping[str, str], folder: Path, go: Connection) -> None:
    """Bring the hour up to date once `go` says so; what is said goes to `said` in the folder."""
    os.chdir(folder)
    os.environ.update(environment)
    said = os.open("said", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(said, sys.stdout.fileno())
    os.dup2(said, sys.stderr.fileno())
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    go.recv()
    try:
        with opened() as resources, polite_stop() as stop:
            stage = find_stage(resources.settings, os.environ.get(STAGE_NAME, STAGE.name))
            order = Order(stage.name, HOUR, str(os.getpid()))
            listener = Listener(stopped=stop, sleep=stop.sleep)
            report = materialize(order, resources, listener)
            print(report, flush=True)
    except PipelineError as error:
        print(error, file=sys.stderr, flush=True)
        sys.exit(FAILED)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
