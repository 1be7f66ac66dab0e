"""Results kept by key, on a real database."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipeline_assets.adapters.cache import KEYS_PER_QUERY, ResultCache
from pipeline_assets.adapters.state import State, results
from pipeline_assets_tests.conftest import Clock


@pytest.fixture
def state(tmp_path: Path, clock: Clock) -> Iterator[State]:
    """A state database on the test's clock."""
    opened = State(f"sqlite:///{tmp_path / 'state.db'}", clock=clock.seconds)
    yield opened
    opened.close()


@pytest.fixture
def cache(state: State) -> ResultCache:
    """A cache that keeps for an hour."""
    return ResultCache(state, timedelta(hours=1))


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
    with state.reading() as connection:
        assert connection.execute(sa.select(results.c.key)).scalars().all() == ["new"]


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
