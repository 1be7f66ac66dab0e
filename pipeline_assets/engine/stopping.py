"""A polite stop: SIGTERM and SIGINT wait until what is finished is kept."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stop:
    """Whether somebody asked for an end, and sleep that such a word ends."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self.signal: int | None = None

    def __call__(self) -> bool:
        """Whether to stop."""
        return self._asked.is_set()

    def sleep(self, seconds: float) -> bool:
        """Wait, but not longer than until the stop; whether it was waited to the end."""
        return not self._asked.wait(seconds)

    def ask(self, number: int, _frame: FrameType | None = None) -> None:
        """Stop politely. A second word is not waited for: the first handlers are back."""
        self.signal = number
        self._asked.set()


@contextmanager
def polite_stop() -> Iterator[Stop]:
    """Hold SIGTERM and SIGINT back for the `with` block, which asks the `Stop` when to end.

    After the block the signal is raised again, for whoever handled it before: Dagster's cancel is
    then what it always is, only later. A second signal during the block is not held back. Threads
    other than the main one get no signals, and so a `Stop` that never says so.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def asked(number: int, frame: FrameType | None) -> None:
        restore()
        log.warning(
            "%s: finishing what is in hand; once more ends at once", signal.Signals(number).name
        )
        stop.ask(number, frame)

    for number in SIGNALS:
        signal.signal(number, asked)
    try:
        yield stop
    finally:
        restore()
    if stop.signal is not None:
        signal.raise_signal(stop.signal)
