"""Results kept by key, on a real database."""

import logging
import math
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from multiprocessing import get_context

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.state.cache import KEPT_BYTES, KEYS_PER_QUERY, ResultCache, results
from pipeline_assets.state.database import State
from pipeline_assets_tests.conftest import Clock

ROOMY = 1_000_000
HOUR = timedelta(hours=1)


@pytest.fixture
def state(database_url: str, clock: Clock) -> Iterator[State]:
    """A state database on the test's clock."""
    with closing(State(database_url, clock=clock.seconds)) as opened:
        yield opened


@pytest.fixture(scope="module")
def fast_state() -> Iterator[State]:
    """A state database in memory; `emptied` gives it back as new."""
    with closing(State("sqlite://")) as opened:
        yield opened


def emptied(state: State, clock: Clock) -> State:
    """The database without results, on another clock."""
    with state.transaction() as connection:
        connection.execute(sa.delete(results))
    state.forget(KEPT_BYTES)
    state._clock = clock.seconds
    return state


@pytest.fixture
def cache(state: State) -> ResultCache:
    """A cache that keeps for an hour."""
    return ResultCache(state, ROOMY, HOUR)


def kept(state: State) -> dict[str, bytes]:
    """What lies in the table, oldest first, however old."""
    query = sa.select(results.c.key, results.c.value).order_by(results.c.kept_at, results.c.key)
    with state.reading() as connection:
        return {key: bytes(value) for key, value in connection.execute(query)}


def times(state: State) -> set[tuple[str, float]]:
    """What lies in the table, and since when."""
    with state.reading() as connection:
        query = sa.select(results.c.key, results.c.kept_at)
        return {(key, kept_at) for key, kept_at in connection.execute(query)}


def size(values: dict[str, bytes]) -> int:
    """The bytes of keys and values."""
    return sum(len(key) + len(value) for key, value in values.items())


def test_what_was_put_is_got_and_the_rest_is_left_out(cache: ResultCache) -> None:
    """No key, no entry."""
    cache.put({"a": b"1", "b": b""})
    assert cache.get(["a", "b", "c"]) == {"a": b"1", "b": b""}


def test_nothing_asked_and_nothing_put_is_nothing(cache: ResultCache) -> None:
    """Empty batches are batches."""
    cache.put({})
    assert cache.get([]) == {}


@pytest.mark.parametrize(("after_s", "kept"), [(3600, True), (3601, False)])
def test_results_live_for_their_time(
    cache: ResultCache, clock: Clock, after_s: float, kept: bool
) -> None:
    """To the second."""
    cache.put({"a": b"1"})
    clock.advance(after_s)
    assert ("a" in cache.get(["a"])) is kept


def test_old_results_are_removed_when_new_ones_come(
    cache: ResultCache, state: State, clock: Clock
) -> None:
    """The table does not grow without end."""
    cache.put({"old": b"1"})
    clock.advance(3601)
    cache.put({"new": b"2"})
    assert list(kept(state)) == ["new"]


def test_an_expired_result_can_be_put_again(cache: ResultCache, clock: Clock) -> None:
    """The row of the old one is not in the way."""
    cache.put({"a": b"old"})
    clock.advance(3601)
    cache.put({"a": b"new"})
    assert cache.get(["a"]) == {"a": b"new"}


def test_the_first_of_two_equal_keys_stays(cache: ResultCache) -> None:
    """Equal keys are equal work: two runs that finish together do not collide."""
    cache.put({"a": b"1"})
    cache.put({"a": b"2"})
    assert cache.get(["a"]) == {"a": b"1"}


def test_more_keys_than_a_statement_takes_are_asked_for_in_parts(cache: ResultCache) -> None:
    """Any number of keys."""
    many = {f"k{i}": str(i).encode() for i in range(2 * KEYS_PER_QUERY + 1)}
    cache.put(many)
    assert cache.get(list(many)) == many


def test_the_oldest_go_when_the_bound_is_exceeded(state: State, clock: Clock) -> None:
    """As many as leave a tenth of the bound free, so that the next put finds room."""
    cache = ResultCache(state, max_bytes=100)
    for number in range(10):
        cache.put({f"k{number}": bytes(8)})
        clock.advance(1)
    assert len(kept(state)) == 10
    cache.put({"kx": bytes(8)})
    assert list(kept(state)) == [*(f"k{number}" for number in range(2, 10)), "kx"]
    cache.put({"ky": bytes(8)})
    assert list(kept(state)) == [*(f"k{number}" for number in range(2, 10)), "kx", "ky"]


def test_what_is_put_again_stays_as_old_as_it_was_and_is_counted_once(
    state: State, clock: Clock
) -> None:
    """The first of two equal keys stays, with its time."""
    cache = ResultCache(state, max_bytes=30)
    for key in ("a", "b", "a", "a", "c"):
        cache.put({key: bytes(9)})
        clock.advance(1)
    assert list(kept(state)) == ["a", "b", "c"]
    cache.put({"d": bytes(9)})
    assert list(kept(state)) == ["c", "d"]


@pytest.mark.parametrize(("value_bytes", "is_kept"), [(19, True), (20, False), (1000, False)])
def test_a_value_over_the_whole_bound_is_not_kept(
    state: State, caplog: pytest.LogCaptureFixture, value_bytes: int, is_kept: bool
) -> None:
    """It would drive out all others; its neighbours in the same put are kept."""
    caplog.set_level(logging.DEBUG, logger="pipeline_assets.state.cache")
    cache = ResultCache(state, max_bytes=20)
    cache.put({"x": bytes(value_bytes)})
    assert ("x" in kept(state)) is is_kept
    assert ("x is not kept" in caplog.text) is not is_kept
    assert ("PIPELINE_CACHE_MAX_BYTES=20" in caplog.text) is not is_kept


def test_a_bound_of_zero_keeps_nothing(state: State, cache: ResultCache) -> None:
    """Nor does it recall what was kept under another bound, which goes with the next put."""
    cache.put({"a": b"1"})
    nothing = ResultCache(state, max_bytes=0)
    assert nothing.get(["a"]) == {}
    nothing.put({"b": b""})
    assert kept(state) == {}


def test_a_smaller_bound_holds_from_the_next_put_on(state: State, clock: Clock) -> None:
    """However many statements that takes."""
    many = {f"{number:04}": b"1234" for number in range(2 * KEYS_PER_QUERY + 1)}
    ResultCache(state, ROOMY).put(many)
    clock.advance(1)
    ResultCache(state, max_bytes=50).put({"new": b"1"})
    assert size(kept(state)) == 44
    assert "new" in kept(state)


def test_time_to_live_makes_room_before_the_bound_does(state: State, clock: Clock) -> None:
    """What expires is no longer counted."""
    cache = ResultCache(state, 20, HOUR)
    cache.put({"a": bytes(9)})
    clock.advance(1800)
    cache.put({"b": bytes(9)})
    clock.advance(1801)
    cache.put({"c": bytes(9)})
    assert list(kept(state)) == ["b", "c"]


def test_results_without_a_count_are_counted(state: State) -> None:
    """As an earlier version left them, or somebody who changed them by hand."""
    with state.transaction() as connection:
        rows = [{"key": key, "value": bytes(9), "kept_at": 0.0} for key in "abc"]
        connection.execute(sa.insert(results), rows)
    ResultCache(state, 30, timedelta(days=100_000)).put({"d": b"1"})
    assert state.fact(KEPT_BYTES) == size(kept(state)) == 22


def test_a_count_without_results_is_corrected(state: State) -> None:
    """Results that somebody removed by hand take no room for good."""
    state.remember(KEPT_BYTES, 1000)
    cache = ResultCache(state, max_bytes=100)
    cache.put({"a": b"1"})
    cache.put({"b": b"1"})
    assert kept(state) == {"b": b"1"}
    assert state.fact(KEPT_BYTES) == 2


@dataclass(frozen=True)
class Put:
    """A put, and how long after the one before it came."""

    after_s: int
    values: dict[str, bytes]


PUTS = st.lists(
    st.builds(
        Put,
        st.integers(1, 2000),
        st.dictionaries(
            st.text("abcd", min_size=1, max_size=2), st.binary(max_size=30), max_size=4
        ),
    ),
    max_size=8,
)


@given(max_bytes=st.integers(0, 120), puts=PUTS)
def test_the_bound_holds_after_every_put_and_the_oldest_went(
    fast_state: State, max_bytes: int, puts: list[Put]
) -> None:
    """What is counted is what is kept, and nothing stays that is older than what went."""
    clock = Clock()
    state = emptied(fast_state, clock)
    cache = ResultCache(state, max_bytes, HOUR)
    for put in puts:
        clock.advance(put.after_s)
        before = times(state)
        cache.put(put.values)
        after = times(state)
        assert size(kept(state)) <= max_bytes
        if put.values:
            assert state.fact(KEPT_BYTES) == size(kept(state))
        gone = {kept_at for _, kept_at in before - after}
        assert max(gone, default=0.0) <= min((kept_at for _, kept_at in after), default=math.inf)


def put_many(url: str, name: int) -> None:
    """What one of several processes does: half of its keys are the others', too."""
    with closing(State(url)) as state:
        cache = ResultCache(state, max_bytes=2000)
        for number in range(40):
            cache.put({f"own-{name}-{number}": bytes(20), f"all-{number}": bytes(20)})


def test_racing_processes_stay_under_the_bound(database_url: str) -> None:
    """And count each result once."""
    with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as pool:
        list(pool.map(partial(put_many, database_url), range(3)))
    with closing(State(database_url)) as state:
        assert state.fact(KEPT_BYTES) == size(kept(state))
        assert 1000 < size(kept(state)) <= 2000


def test_cleared_it_keeps_nothing_and_counts_from_there(cache: ResultCache, state: State) -> None:
    """Results tell of what they were made of."""
    cache.put({"a": b"1", "b": b"2"})
    assert cache.clear() == 2
    assert (kept(state), cache.clear()) == ({}, 0)
    cache.put({"c": b"3"})
    assert kept(state) == {"c": b"3"}
