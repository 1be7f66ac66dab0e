"""What all processes keep to together when they ask a host."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta

import pytest

from pipeline_assets.core.breaker import Mode
from pipeline_assets.fetch.rates import A_MOMENT, HostRates
from pipeline_assets.state.breakers import BreakerStore
from pipeline_assets.state.database import State
from pipeline_assets_tests.conftest import Clock

RUNG = "fetched.http"
PER_S, PROCESSES, LEASES, WANTED = 50.0, 4, 40, 8
ASKING = f"""
import sys
from pipeline_assets.state.breakers import BreakerStore
from pipeline_assets.fetch.rates import HostRates
from pipeline_assets.state.database import State

state = State(sys.argv[1], clock=lambda: 1000.0)
rates = HostRates(state, BreakerStore(state), {RUNG!r}, {PER_S}, {{}})
print("ready", flush=True)
sys.stdin.readline()
for _ in range({LEASES}):
    print(*rates.lease("host", {WANTED}))
"""


@pytest.fixture
def state(database_url: str, clock: Clock) -> Iterator[State]:
    """A state database whose clock stands still."""
    opened = State(database_url, clock=clock.seconds)
    yield opened
    opened.close()


def rates(state: State, per_s: float | None = None, **of_host: float) -> HostRates:
    """Rates on a database."""
    return HostRates(state, BreakerStore(state), RUNG, per_s, of_host)


def test_four_processes_keep_a_rate_together(database_url: str) -> None:
    """Racing, on a clock that stands still: no turn is given twice and none is lost."""
    State(database_url).close()
    clients = [
        subprocess.Popen(
            [sys.executable, "-c", ASKING, database_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(PROCESSES)
    ]
    for client in clients:
        assert client.stdout is not None
        assert client.stdout.readline() == "ready\n"
    said = [client.communicate("go\n")[0].split() for client in clients]
    waits = sorted(float(word) for words in said for word in words)
    alone = State("sqlite://", clock=lambda: 1000.0)
    assert waits == pytest.approx(
        rates(alone, PER_S).lease("host", PROCESSES * LEASES * WANTED), abs=1e-6
    )


def test_a_host_may_have_its_own_rate(state: State) -> None:
    """The others have that for all."""
    of_all = rates(state, 10.0, slow=0.5)
    assert of_all.lease("slow", 2) == pytest.approx([0.0, 2.0])
    assert of_all.lease("quick", 3) == pytest.approx([0.0, 0.0, 0.1])
    assert rates(state).rate("quick") is None


def test_what_one_process_reserves_another_waits_for(state: State, clock: Clock) -> None:
    """And a silence brings back no more than the burst."""
    one, other = rates(state, 8.0), rates(state, 8.0)
    assert one.lease("h", 2) == [0.0, 0.0]
    assert other.lease("h", 2) == pytest.approx([0.125, 0.25])
    clock.advance(3600)
    assert one.lease("h", 3) == pytest.approx([0.0, 0.0, 0.125])


def test_a_host_that_asks_for_a_moment_is_left_alone_by_all(state: State, clock: Clock) -> None:
    """The longest wait counts, until it is over; no breaker is troubled with it."""
    one, other = rates(state), rates(state)
    one.leave_alone("h", timedelta(seconds=7), "429")
    one.leave_alone("h", timedelta(seconds=2), "429")
    assert other.left_alone(["h", "another"]) == pytest.approx({"h": 7.0})
    clock.advance(7)
    assert other.left_alone(["h"]) == {}
    assert BreakerStore(state).load(f"{RUNG}@h").mode is Mode.CLOSED


def test_a_host_that_asks_for_longer_has_its_breaker_opened(state: State, clock: Clock) -> None:
    """So that its rows wait outside, and a person can see it and say otherwise."""
    rates(state).leave_alone("h", A_MOMENT + timedelta(seconds=50), "http://h/: 429")
    breaker = BreakerStore(state).load(f"{RUNG}@h")
    assert (breaker.mode, breaker.retry_at - clock.seconds()) == (Mode.OPEN, 60.0)
    assert "60 s; http://h/: 429" in breaker.reason
    assert rates(state).left_alone(["h"]) == pytest.approx({"h": 60.0})
    BreakerStore(state).reset(f"{RUNG}@h")
    assert rates(state).left_alone(["h"]) == {}


@pytest.mark.parametrize("mode", [Mode.DISABLED, Mode.FORCED_OPEN])
def test_a_persons_word_about_a_breaker_stands(state: State, mode: Mode) -> None:
    """Whatever the host asks for."""
    store = BreakerStore(state)
    store.force(f"{RUNG}@h", mode)
    rates(state).leave_alone("h", timedelta(hours=1), "429")
    assert store.load(f"{RUNG}@h").mode is mode
