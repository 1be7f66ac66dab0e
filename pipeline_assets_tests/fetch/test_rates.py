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
PER_S, SECONDS = 50.0, 4.0
ASKING = f"""
import asyncio, sys, time
from pipeline_assets.state.breakers import BreakerStore
from pipeline_assets.fetch.rates import HostRates
from pipeline_assets.state.database import State
from pipeline_assets.fetch.turns import Turns

url, begin = sys.argv[1], float(sys.argv[2])
state = State(url)
leases = 0

class Counted(HostRates):
    def lease(self, host, wanted):
        global leases
        leases += 1
        return super().lease(host, wanted)

async def ask():
    turns = Turns(Counted(state, BreakerStore(state), {RUNG!r}, {PER_S}, {{}}))
    await turns.begin(["host"])
    print("ready", flush=True)
    await asyncio.sleep(begin - time.time())
    made = 0
    async def client():
        nonlocal made
        while True:
            await turns.wait("host", 8)
            if time.time() >= begin + {SECONDS}:
                return
            made += 1
    await asyncio.gather(*[client() for _ in range(8)])
    print(made, leases)

asyncio.run(ask())
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
    """At 50 a second, 4 s admit 200 and the burst; a query is made for a batch of requests."""
    import time  # noqa: PLC0415 - the only test that goes by the real clock

    State(database_url).close()
    begin = time.time() + 3.0
    clients = [
        subprocess.Popen(
            [sys.executable, "-c", ASKING, database_url, str(begin)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    said = [client.communicate(timeout=30)[0].split() for client in clients]
    made = sum(int(words[1]) for words in said)
    leases = sum(int(words[2]) for words in said)
    rate = rates(State(database_url), PER_S).rate("host")
    assert rate is not None
    most = PER_S * SECONDS + rate.burst
    assert 0.8 * PER_S * SECONDS <= made <= most
    assert leases <= made / 4


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
    assert BreakerStore(state).all() == {}


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
