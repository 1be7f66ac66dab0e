"""When to try again: as the server asks, else with jitter, and never past a deadline."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from pipeline_assets.errors import RowError, TransientError

MAX_TRIES: Final = 3
FIRST_BACKOFF_S: Final = 0.5  # doubled for each further try; the wait is drawn from 0 to that
MAX_RETRY_AFTER: Final = timedelta(days=7)  # nobody means more, and timedelta itself has an end


def transient_retries(
    timeout_s: float,
    *,
    sleep: Callable[[float], Awaitable[None]],
    clock: Callable[[], float],
    jitter: Callable[[float, float], float],
) -> AsyncRetrying:
    """Calls a coroutine function up to three times while it raises `TransientError`.

    `jitter(low, high)` draws a wait in seconds, added to what the error asks for. A wait that
    would outlast `timeout_s`, counted from now on `clock`, is not begun: the error is raised.
    """
    deadline = clock() + timeout_s

    def wait_s(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome is not None else None
        asked = error.retry_after if isinstance(error, RowError) else None
        drawn = jitter(0.0, FIRST_BACKOFF_S * 2 ** (state.attempt_number - 1))
        return drawn + (asked.total_seconds() if asked is not None else 0.0)

    def ends(state: RetryCallState) -> bool:
        return state.attempt_number >= MAX_TRIES or clock() + state.upcoming_sleep >= deadline

    return AsyncRetrying(
        sleep=sleep,
        retry=retry_if_exception_type(TransientError),
        wait=wait_s,
        stop=ends,
        reraise=True,
    )


def parse_retry_after(value: str | None, date: str | None) -> timedelta | None:
    """The wait that the header `Retry-After` asks for, 0 to 7 days; None where it cannot be read.

    A time is measured from the server's own `Date`, so that its clock may be wrong; failing that,
    from now.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return timedelta(seconds=min(float(text), MAX_RETRY_AFTER.total_seconds()))
    due = _http_time(text)
    if due is None:
        return None
    wait = due - (_http_time(date or "") or datetime.now(UTC))
    return min(max(wait, timedelta()), MAX_RETRY_AFTER)


def _http_time(text: str) -> datetime | None:
    try:
        time = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time
