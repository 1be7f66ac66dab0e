"""What is known of the feed's hours, on either database."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from pipeline_assets.feed.changes import FeedHour, Standing
from pipeline_assets.feed.hours import FeedHours
from pipeline_assets.state.database import State
from pipeline_assets_tests.conftest import Clock


@pytest.fixture
def known(database_url: str, clock: Clock) -> Iterator[FeedHours]:
    """Nothing yet."""
    state = State(database_url, clock=clock.seconds)
    yield FeedHours(state)
    state.close()


def test_hours_are_kept_and_replaced_and_come_newest_first(known: FeedHours) -> None:
    """By their standing, and up to an hour if that is asked for."""
    waiting = [FeedHour(f"2026-03-02-0{n}", f"d{n}", Standing.WAITING) for n in range(3)]
    known.keep(waiting)
    assert known.standing(Standing.WAITING) == waiting[::-1]
    assert known.standing(Standing.WAITING, before="2026-03-02-02") == waiting[1::-1]
    asked = replace(waiting[1], standing=Standing.ASKED, attempts=1, since=5.0, digest="new")
    known.keep([asked])
    known.keep([])
    assert known.standing(Standing.ASKED) == [asked]
    assert known.digests() == {
        "2026-03-02-00": "d0",
        "2026-03-02-01": "new",
        "2026-03-02-02": "d2",
    }
