"""One writer per asset and hour, on a real database, with a clock that is moved by hand."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from pipeline_assets.errors import LeaseHeld, LeaseLost
from pipeline_assets.state.database import State
from pipeline_assets.state.leases import LEASE_S, Leases
from pipeline_assets_tests.conftest import Clock

NAME = "fetched/2026-03-02-06"
TAKE_AND_END = """
import sys
from pathlib import Path
from pipeline_assets.state.leases import Leases
from pipeline_assets.state.database import State
leases = Leases(State(sys.argv[1]), Path(sys.argv[2]))
print(leases.acquire(sys.argv[3]).token)
"""


@pytest.fixture
def state(database_url: str, clock: Clock) -> Iterator[State]:
    """A state database on the test's clock."""
    opened = State(database_url, clock=clock.seconds)
    yield opened
    opened.close()


@pytest.fixture
def leases(state: State, tmp_path: Path) -> Leases:
    """The leases of that database."""
    return Leases(state, tmp_path / "locks")


def test_a_second_holder_is_told_who_writes_and_for_how_long(leases: Leases, clock: Clock) -> None:
    """The message names the partition and the seconds that are left."""
    with leases.acquire(NAME):
        clock.advance(20)
        with pytest.raises(LeaseHeld) as caught:
            leases.acquire(NAME)
        assert NAME in str(caught.value)
        assert caught.value.seconds_left == LEASE_S - 20


def test_of_many_who_are_the_first_to_ask_one_is_the_writer(leases: Leases) -> None:
    """There is no row to lock yet; the others are told who writes."""

    def take(name: str) -> bool:
        with suppress(LeaseHeld):
            leases.acquire(name)
            return True
        return False

    with ThreadPoolExecutor(4) as pool:
        for race in range(10):
            assert sum(pool.map(take, [f"fetched/{race}"] * 4)) == 1


def test_other_partitions_are_free(leases: Leases) -> None:
    """The lease is on one asset and hour."""
    with leases.acquire(NAME), leases.acquire("fetched/2026-03-02-07"):
        pass


def test_it_is_free_again_after_use_and_the_token_grows(leases: Leases) -> None:
    """Also where the holder failed."""
    with leases.acquire(NAME) as first:
        pass
    with pytest.raises(RuntimeError, match="boom"), leases.acquire(NAME) as second:
        raise RuntimeError("boom")
    with leases.acquire(NAME) as third:
        pass
    assert first.token < second.token < third.token


@pytest.mark.parametrize(("after_s", "taken"), [(LEASE_S - 1, False), (LEASE_S, True)])
def test_a_lease_that_ran_out_is_taken_over(
    leases: Leases, clock: Clock, after_s: float, taken: bool
) -> None:
    """At its end, not a second before."""
    first = leases.acquire(NAME)
    clock.advance(after_s)
    if taken:
        assert leases.acquire(NAME).token == first.token + 1
    else:
        with pytest.raises(LeaseHeld):
            leases.acquire(NAME)


def test_a_stale_owner_publishes_nothing(leases: Leases, clock: Clock, tmp_path: Path) -> None:
    """It slept past its lease: it is told so, and the block is not entered."""
    stale = leases.acquire(NAME)
    clock.advance(LEASE_S)
    successor = leases.acquire(NAME)
    written = tmp_path / "written"
    with pytest.raises(LeaseLost) as caught, stale.publishing():
        written.touch()
    assert (caught.value.token, caught.value.current) == (stale.token, successor.token)
    assert not written.exists()
    with successor.publishing():
        written.touch()
    assert written.exists()


def test_an_owner_whose_lease_ran_out_may_publish_while_nobody_took_over(
    leases: Leases, clock: Clock
) -> None:
    """What counts is the token, not the time."""
    slow = leases.acquire(NAME)
    clock.advance(10 * LEASE_S)
    with slow.publishing():
        pass


def test_a_stale_owner_does_not_end_its_successors_lease(leases: Leases, clock: Clock) -> None:
    """Leaving late frees nothing that belongs to somebody else."""
    with leases.acquire(NAME):
        clock.advance(LEASE_S)
        successor = leases.acquire(NAME)
    with pytest.raises(LeaseHeld):
        leases.acquire(NAME)
    with successor.publishing():
        pass


def test_an_owner_whose_process_is_gone_is_taken_over_at_once(
    leases: Leases, database_url: str, tmp_path: Path
) -> None:
    """A killed run need not be waited for; its pid tells."""
    # The other process uses the real clock, so its lease is far from over on any of them.
    arguments = [database_url, str(tmp_path / "locks"), NAME]
    done = subprocess.run(
        [sys.executable, "-c", TAKE_AND_END, *arguments], capture_output=True, check=True
    )
    with leases.acquire(NAME) as lease:
        assert lease.token == int(done.stdout) + 1


def test_a_partition_that_lost_its_lease_row_is_not_published(state: State, leases: Leases) -> None:
    """The state database was deleted under a run: it can prove nothing, and changes nothing."""
    lease = leases.acquire(NAME)
    with state.transaction() as connection:
        connection.exec_driver_sql("DELETE FROM leases")
    with pytest.raises(LeaseLost), lease.publishing():
        raise AssertionError("not reached")


def test_an_asset_is_free_when_no_hour_of_it_has_a_writer(leases: Leases, clock: Clock) -> None:
    """A name that merely begins like it is another; a lease that ran out is none."""
    leases.check_free("fetched")
    with leases.acquire("fetched_again/2026-03-02-06"):
        leases.check_free("fetched")
    with leases.acquire(NAME):
        with pytest.raises(LeaseHeld, match=NAME):
            leases.check_free("fetched")
        leases.check_free("validated")
    leases.check_free("fetched")
    leases.acquire(NAME)
    clock.advance(LEASE_S + 1)
    leases.check_free("fetched")
