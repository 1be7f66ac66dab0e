"""Several runs on one hour: one of them writes."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipeline_assets.state.database import State
from pipeline_assets.state.leases import LEASE_S, Leases, leases
from pipeline_assets.store.processes import this_process
from pipeline_assets_tests.crash.run import FAILED, HOUR
from pipeline_assets_tests.crash.scene import Running, Scene, alive, scene_of, until
from pipeline_assets_tests.crash.stage import MICRO_BATCH, SLOW_S, STAGE, VERSION

ROWS = 1000
LEASE = f"{STAGE.name}/{HOUR}"
SLOW = {SLOW_S: "0.02"}
A_LONG_CALL = {SLOW_S: "0.3"}


def state_of(scene: Scene) -> State:
    """The state database of a scene's runs."""
    return State(f"sqlite:///{scene.data / 'state.db'}")


def let_the_lease_run_out(scene: Scene) -> None:
    """What a minute does to a lease that nobody renews."""
    state = state_of(scene)
    with state.transaction() as connection:
        done = connection.execute(sa.update(leases).values(expires_at=state.now(connection) - 1.0))
    assert done.rowcount == 1
    state.close()


@contextmanager
def stopped_in_a_call(scene: Scene, **environment: str) -> Iterator[Running]:
    """A run whose supervisor stands still while its rung is called, and then wakes up."""
    before = scene.called().total()
    run = scene.start(**A_LONG_CALL, **environment)
    until(lambda: scene.called().total() >= before + 3 * MICRO_BATCH, "third call", run)
    run.signal(signal.SIGSTOP)
    try:
        yield run
    finally:
        run.signal(signal.SIGCONT)


@pytest.mark.parametrize("workers", [0, 2])
def test_of_two_runs_at_once_one_writes_and_the_other_says_who(
    tmp_path: Path, workers: int
) -> None:
    """Every row is made once."""
    scene = scene_of(tmp_path, ROWS, workers)
    scene.finish()  # the state database is there
    runs = [scene.start(**SLOW, **{VERSION: "2"}) for _ in range(2)]
    codes = [run.ended() for run in runs]
    assert sorted(codes) == [0, FAILED], scene.said()
    winner = runs[codes.index(0)]
    assert f"{LEASE} is being written by {socket.gethostname()}:{winner.pid}" in scene.said()
    assert scene.shouts() == scene.made(2)
    assert scene.called().total() == 2 * ROWS


@pytest.mark.parametrize("workers", [0, 2])
def test_an_owner_that_wakes_after_its_lease_changes_nothing(tmp_path: Path, workers: int) -> None:
    """The one stopped in a call of version 2 finds that version 3 has been published."""
    scene = scene_of(tmp_path, ROWS, workers)
    scene.finish()
    with stopped_in_a_call(scene, **{VERSION: "2"}) as sleeper:
        let_the_lease_run_out(scene)
        scene.finish(**{VERSION: "3"})
        published = scene.tables.path(STAGE.name, HOUR).read_bytes()
        assert not scene.shards()
    assert sleeper.ended() == FAILED
    assert f"{LEASE}: this run's lease (token 2) was taken over (token 3)" in scene.said()
    assert scene.tables.path(STAGE.name, HOUR).read_bytes() == published
    assert scene.shards() == set()
    assert scene.shouts() == scene.made(3)


def test_a_killed_owner_that_nobody_has_waited_for_holds_no_lease(tmp_path: Path) -> None:
    """It is still in the table of processes, and does nothing any more."""
    state = State(f"sqlite:///{tmp_path / 'state.db'}")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as owner:
        with state.transaction() as connection:
            values = {
                "name": LEASE,
                "token": 1,
                "owner": f"{this_process().rpartition(':')[0]}:{owner.pid}",
                "expires_at": state.now(connection) + LEASE_S,
            }
            connection.execute(sa.insert(leases).values(**values))
        owner.kill()
        until(lambda: not alive(owner.pid), "end of the owner")
        os.kill(owner.pid, 0)
        assert Leases(state, tmp_path).acquire(LEASE).token == 2
    state.close()
