"""What a server asks for in `Retry-After`, however it says it."""

from datetime import timedelta

import pytest

from pipeline_assets.fetch.retry_after import parse_retry_after


@pytest.mark.parametrize(
    ("value", "date", "seconds"),
    [
        ("0", None, 0),
        (" 120 ", None, 120),
        ("9" * 6000, None, 7 * 86400),
        ("Mon, 02 Mar 2026 06:00:30 GMT", "Mon, 02 Mar 2026 06:00:00 GMT", 30),
        ("Mon, 02 Mar 2026 05:00:00 GMT", "Mon, 02 Mar 2026 06:00:00 GMT", 0),
        ("Mon, 02 Mar 2099 05:00:00 GMT", None, 7 * 86400),
        ("Mon, 02 Mar 2026 06:00:30 -0000", "Mon, 02 Mar 2026 06:00:00 GMT", 30),
        ("soon", None, None),
        ("-1", None, None),
        ("1.5", None, 1.5),
        ("", None, None),
        (None, None, None),
        ("²", None, None),
    ],
)
def test_retry_after_is_seconds_or_a_time(
    value: str | None, date: str | None, seconds: int | None
) -> None:
    """Measured by the server's own clock."""
    expected = None if seconds is None else timedelta(seconds=seconds)
    assert parse_retry_after(value, date) == expected
