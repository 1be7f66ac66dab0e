"""Attempts, waits, retry tokens and daily caps: the rules as tables, without a clock."""

import math
import random
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.core.budget import (
    DUST,
    FEWEST_ATTEMPTS,
    MOST_ATTEMPTS,
    RETRY_CAPACITY,
    Again,
    Backoff,
    Cap,
    Draw,
    Later,
    TokenBucket,
    affordable,
    attempts,
    day_of,
    earn,
    next_try,
    rest_of_day,
    take,
    wait_s,
)

BACKOFF = Backoff()
MIDNIGHT = datetime(2026, 3, 3, tzinfo=UTC).timestamp()


def least(low: float, _high: float) -> float:
    """The shortest wait that jitter may give."""
    return low


def most(_low: float, high: float) -> float:
    """The longest."""
    return high


@pytest.mark.parametrize(
    ("budget_usd", "cost_usd", "times"),
    [
        (0.05, 0.02, 2),  # a dear summary
        (0.05, 0.01, 5),  # a cheap classification
        (0.05, 0.0001, 10),  # an embedding
        (0.05, 0, 10),  # free
        (0, 0, 10),
        (0, 0.01, 2),  # one hiccup is not the end
        (0.01, 5, 2),
        (0.0299, 0.01, 2),
        (0.06, 0.02, 3),  # 2.9999999999999996 in binary
        (0.3, 0.1, 3),
        (0.7, 0.1, 7),
        (1.0, 0.1, 10),
        (1.1, 0.1, 10),
        (1e300, 5e-324, 10),
    ],
)
def test_attempts_follow_from_cost(budget_usd: float, cost_usd: float, times: int) -> None:
    """As many as the budget pays for, within the bounds."""
    assert attempts(budget_usd, cost_usd) == times


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_attempts_are_always_within_their_bounds(budget_usd: float, cost_usd: float) -> None:
    """And where the bounds do not bind, they are paid for."""
    times = attempts(budget_usd, cost_usd)
    assert FEWEST_ATTEMPTS <= times <= MOST_ATTEMPTS
    if times > FEWEST_ATTEMPTS:
        assert times * cost_usd <= budget_usd * (1 + 2 * DUST)


@pytest.mark.parametrize(
    ("tries_made", "asked_s", "draw", "seconds"),
    [
        (1, None, most, 0.5),
        (2, None, most, 1.0),
        (3, None, most, 2.0),
        (6, None, most, 16.0),
        (7, None, most, 20.0),  # the cap
        (60, None, most, 20.0),
        (1, None, least, 0.0),  # full jitter reaches down to nothing
        (7, None, least, 0.0),
        (1, 3.0, least, 3.0),  # never less than asked
        (1, 3.0, most, 3.5),
        (7, 3.0, most, 23.0),
        (1, 0.0, most, 0.5),
        (1, -5.0, most, 0.5),  # asked for a time that has passed
        (1, 1000.0, least, 1000.0),
    ],
)
def test_waits_grow_jitter_and_honour_what_was_asked(
    tries_made: int, asked_s: float | None, draw: Draw, seconds: float
) -> None:
    """Half a second, doubled up to twenty, on top of Retry-After."""
    asked = None if asked_s is None else timedelta(seconds=asked_s)
    assert wait_s(BACKOFF, tries_made, asked, draw) == seconds


@pytest.mark.parametrize(
    ("tries_made", "elapsed_s", "asked_s", "draw", "answer"),
    [
        (1, 0.0, None, most, Again(0.5)),
        (2, 1.0, None, most, Again(1.0)),
        (2, 1.0, None, least, Again(0.0)),
        (3, 1.0, None, most, None),  # used up
        (4, 1.0, None, most, None),
        (3, 99.0, 99.0, most, None),  # used up is charged, however late
        (1, 0.0, 29.0, most, Again(29.5)),
        (1, 0.0, 29.5, least, Again(29.5)),
        (1, 0.0, 29.5, most, Later(30.0)),  # exactly at the deadline is past it
        (1, 0.0, 30.0, least, Later(30.0)),
        (1, 0.0, 3600.0, least, Later(3600.0)),
        (1, 0.0, 3600.0, most, Later(3600.5)),
        (1, 29.4, None, most, Again(0.5)),
        (1, 29.5, None, most, Later(0.5, asked=False)),
        (1, 30.0, None, least, Later(0.0, asked=False)),
        (1, 31.0, None, least, Later(0.0, asked=False)),  # the call itself took so long
    ],
)
def test_the_next_try_is_within_the_deadline_or_outside(
    tries_made: int, elapsed_s: float, asked_s: float | None, draw: Draw, answer: object
) -> None:
    """In the run, later outside it, or not at all."""
    asked = None if asked_s is None else timedelta(seconds=asked_s)
    assert next_try(BACKOFF, tries_made, elapsed_s, asked, draw) == answer


@pytest.mark.parametrize(
    ("backoff", "answer"),
    [(Backoff(tries=1), None), (Backoff(deadline_s=0.0), Later(0.5, asked=False))],
)
def test_a_rung_can_be_declared_without_retries_in_the_run(
    backoff: Backoff, answer: object
) -> None:
    """One try falls on; no time waits outside. Zero means zero."""
    assert next_try(backoff, 1, 0.0, None, most) == answer


@given(
    st.builds(
        Backoff,
        tries=st.integers(1, 10),
        first_s=st.floats(0, 5),
        factor=st.floats(1, 10),
        cap_s=st.floats(5, 60),
        deadline_s=st.floats(0, 100),
    ),
    st.none() | st.timedeltas(timedelta(0), timedelta(minutes=2)),
    st.lists(st.floats(0, 10), min_size=10, max_size=10),
    st.integers(0, 2**32),
)
def test_no_batch_ever_sleeps_past_its_deadline(
    backoff: Backoff, asked: timedelta | None, calls_s: list[float], seed: int
) -> None:
    """However long its calls take, and whatever it is asked for: each sleep ends before it."""
    draw, elapsed, tries = random.Random(seed).uniform, 0.0, 0
    for call_s in calls_s:
        elapsed, tries = elapsed + call_s, tries + 1
        answer = next_try(backoff, tries, elapsed, asked, draw)
        if not isinstance(answer, Again):
            break
        elapsed += answer.wait_s
        assert elapsed < backoff.deadline_s
        assert asked is None or answer.wait_s >= asked.total_seconds()
    assert tries <= backoff.tries


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"tries": 0}, "tries=0"),
        ({"tries": 11}, "tries=11 is outside 1..10"),
        ({"first_s": -0.1}, "first_s=-0.1"),
        ({"first_s": 21.0}, "cap_s=20.0"),
        ({"first_s": math.nan}, "first_s=nan"),
        ({"factor": 0.9}, "factor=0.9"),
        ({"factor": 11.0}, "factor=11.0"),
        ({"factor": math.nan}, "factor=nan"),
        ({"cap_s": math.inf}, "cap_s=inf"),
        ({"deadline_s": -1.0}, "deadline_s=-1.0"),
        ({"deadline_s": math.inf}, "deadline_s=inf"),
        ({"deadline_s": math.nan}, "deadline_s=nan"),
    ],
)
def test_a_backoff_that_makes_no_sense_is_refused(values: dict[str, float], named: str) -> None:
    """Where it is declared, with the field and its value."""
    with pytest.raises(ValueError, match=named):
        Backoff(**values)  # type: ignore[arg-type] # the table's rows are of several types


@pytest.mark.parametrize(
    ("tokens", "wanted", "granted", "left"),
    [
        (100, 0, 0, 100),
        (100, 1, 1, 99),
        (100, 100, 100, 0),
        (100, 101, 100, 0),
        (3, 256, 3, 0),
        (0, 5, 0, 0),
    ],
)
def test_tokens_are_taken_as_long_as_there_are_some(
    tokens: int, wanted: int, granted: int, left: int
) -> None:
    """For some rows of a batch, where there are not enough for all."""
    bucket, got = take(TokenBucket(tokens * 10), wanted)
    assert (got, bucket.tokens) == (granted, left)


@pytest.mark.parametrize(
    ("before", "successes", "after"),
    [
        (0, 9, 0),
        (0, 10, 1),
        (0, 19, 1),
        (0, 1000, 100),
        (99, 10, 100),
        (99, 11, 100),
        (100, 9, 100),
    ],
)
def test_ten_successes_earn_a_token_up_to_the_capacity(
    before: int, successes: int, after: int
) -> None:
    """A new bucket is full."""
    bucket = earn(TokenBucket(before * 10), successes)
    assert bucket.tokens == after
    assert bucket.full is (after == RETRY_CAPACITY)
    assert TokenBucket().full


def test_single_successes_add_up_exactly() -> None:
    """Ten tenths are one token, which in binary they are not."""
    bucket = TokenBucket(0)
    for _ in range(10):
        bucket = earn(bucket, 1)
    assert bucket.tokens == 1


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 300)), max_size=60))
def test_retries_stay_within_a_hundred_plus_a_tenth_of_the_successes(
    events: list[tuple[bool, int]],
) -> None:
    """Over any sequence of batches, and the bucket never holds more than its capacity."""
    bucket, retries, successes = TokenBucket(), 0, 0
    for succeeded, rows in events:
        if succeeded:
            bucket, successes = earn(bucket, rows), successes + rows
        else:
            bucket, granted = take(bucket, rows)
            retries += granted
            assert granted <= rows
        assert 0 <= bucket.tokens <= RETRY_CAPACITY
        assert retries * 10 <= RETRY_CAPACITY * 10 + successes


def cap(usd: float, spent_usd: float, name: str = "stage") -> Cap:
    """A cap, and what was spent under it."""
    return Cap(name, "PIPELINE_STAGE_DAILY_USD", usd, spent_usd)


@pytest.mark.parametrize(
    ("cost_usd", "caps", "rows", "binding"),
    [
        (0.1, [], 10, None),
        (0.1, [cap(5, 0)], 10, None),
        (0.1, [cap(1, 0)], 10, None),  # met exactly
        (0.1, [cap(0.99, 0)], 9, 0),
        (0.1, [cap(5, 4.75)], 2, 0),
        (0.1, [cap(5, 5)], 0, 0),
        (0.1, [cap(5, 7)], 0, 0),  # lowered since
        (0.1, [cap(0, 0)], 0, 0),  # zero means zero
        (1e-9, [cap(0, 0)], 0, 0),
        (0.1, [cap(0.3, 0.1 + 0.2)], 0, 0),
        (0.1, [cap(0.3, 0.1 + 0.1)], 1, 0),  # 0.09999999999999998 left
        (0.1, [cap(5, 4.75), cap(9, 8.85)], 1, 1),
        (0.1, [cap(5, 4.85), cap(9, 8.75)], 1, 0),
        (0.1, [cap(5, 4.75), cap(9, 8.75)], 2, 0),  # the stage's own is named
        (0.0, [cap(0, 0)], 10, None),  # free
        (0.0, [cap(5, 7)], 10, None),
    ],
)
def test_rows_fit_under_every_cap(
    cost_usd: float, caps: list[Cap], rows: int, binding: int | None
) -> None:
    """Of ten rows so many, and the cap that refuses the others."""
    assert affordable(cost_usd, 10, caps) == (rows, None if binding is None else caps[binding])


@given(
    st.floats(1e-6, 10),
    st.lists(st.integers(1, 300), min_size=1, max_size=50),
    st.floats(0, 100),
    st.floats(0, 100),
)
def test_no_sequence_of_batches_spends_more_than_a_cap(
    cost_usd: float, batches: list[int], own_usd: float, all_usd: float
) -> None:
    """But for dust; and what is refused would not have fitted."""
    spent = 0.0
    for wanted in batches:
        caps = [cap(own_usd, spent), cap(all_usd, spent, "all stages")]
        rows, binding = affordable(cost_usd, wanted, caps)
        spent += rows * cost_usd
        assert spent <= min(own_usd, all_usd) * (1 + 2 * DUST)
        assert (rows < wanted) is (binding is not None)
        if binding is not None:
            assert spent + cost_usd > binding.usd


@pytest.mark.parametrize(
    ("now", "day", "rest_s"),
    [
        (MIDNIGHT, date(2026, 3, 3), 86400),
        (MIDNIGHT + 1, date(2026, 3, 3), 86399),
        (MIDNIGHT + 86399.5, date(2026, 3, 3), 0.5),
        (MIDNIGHT + 86400, date(2026, 3, 4), 86400),
        (MIDNIGHT - 1, date(2026, 3, 2), 1),
    ],
)
def test_a_day_is_a_day_in_utc(now: float, day: date, rest_s: float) -> None:
    """Midnight is the first moment of the new one."""
    assert day_of(now) == day
    assert rest_of_day(now) == timedelta(seconds=rest_s)
