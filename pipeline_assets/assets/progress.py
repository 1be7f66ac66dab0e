"""How far a stage is: said in the run's log every few seconds, and shown to whoever watches."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from pipeline_assets.core.environment import RungStats

SAID_EVERY_S = 5.0

Watcher = Callable[[str, int, int], None]
"""(stage, rows finished, rows in all): a terminal's bar."""

_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


@contextmanager
def watched_by(watcher: Watcher) -> Iterator[None]:
    """Show the progress of every stage that runs within the `with` block in this process."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


class Progress:
    """Counts the finished rows of a stage out of `rows`."""

    def __init__(
        self,
        log: logging.Logger,
        name: str,
        rows: int,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log, self._name, self._rows, self._timer = log, name, rows, timer
        self._finished = 0
        self._began = self._said = timer()

    def __call__(self, rows: int, _rungs: Mapping[str, RungStats] | None = None) -> None:
        """Count finished rows."""
        self._finished += rows
        watcher = _watcher.get()
        if watcher is not None:
            watcher(self._name, self._finished, self._rows)
        now = self._timer()
        if now - self._said >= SAID_EVERY_S:
            self._said = now
            self._log.info(
                "%s: %d of %d rows finished, %.0f rows/s",
                self._name,
                self._finished,
                self._rows,
                self._finished / (now - self._began),
            )
