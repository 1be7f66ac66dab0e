"""Breakers in a real state database, with a clock that is moved by hand."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline_assets.adapters.breakers import BreakerGate, BreakerPermit, BreakerStore
from pipeline_assets.adapters.state import State
from pipeline_assets.core.breaker import BreakerRule, Mode
from pipeline_assets.errors import CircuitOpen, Overloaded
from pipeline_assets_tests.conftest import Clock

RULE = BreakerRule(failures=3, window_s=120, wait_s=60, probes=2)
RUNG = "stage.rung"
FAILURE = Overloaded("the server answered 503")


@pytest.fixture
def state(tmp_path: Path, clock: Clock) -> Iterator[State]:
    """A state database on the test's clock."""
    opened = State(f"sqlite:///{tmp_path / 'state.db'}", clock=clock.seconds)
    yield opened
    opened.close()


@pytest.fixture
def store(state: State) -> BreakerStore:
    """The breakers of that database."""
    return BreakerStore(state)


@pytest.fixture
def gate(store: BreakerStore) -> BreakerGate:
    """Permits that follow `RULE`."""
    return store.gate(RULE)


def permitted(gate: BreakerGate, scope: str = "") -> BreakerPermit:
    """A permit that must be granted."""
    permit = gate.permit(RUNG, scope)
    assert isinstance(permit, BreakerPermit)
    return permit


def refused(gate: BreakerGate, scope: str = "") -> CircuitOpen:
    """A permit that must be refused."""
    permit = gate.permit(RUNG, scope)
    assert isinstance(permit, CircuitOpen)
    return permit


def fail(gate: BreakerGate, times: int, scope: str = "") -> None:
    """Report failures."""
    for _ in range(times):
        permitted(gate, scope).failure(FAILURE, 0.0)


def test_enough_failures_open_it_for_every_process(state: State, gate: BreakerGate) -> None:
    """Another store over the same database, as another process has it, sees it open."""
    fail(gate, RULE.failures or 0)
    elsewhere = BreakerStore(state).gate(RULE)
    assert "60 s" in str(refused(elsewhere))
    assert not elsewhere.available(RUNG)


def test_one_failure_too_few_leaves_it_closed(gate: BreakerGate) -> None:
    """The limit is inclusive, and below it calls are made."""
    fail(gate, 2)
    permitted(gate).success(0.0)
    assert gate.available(RUNG)


def test_failures_outside_the_window_do_not_count(gate: BreakerGate, clock: Clock) -> None:
    """Two old ones and one new one are one."""
    fail(gate, 2)
    clock.advance(RULE.window_s + 1)
    fail(gate, 1)
    assert gate.available(RUNG)


def test_after_the_wait_probes_close_it(gate: BreakerGate, clock: Clock) -> None:
    """No more probes than the rule grants; when they succeed it is closed for all."""
    fail(gate, 3)
    clock.advance(RULE.wait_s)
    probes = [permitted(gate), permitted(gate)]
    refused(gate)
    for probe in probes:
        probe.success(0.0)
    assert gate.store.load(RUNG).mode is Mode.CLOSED


def test_failing_probes_open_it_for_longer(gate: BreakerGate, clock: Clock) -> None:
    """The second wait is twice the first."""
    fail(gate, 3)
    clock.advance(RULE.wait_s)
    for probe in [permitted(gate), permitted(gate)]:
        probe.failure(FAILURE, 0.0)
    assert "120 s" in str(refused(gate))


def test_a_released_probe_goes_to_somebody_else(gate: BreakerGate, clock: Clock) -> None:
    """A call that was not made proves nothing."""
    fail(gate, 3)
    clock.advance(RULE.wait_s)
    first, _second = permitted(gate), permitted(gate)
    first.release()
    permitted(gate)


def test_the_probe_of_a_holder_that_died_is_granted_again(gate: BreakerGate, clock: Clock) -> None:
    """Its lease ends, and its late answer changes nothing."""
    fail(gate, 3)
    clock.advance(RULE.wait_s)
    dead = [permitted(gate), permitted(gate)]
    clock.advance(RULE.probe_lease_s)
    alive = permitted(gate)
    dead[0].failure(FAILURE, 0.0)
    assert gate.store.load(RUNG).results == ()
    alive.success(0.0)
    assert gate.store.load(RUNG).results == (False,)


def test_retry_after_keeps_it_open_for_longer(gate: BreakerGate) -> None:
    """The other side knows best when to come again."""
    fail(gate, 2)
    permitted(gate).failure(Overloaded("busy", retry_after=timedelta(minutes=10)), 0.0)
    assert "600 s" in str(refused(gate))


def test_a_late_failure_from_before_the_opening_changes_nothing(gate: BreakerGate) -> None:
    """It carries an older generation."""
    late = permitted(gate)
    fail(gate, 3)
    before = gate.store.load(RUNG)
    late.failure(FAILURE, 0.0)
    assert gate.store.load(RUNG) == before


def test_each_scope_has_a_breaker_of_its_own(gate: BreakerGate) -> None:
    """One host that fails does not stop the others."""
    fail(gate, 3, scope="bad.example")
    refused(gate, "bad.example")
    permitted(gate, "good.example")
    assert set(gate.store.all()) == {f"{RUNG}@bad.example"}


def test_forced_open_stays_so_until_it_is_reset(gate: BreakerGate, clock: Clock) -> None:
    """Time alone does not lift a person's word, and the message says what does."""
    gate.store.force(RUNG, Mode.FORCED_OPEN)
    clock.advance(1e6)
    assert f"breakers reset {RUNG}" in str(refused(gate))
    gate.store.reset(RUNG)
    permitted(gate)


def test_disabled_it_never_opens(gate: BreakerGate) -> None:
    """Failures are let through."""
    gate.store.force(RUNG, Mode.DISABLED)
    fail(gate, 10)
    permitted(gate)


def test_probe_again_half_opens_just_the_open_ones_that_are_named(store: BreakerStore) -> None:
    """Neither closed nor forced breakers, nor those of other rungs, are touched."""
    gate = store.gate(RULE)
    for name in ("a.gpu", "a.cpu"):
        for _ in range(3):
            permit = gate.permit(name, "")
            assert isinstance(permit, BreakerPermit)
            permit.failure(FAILURE, 0.0)
    store.force("b.gpu", Mode.FORCED_OPEN)
    assert store.probe_again(("a.gpu", "b.gpu", "c.gpu")) == ["a.gpu"]
    modes = {name: state.mode for name, state in store.all().items()}
    assert modes == {"a.gpu": Mode.HALF_OPEN, "a.cpu": Mode.OPEN, "b.gpu": Mode.FORCED_OPEN}
    assert gate.available("a.gpu")
    assert not gate.available("a.cpu")


def test_racing_threads_open_it_exactly_once(
    store: BreakerStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Four times five failures and a minimum of twenty: one transition, one message."""
    gate = store.gate(BreakerRule(failures=20, minimum_calls=20))
    permits = [[permitted(gate) for _ in range(5)] for _ in range(4)]
    threads = [
        threading.Thread(target=lambda mine=mine: [permit.failure(FAILURE, 0.0) for permit in mine])
        for mine in permits
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.load(RUNG).mode is Mode.OPEN
    assert store.load(RUNG).generation == 1
    assert [r.getMessage() for r in caplog.records] == [f"breaker {RUNG}: closed → open"]


def test_forcing_a_rung_open_holds_for_each_of_its_hosts(store: BreakerStore) -> None:
    """A person's word about fetched.http is not evaded by asking per host."""
    gate = store.gate(BreakerRule())
    store.force(RUNG, Mode.FORCED_OPEN)
    assert isinstance(gate.permit(RUNG, "shop.example"), CircuitOpen)
    store.reset(RUNG)
    assert isinstance(gate.permit(RUNG, "shop.example"), BreakerPermit)
