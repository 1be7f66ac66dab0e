"""Breakers in real state databases, with a clock that is moved by hand."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
import sqlalchemy as sa

from pipeline_assets.core.breaker import BreakerRule, Call, Mode, ProbePermit
from pipeline_assets.errors import CircuitOpen, Overloaded, RateLimited
from pipeline_assets.state.breakers import BreakerGate, BreakerPermit, BreakerStore, breakers
from pipeline_assets.state.database import State
from pipeline_assets_tests.conftest import Clock
from pipeline_assets_tests.state import breaker_process
from pipeline_assets_tests.state.breaker_process import NAME, TWENTY

RULE = BreakerRule(failures=3, window_s=120, wait_s=60, probes=2)
RATE = BreakerRule(failures=None, failure_rate=0.5, minimum_calls=4)
SLOW = BreakerRule(failures=None, slow_rate=0.5, slow_call_s=10, minimum_calls=4)
RUNG = "stage.rung"
FAILURE = Overloaded("the server answered 503")


@pytest.fixture
def state(database_url: str, clock: Clock) -> Iterator[State]:
    """A state database on the test's clock."""
    opened = State(database_url, clock=clock.seconds)
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


def test_half_opening_names_rungs_not_beginnings_of_names(store: BreakerStore) -> None:
    """A rung's hosts are meant with it; another rung that is called alike is not."""
    for name in ("a.gpu", "a.gpu@host", "a.gpu_large"):
        store.open_for(name, 60)
    assert store.probe_again(("a.gpu",)) == ["a.gpu", "a.gpu@host"]
    assert store.load("a.gpu_large").mode is Mode.OPEN


def test_what_closed_meanwhile_is_not_half_opened(
    store: BreakerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at all breakers and the word to one of them, others go on."""
    store.open_for(RUNG, 60)
    seen = store.all()
    store.reset(RUNG)
    monkeypatch.setattr(store, "all", lambda: seen)
    store.probe_again((RUNG,))
    assert store.load(RUNG).mode is Mode.CLOSED


@pytest.mark.parametrize(
    ("rule", "outcomes", "mode"),
    [
        pytest.param(RATE, "ff..", Mode.OPEN, id="half of four failed"),
        pytest.param(RATE, "f..f", Mode.OPEN, id="a failure completes the minimum"),
        pytest.param(RATE, "f...", Mode.CLOSED, id="a quarter failed"),
        pytest.param(RATE, "fff", Mode.CLOSED, id="below the minimum"),
        pytest.param(SLOW, "ss..", Mode.OPEN, id="half of four were slow"),
        pytest.param(SLOW, "s..S", Mode.OPEN, id="a slow failure is slow"),
        pytest.param(SLOW, "s...", Mode.CLOSED, id="a quarter was slow"),
        pytest.param(SLOW, "sss", Mode.CLOSED, id="below the minimum of slow calls"),
        pytest.param(RULE, "s" * 20, Mode.CLOSED, id="slowness is not configured"),
    ],
)
def test_rates_of_failed_and_of_slow_calls_open_it(
    store: BreakerStore, rule: BreakerRule, outcomes: str, mode: Mode
) -> None:
    """`f` failed, `s` took 10 s, `S` both, `.` was fine; 10 s are slow."""
    gate = store.gate(rule)
    for outcome in outcomes:
        permit = permitted(gate)
        seconds = 10.0 if outcome in "sS" else 9.9
        if outcome in "fS":
            permit.failure(FAILURE, seconds)
        else:
            permit.success(seconds)
    assert store.load(RUNG).mode is mode


def test_one_retry_after_opens_it_for_as_long_as_was_asked(gate: BreakerGate, clock: Clock) -> None:
    """Not for the rule's wait, and no wait is longer for it afterwards."""
    permitted(gate).failure(RateLimited("slow down", retry_after=timedelta(seconds=7)), 0.0)
    assert "7 s" in str(refused(gate))
    clock.advance(7)
    for probe in [permitted(gate), permitted(gate)]:
        probe.failure(FAILURE, 0.0)
    assert "120 s" in str(refused(gate))


def test_a_refusal_of_a_host_says_how_long_its_rows_wait(gate: BreakerGate, clock: Clock) -> None:
    """So that they are not planned again by every run until then."""
    fail(gate, 3, scope="bad.example")
    clock.advance(20)
    assert refused(gate, "bad.example").retry_after == timedelta(seconds=40)


def test_a_refusal_of_a_rung_keeps_no_row_from_an_early_probe(gate: BreakerGate) -> None:
    """Its breaker half-opens as soon as it is said to be well: rows must then be planned."""
    fail(gate, 3)
    assert refused(gate).retry_after is None
    gate.store.probe_again((RUNG,))
    permitted(gate)


def test_a_person_opens_a_rung_for_some_time(gate: BreakerGate, clock: Clock) -> None:
    """For each of its hosts; then a bounded number of probes decides, of whichever host."""
    gate.store.open_for(RUNG, 300)
    assert "300 s" in str(refused(gate, "shop.example"))
    clock.advance(300)
    probes = [permitted(gate, "shop.example"), permitted(gate, "other.example")]
    refused(gate, "third.example")
    for probe in probes:
        probe.success(0.0)
    permitted(gate, "third.example")


def test_disabling_a_rung_holds_for_each_of_its_hosts(gate: BreakerGate) -> None:
    """Also for one whose own breaker is open; what fails meanwhile is not remembered."""
    fail(gate, 3, scope="bad.example")
    gate.store.force(RUNG, Mode.DISABLED)
    fail(gate, 10, scope="bad.example")
    gate.store.reset(RUNG)
    refused(gate, "bad.example")


def test_each_transition_is_an_event_with_its_reason(gate: BreakerGate, clock: Clock) -> None:
    """From the first failure that was one too many to the person who had enough."""
    fail(gate, 3)
    clock.advance(RULE.wait_s)
    for probe in [permitted(gate), permitted(gate)]:
        probe.success(0.0)
    gate.store.force(RUNG, Mode.FORCED_OPEN)
    gate.store.force(RUNG, Mode.FORCED_OPEN)
    gate.store.force(RUNG, Mode.DISABLED)
    gate.store.reset(RUNG)
    gate.store.reset(RUNG)
    gate.store.open_for(RUNG, 30)
    gate.store.probe_again((RUNG,))
    events = gate.store.events(RUNG, 100)
    assert [(e.generation, e.from_mode, e.to_mode, e.reason) for e in reversed(events)] == [
        (
            1,
            Mode.CLOSED,
            Mode.OPEN,
            "3 failures in 120 s; the last: overloaded: the server answered 503",
        ),
        (2, Mode.OPEN, Mode.HALF_OPEN, "the wait is over"),
        (3, Mode.HALF_OPEN, Mode.CLOSED, "2 of 2 probes were good"),
        (4, Mode.CLOSED, Mode.FORCED_OPEN, "forced open by a person"),
        (5, Mode.FORCED_OPEN, Mode.DISABLED, "disabled by a person"),
        (6, Mode.DISABLED, Mode.CLOSED, "reset by a person"),
        (7, Mode.CLOSED, Mode.OPEN, "opened for 30 s by a person"),
        (8, Mode.OPEN, Mode.HALF_OPEN, "said to be well again before the wait was over"),
    ]
    assert events[-1].at == clock.seconds() - RULE.wait_s


def test_a_transition_is_a_warning_unless_it_heals(
    gate: BreakerGate, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Opening is; half-opening and closing are news."""
    with caplog.at_level("INFO", "pipeline_assets"):
        fail(gate, 3)
        clock.advance(RULE.wait_s)
        for probe in [permitted(gate), permitted(gate)]:
            probe.success(0.0)
    assert [(each.levelname, each.getMessage().split(": ")[1]) for each in caplog.records] == [
        ("WARNING", "closed → open"),
        ("INFO", "open → half-open"),
        ("INFO", "half-open → closed"),
    ]


def test_calls_that_change_no_mode_are_no_events(gate: BreakerGate) -> None:
    """Neither failures below the limit nor refusals."""
    fail(gate, 2)
    assert gate.store.events(None, 100) == []
    fail(gate, 1)
    refused(gate)
    assert len(gate.store.events(None, 100)) == 1


def test_events_are_of_one_breaker_with_its_hosts_or_of_all(
    store: BreakerStore, clock: Clock
) -> None:
    """Newest first, up to a limit; a rung that is called alike is another one."""
    names = ["a.b", "a.b@host", "a_b", "a.bc"]
    for name in names:
        clock.advance(1)
        store.open_for(name, 30)
    assert [event.name for event in store.events(None, 100)] == names[::-1]
    assert [event.name for event in store.events(None, 1)] == ["a.bc"]
    assert [event.name for event in store.events("a.b", 100)] == ["a.b@host", "a.b"]
    assert [event.name for event in store.events("a.b@host", 100)] == ["a.b@host"]


def test_transitions_are_counted_by_rung_in_a_span_of_time(
    store: BreakerStore, clock: Clock
) -> None:
    """Those of its hosts with them; one at the end of the span belongs to the next."""
    begun = store.now()
    for name in ("a.b", "a.b@host", "a.c"):
        store.open_for(name, 30)
    store.reset("a.c")
    clock.advance(60)
    store.reset("a.b")
    assert store.transitions(begun, begun + 60) == {"a.b": 2, "a.c": 2}
    assert store.transitions(begun + 60, begun + 120) == {"a.b": 1}
    assert store.transitions(begun - 60, begun) == {}


def test_the_oldest_events_of_a_breaker_are_dropped(
    store: BreakerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that goes up and down for years fills no disk, and pushes out no other's events."""
    monkeypatch.setattr("pipeline_assets.state.breakers.EVENTS_KEPT", 4)
    store.open_for("other.rung", 30)
    for _ in range(5):
        store.force(RUNG, Mode.FORCED_OPEN)
        store.reset(RUNG)
    assert [event.generation for event in store.events(RUNG, 100)] == [10, 9, 8, 7]
    assert len(store.events("other.rung", 100)) == 1


def test_an_event_that_cannot_be_kept_leaves_the_breaker_as_it_was(
    store: BreakerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are written in one transaction."""

    def no_disk(*_: object) -> None:
        raise RuntimeError("disk full")

    monkeypatch.setattr("pipeline_assets.state.breakers._keep_event", no_disk)
    with pytest.raises(RuntimeError, match="disk full"):
        store.open_for(RUNG, 30)
    assert store.load(RUNG).mode is Mode.CLOSED
    assert store.events(None, 100) == []


def test_a_servers_odd_words_and_a_hosts_odd_name_are_kept(gate: BreakerGate) -> None:
    """PostgreSQL's strings know no NUL; nobody's breaker may fail for that."""
    for _ in range(3):
        permitted(gate, "sh\0op").failure(Overloaded("a\0b"), 0.0)
    [event] = gate.store.events(None, 100)
    assert (event.name, event.reason) == (
        f"{RUNG}@shop",
        "3 failures in 120 s; the last: overloaded: ab",
    )


def test_a_transition_is_said_in_the_log(
    gate: BreakerGate, caplog: pytest.LogCaptureFixture
) -> None:
    """With its reason, once."""
    fail(gate, 3)
    refused(gate)
    reason = gate.store.load(RUNG).reason
    assert [r.getMessage() for r in caplog.records] == [f"breaker {RUNG}: closed → open: {reason}"]


def test_of_four_processes_that_race_exactly_one_makes_each_transition(database_url: str) -> None:
    """Four times five failures and a minimum of twenty, then people who all say the same."""
    with processes(4, database_url) as others:
        for act in ("ask", "fail", "force open", "disable", "reset", "open"):
            together(others, act)
    state = State(database_url)
    store = BreakerStore(state)
    transitions = [(e.generation, e.to_mode) for e in reversed(store.events(NAME, 100))]
    assert transitions == [
        (1, Mode.OPEN),
        (2, Mode.FORCED_OPEN),
        (3, Mode.DISABLED),
        (4, Mode.CLOSED),
        (5, Mode.OPEN),
    ]
    state.close()


def test_nineteen_failures_of_four_processes_leave_it_closed(database_url: str) -> None:
    """None is counted twice: the twentieth opens it."""
    with processes(4, database_url) as others:
        together(others, "ask")
        together(others[:3], "fail")
        state = State(database_url)
        store = BreakerStore(state)
        assert len(store.load(NAME).calls) == 15
        for _ in range(4):
            permit = store.gate(TWENTY).permit(NAME, "")
            assert isinstance(permit, BreakerPermit)
            permit.failure(FAILURE, 0.0)
        assert store.events(None, 100) == []
        together(others[3:], "fail")
        assert [event.to_mode for event in store.events(None, 100)] == [Mode.OPEN]
        state.close()


def test_the_probe_of_a_killed_process_is_granted_again_when_its_lease_ends(
    database_url: str,
) -> None:
    """Killed for real, it gives nothing back; only the time passes by a clock that goes before."""
    state, ahead = State(database_url), State(database_url, clock=lambda: time.time() + 60)
    later = State(database_url, clock=lambda: time.time() + TWENTY.probe_lease_s)
    BreakerStore(state).open_for(NAME, 0)
    with processes(1, database_url) as [holder]:
        together([holder], "ask")
        holder.kill()
        holder.wait()
    for before in (state, ahead):
        assert isinstance(BreakerStore(before).gate(TWENTY).permit(NAME, ""), CircuitOpen)
    permit = BreakerStore(later).gate(TWENTY).permit(NAME, "")
    assert isinstance(permit, BreakerPermit)
    permit.success(0.0)
    assert BreakerStore(later).load(NAME).mode is Mode.CLOSED
    for opened in (state, ahead, later):
        opened.close()


@contextmanager
def processes(number: int, url: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that share the breaker `NAME`, and do what they are told."""
    started = [
        subprocess.Popen(
            [sys.executable, "-m", breaker_process.__name__, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(number)
    ]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def together(others: list[subprocess.Popen[str]], act: str) -> None:
    """Tell all of them first, and only then wait for each."""
    for process in others:
        assert process.stdin is not None
        process.stdin.write(f"{act}\n")
        process.stdin.flush()
    for process in others:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{act}: done\n"


def test_forcing_a_rung_open_holds_for_each_of_its_hosts(store: BreakerStore) -> None:
    """A person's word about fetched.http is not evaded by asking per host."""
    gate = store.gate(BreakerRule())
    store.force(RUNG, Mode.FORCED_OPEN)
    assert isinstance(gate.permit(RUNG, "shop.example"), CircuitOpen)
    store.reset(RUNG)
    assert isinstance(gate.permit(RUNG, "shop.example"), BreakerPermit)


def test_a_breaker_of_an_earlier_version_is_read(state: State, store: BreakerStore) -> None:
    """Its calls and probes are stored by name, and nothing said why it stood where it did."""
    stored = {
        "mode": "closed",
        "generation": 3,
        "retry_at": 0.0,
        "reopenings": 0,
        "results": [],
        "calls": [{"at": 1.0, "failed": True, "slow": False}],
        "probes": [{"number": 2, "lease_until": 9.0}],
    }
    with state.transaction() as connection:
        connection.execute(sa.insert(breakers).values(name=NAME, state=stored, updated_at=1.0))
    loaded = store.load(NAME)
    assert loaded.calls == (Call(1.0, failed=True, slow=False),)
    assert loaded.probes == (ProbePermit(2, 9.0),)
