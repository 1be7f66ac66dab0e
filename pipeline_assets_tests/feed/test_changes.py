"""What stands for an hour's rows, and what becomes of an hour that was asked for."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.feed.changes import (
    AGAIN_AFTER_S,
    LOST_AFTER_S,
    MOST_ATTEMPTS,
    FeedHour,
    RunState,
    Standing,
    Tally,
    after_run,
    asked,
    has_news,
    same_rows,
)

Keys = st.lists(st.integers(0, 2**80 - 1).map(lambda number: f"{number:020x}.ab"), unique=True)


@given(Keys, st.randoms())
def test_a_digest_says_whether_rows_are_the_same_in_any_order(
    keys: list[str], chance: Random
) -> None:
    """And is another one where the order is: of an item's rows the last one counts."""
    shuffled = list(keys)
    chance.shuffle(shuffled)
    one, other = Tally.of(keys).digest, Tally.of(shuffled).digest
    assert same_rows(one, other)
    assert (one == other) == (keys == shuffled)


@given(Keys, Keys)
def test_the_tally_of_parts_is_that_of_the_whole(keys: list[str], others: list[str]) -> None:
    """So that a file that did not change need not be read again."""
    parts = Tally.of(keys)
    parts.follow(Tally.of(others))
    assert parts.digest == Tally.of([*keys, *others]).digest


@given(Keys, Keys)
def test_a_digest_tells_different_rows_apart(keys: list[str], others: list[str]) -> None:
    """One more, one less, or another one."""
    same = sorted(keys) == sorted(others)
    assert same_rows(Tally.of(keys).digest, Tally.of(others).digest) == same


@pytest.mark.parametrize(
    ("feed", "table", "news"),
    [
        ({}, set(), False),
        ({"a": "1"}, set(), True),
        ({"a": "1"}, {"1"}, False),
        ({"a": "1"}, {"1", "2"}, False),
        ({"a": "1", "b": "3"}, {"1", "2"}, True),
    ],
)
def test_news_is_what_the_table_has_not(
    feed: dict[str, str], table: set[str], *, news: bool
) -> None:
    """What left the feed is none."""
    assert has_news(feed, frozenset(table)) is news


WAITING = FeedHour("2026-03-02-06", "d", Standing.WAITING)


@pytest.mark.parametrize(
    ("run", "after_s", "standing", "attempts"),
    [
        (RunState.UNDER_WAY, 1e6, Standing.ASKED, 1),
        (RunState.SUCCEEDED, 1, Standing.SETTLED, 1),
        (RunState.FAILED, AGAIN_AFTER_S - 1, Standing.ASKED, 1),
        (RunState.FAILED, AGAIN_AFTER_S, Standing.WAITING, 1),
        (None, LOST_AFTER_S - 1, Standing.ASKED, 1),
        (None, LOST_AFTER_S, Standing.WAITING, 0),
    ],
)
def test_what_a_run_makes_of_an_hour(
    run: RunState | None, after_s: float, standing: Standing, attempts: int
) -> None:
    """A run that was lost on the way is asked for under the same key: never two of one."""
    after = after_run(asked(WAITING, 100), run, 100 + after_s)
    assert (after.standing, after.attempts) == (standing, attempts)
    if run is None and standing is Standing.WAITING:
        assert asked(after, 1e6).run_key == asked(WAITING, 100).run_key


def test_an_hour_whose_runs_fail_is_given_up_in_the_end() -> None:
    """Each attempt has a key of its own, since Dagster uses none twice."""
    hour, keys, now = WAITING, set(), 0.0
    while hour.standing is Standing.WAITING:
        hour = asked(hour, now)
        keys.add(hour.run_key)
        now += AGAIN_AFTER_S
        hour = after_run(hour, RunState.FAILED, now)
    assert (hour.standing, len(keys)) == (Standing.GIVEN_UP, MOST_ATTEMPTS)
