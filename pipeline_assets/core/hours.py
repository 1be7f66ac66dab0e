"""Hours, as partitions are called: `YYYY-MM-DD-HH`, UTC."""

from datetime import UTC, datetime, timedelta

HOUR_FORMAT = "%Y-%m-%d-%H"
HOUR = timedelta(hours=1)

_WRITTEN = (HOUR_FORMAT, "%Y-%m-%dT%H", "%Y-%m-%dT%H:00", "%Y-%m-%dT%H:00:00Z")
"""How people and forms write an hour."""


def hour_name(hour: datetime) -> str:
    """The partition key of the hour that a time (UTC) is in."""
    return f"{hour:{HOUR_FORMAT}}"


def hour_start(name: str) -> datetime:
    """When the hour with this partition key begins."""
    return datetime.strptime(name, HOUR_FORMAT).replace(tzinfo=UTC)


def hour_end(name: str) -> datetime:
    """When it has closed."""
    return hour_start(name) + HOUR


def full_hour(time: datetime) -> datetime:
    """The beginning of the hour that a time is in."""
    return time.replace(minute=0, second=0, microsecond=0)


def parse_hour(text: str) -> datetime:
    """The hour that somebody wrote. Raises `ValueError` where it is none."""
    for form in _WRITTEN:
        try:
            return datetime.strptime(text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
    raise ValueError("give an hour, UTC, such as 2026-03-02-06")
