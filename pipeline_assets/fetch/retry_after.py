"""What a server asks for in `Retry-After`."""

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

_SECONDS: Final = re.compile(r"[0-9]+(\.[0-9]+)?")
MAX_RETRY_AFTER: Final = timedelta(days=7)  # nobody means more, and timedelta itself has an end


def parse_retry_after(value: str | None, date: str | None) -> timedelta | None:
    """The wait that the header `Retry-After` asks for, 0 to 7 days; None where it cannot be read.

    A time is measured from the server's own `Date`, so that its clock may be wrong; failing that,
    from now.
    """
    text = (value or "").strip()
    if _SECONDS.fullmatch(text):
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
