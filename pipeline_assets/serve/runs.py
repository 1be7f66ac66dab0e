"""What Dagster's instance says of runs to those who scrape; it can take no scrape down with it."""

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from threading import Lock
from typing import TYPE_CHECKING

from pipeline_assets.automation.dagster_events import JobRuns, runs_by_job
from pipeline_assets.commands.running import instance

if TYPE_CHECKING:
    from dagster import DagsterInstance

log = logging.getLogger(__name__)

PATIENCE_S = 5.0
"""Half of what Prometheus waits for a scrape by default."""


class Runs:
    """Dagster's instance, opened when it is first asked, and kept; after an error opened anew.

    It is asked in a thread of its own, one question at a time: a database that accepts connections
    and never answers holds that thread, and nobody who scrapes.
    """

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="runs")
        self._lock = Lock()
        self._asked: Future[list[JobRuns]] | None = None
        self._opened = ExitStack()
        self._dagster: DagsterInstance | None = None

    def since(self, since: float) -> list[JobRuns]:
        """Those that ended after `since`, or have not ended; none where nobody can say now."""
        with self._lock:
            if self._asked is not None and not self._asked.done():
                log.warning("the metrics say nothing of runs: an earlier scrape asks still")
                return []
            asked = self._asked = self._thread.submit(self._ask, since)
        try:
            return asked.result(self._patience_s)
        # Runs are an extra: whatever is wrong with them hides no other figure.
        except Exception as error:  # noqa: BLE001
            log.warning("the metrics say nothing of runs: %s", _said(error, self._patience_s))
            return []

    def close(self) -> None:
        """Ask nothing any more; who is being asked is waited for by nobody."""
        self._thread.submit(self._forget)
        self._thread.shutdown(wait=False)

    def _ask(self, since: float) -> list[JobRuns]:
        try:
            if self._dagster is None:
                self._dagster = self._opened.enter_context(instance())
            return runs_by_job(self._dagster, since)
        except Exception:
            self._forget()
            raise

    def _forget(self) -> None:
        self._dagster = None
        self._opened.close()


def _said(error: Exception, patience_s: float) -> str:
    if isinstance(error, TimeoutError):
        return f"Dagster's database did not answer within {patience_s:g} s"
    return f"{type(error).__name__}: {error}"
