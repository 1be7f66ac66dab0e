"""What is known of the feed's hours, on either database."""

from collections.abc import Iterator

import pytest

from pipeline_assets.feed.hours import FeedHour, FeedHours
from pipeline_assets.state.database import State
from pipeline_assets_tests.conftest import Clock


@pytest.fixture
def known(database_url: str, clock: Clock) -> Iterator[FeedHours]:
    """Nothing yet."""
    state = State(database_url, clock=clock.seconds)
    yield FeedHours(state)
    state.close()


def hour(number: int, digest: str = "ab" * 10, *, news: bool = True) -> FeedHour:
    """An hour of one row."""
    return FeedHour(f"2026-03-02-0{number}", digest, 1, news)


def test_hours_are_kept_and_replaced(known: FeedHours) -> None:
    """Those that have news are given up to an hour."""
    known.keep([hour(0), hour(1), hour(2, news=False), hour(3)])
    assert known.with_news(before="2026-03-02-03") == [hour(0), hour(1)]
    known.keep([hour(1, "cd" * 10, news=False)])
    known.keep([])
    assert known.with_news(before="2026-03-02-03") == [hour(0)]
    assert known.digests()["2026-03-02-01"] == "cd" * 10


def test_an_hour_that_was_built_has_no_news_unless_the_feed_has_changed_since(
    known: FeedHours,
) -> None:
    """What a run was asked for says nothing of what came later."""
    known.keep([hour(0), hour(1)])
    known.built("2026-03-02-00", hour(0, "cd" * 10).epoch)
    assert known.with_news(before="a") == [hour(0), hour(1)]
    known.built("2026-03-02-00", hour(0).epoch)
    known.built("2026-03-02-01")
    known.built("never heard of")
    assert known.with_news(before="a") == []
