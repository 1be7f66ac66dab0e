"""The circuit breaker's rules, on a clock that the tests hold in their hands."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pipeline_assets.core.breaker import (
    BreakerRule,
    BreakerState,
    Grant,
    Mode,
    Refusal,
    Result,
    can_count,
    force,
    open_for,
    probe_early,
    record,
    release,
    request,
    reset,
    would_grant,
)

RULE = BreakerRule()
FAILED, FINE = Result(failed=True), Result(failed=False)
WORD = "somebody said so"
CLOSED = BreakerState()


def grant_of(
    state: BreakerState, now: float, rule: BreakerRule = RULE
) -> tuple[BreakerState, Grant]:
    """Ask for a permit that must be given."""
    state, answer = request(state, rule, now)
    assert isinstance(answer, Grant)
    return state, answer


def refusal_of(
    state: BreakerState, now: float, rule: BreakerRule = RULE
) -> tuple[BreakerState, Refusal]:
    """Ask for a permit that must be refused."""
    state, answer = request(state, rule, now)
    assert isinstance(answer, Refusal)
    return state, answer


def called(
    state: BreakerState,
    now: float,
    *,
    failed: bool,
    rule: BreakerRule = RULE,
    slow: bool = False,
    retry_after_s: float | None = None,
) -> BreakerState:
    """One call from its permit to its result, in no time."""
    state, grant = grant_of(state, now, rule)
    return record(state, rule, now, grant, Result(failed, slow, retry_after_s))


def after(outcomes: str, rule: BreakerRule) -> BreakerState:
    """The state after calls at time 1: `f` failed, `s` was slow, `.` was fine."""
    state = CLOSED
    for outcome in outcomes:
        state = called(state, 1.0, failed=outcome == "f", slow=outcome == "s", rule=rule)
    return state


def opened(rule: BreakerRule = RULE, at: float = 100.0) -> BreakerState:
    """A breaker that five failures have just opened."""
    state = CLOSED
    for _ in range(5):
        state = called(state, at, failed=True, rule=rule)
    assert state.mode is Mode.OPEN
    return state


def half_open(rule: BreakerRule = RULE, at: float = 1000.0) -> tuple[BreakerState, Grant]:
    """A half-open breaker that has just given its first probe."""
    state, grant = grant_of(opened(rule), at, rule)
    assert state.mode is Mode.HALF_OPEN
    return state, grant


@pytest.mark.parametrize(
    ("times", "mode"),
    [
        ((0, 30, 60, 90, 119), Mode.OPEN),
        ((0, 30, 60, 90, 120), Mode.OPEN),  # the limit that is met counts
        ((0, 30, 60, 90, 121), Mode.CLOSED),
        ((0, 30, 60, 90), Mode.CLOSED),
        ((0, 30, 60, 90, 121, 149), Mode.OPEN),  # from 30 on there are five again
        ((5, 5, 5, 5, 5), Mode.OPEN),
    ],
)
def test_five_failures_in_two_minutes_open_it(times: tuple[float, ...], mode: Mode) -> None:
    """What counts is a sliding window, its far end included."""
    state = CLOSED
    for at in times:
        state = called(state, at, failed=True)
    assert state.mode is mode


def test_successes_between_failures_do_not_hide_them() -> None:
    """Failures are counted in the window, not in a row."""
    assert after(".f.f..f.f..f", RULE).mode is Mode.OPEN


RATE = BreakerRule(failures=None, failure_rate=0.5, minimum_calls=4)
SLOW = BreakerRule(failures=None, slow_rate=0.5, minimum_calls=4)
EITHER = BreakerRule(failures=3, failure_rate=0.5, minimum_calls=4)


@pytest.mark.parametrize(
    ("rule", "outcomes", "mode"),
    [
        pytest.param(RATE, "fff", Mode.CLOSED, id="below the minimum never"),
        pytest.param(RATE, "ff..", Mode.OPEN, id="a success that completes the minimum trips it"),
        pytest.param(RATE, "f...", Mode.CLOSED, id="under the rate"),
        pytest.param(RATE, "f...ff", Mode.OPEN, id="the rate is met"),
        pytest.param(SLOW, "ss..", Mode.OPEN, id="slow calls at the rate"),
        pytest.param(SLOW, "s...", Mode.CLOSED, id="slow calls under the rate"),
        pytest.param(SLOW, "ff..", Mode.CLOSED, id="only slowness is configured"),
        pytest.param(EITHER, "fff", Mode.CLOSED, id="the minimum holds for a count as well"),
        pytest.param(EITHER, "fff.", Mode.OPEN, id="the count is met before the rate"),
        pytest.param(RULE, "s" * 50, Mode.CLOSED, id="slowness is off where it has no rate"),
        pytest.param(
            BreakerRule(failures=None), "f" * 50, Mode.CLOSED, id="nothing configured, never"
        ),
    ],
)
def test_any_configured_condition_opens_it(rule: BreakerRule, outcomes: str, mode: Mode) -> None:
    """Failure count, failure rate and slow rate each open it, at or over their limit."""
    assert after(outcomes, rule).mode is mode


@pytest.mark.parametrize(
    ("rule", "outcomes", "reason"),
    [
        (RULE, "fffff", "5 failures in 120 s"),
        (RATE, "ff..", "2 of 4 calls in 120 s failed"),
        (SLOW, "ss..", "2 of 4 calls in 120 s took 60 s or longer"),
    ],
)
def test_it_says_which_condition_was_met(rule: BreakerRule, outcomes: str, reason: str) -> None:
    """For the reader of its events."""
    assert after(outcomes, rule).reason == reason


@pytest.mark.parametrize(
    ("rule", "result", "reason"),
    [
        (
            BreakerRule(failures=1),
            Result(True, error="timeout: x"),
            "1 failure in 120 s; the last: timeout: x",
        ),
        (RULE, Result(True, False, 7.0), "asked to be left alone for 7 s"),
    ],
)
def test_it_says_what_the_last_failure_was(rule: BreakerRule, result: Result, reason: str) -> None:
    """Where it is known."""
    state, grant = grant_of(CLOSED, 0.0, rule)
    assert record(state, rule, 0.0, grant, result).reason == reason


def test_it_says_how_probing_went() -> None:
    """From the end of the wait to the last probe."""
    rule = BreakerRule(probes=1)
    state, grant = half_open(rule)
    assert state.reason == "the wait is over"
    assert record(state, rule, 1000.0, grant, FINE).reason == "1 of 1 probes were good"
    assert record(state, rule, 1000.0, grant, FAILED).reason == "1 of 1 probes failed"
    assert request(state, rule, 1600.0)[0].reason == "no result for 600 s"


@pytest.mark.parametrize(
    ("rule", "result", "counts"),
    [
        (RULE, FAILED, True),
        (RULE, FINE, False),
        (RULE, Result(failed=False, slow=True), False),
        (RATE, FINE, True),
        (SLOW, FINE, True),
        (BreakerRule(minimum_calls=2), FINE, True),
    ],
)
def test_a_success_counts_where_it_can_matter(
    rule: BreakerRule, result: Result, *, counts: bool
) -> None:
    """Nobody need be told of the others; a probe's always matters."""
    state, grant = grant_of(CLOSED, 0.0, rule)
    assert can_count(rule, grant, result) is counts
    assert (record(state, rule, 0.0, grant, result) != state) is counts
    assert can_count(rule, half_open()[1], result)


def test_a_busy_rung_does_not_fill_the_memory_of_a_rate() -> None:
    """Ten thousand good calls are few entries, and each of them is counted."""
    state = CLOSED
    for number in range(10_000):
        state = called(state, number * 0.01, failed=False, rule=RATE)
    assert len(state.calls) <= 51
    assert sum(call.count for call in state.calls) == 10_000


@given(
    st.lists(st.tuples(st.booleans(), st.booleans()), max_size=30),
    st.integers(1, 40),
    st.integers(1, 5),
    st.floats(0, 1),
)
def test_below_the_minimum_it_never_opens(
    outcomes: list[tuple[bool, bool]], minimum: int, failures: int, rate: float
) -> None:
    """Whatever is configured, and however it goes."""
    rule = BreakerRule(failures=failures, failure_rate=rate, slow_rate=rate, minimum_calls=minimum)
    state = CLOSED
    for calls, (failed, slow) in enumerate(outcomes, start=1):
        state = called(state, 0.0, failed=failed, slow=slow, rule=rule)
        if calls < minimum:
            assert state.mode is Mode.CLOSED
        if state.mode is not Mode.CLOSED:
            return


def test_twenty_failures_of_four_callers_open_it_exactly_once() -> None:
    """Four callers hold permits of one generation; only the twentieth result is a transition."""
    rule = BreakerRule(failures=5, minimum_calls=20)
    state, grants = CLOSED, []
    for _ in range(24):  # four of them are answered when it is open already
        state, grant = grant_of(state, 0.0, rule)
        grants.append(grant)
    generations = [state.generation]
    for grant in grants:
        state = record(state, rule, 1.0, grant, FAILED)
        generations.append(state.generation)
    assert generations == [0] * 20 + [1] * 5
    assert state.mode is Mode.OPEN


@pytest.mark.parametrize(("at", "granted"), [(100.0, False), (159.9, False), (160.0, True)])
def test_open_grants_nothing_before_its_wait_is_over(at: float, *, granted: bool) -> None:
    """The wait is 60 s from the opening, its end included; asking says until when."""
    state = opened(at=100.0)
    assert would_grant(state, RULE, at) is granted
    if not granted:
        assert refusal_of(state, at)[1] == Refusal(Mode.OPEN, 160.0)


def test_asking_whether_a_call_would_be_granted_changes_nothing() -> None:
    """Planning looks at breakers without taking a probe."""
    state = opened()
    assert would_grant(state, RULE, 1000.0)
    assert state == opened()


@pytest.mark.parametrize(
    ("retry_after_s", "retry_at"), [(None, 160.0), (0.0, 160.0), (30.0, 160.0), (500.0, 600.0)]
)
def test_a_retry_after_can_only_make_the_wait_longer(
    retry_after_s: float | None, retry_at: float
) -> None:
    """The other side knows best when it will be back, but not that it will be back sooner."""
    rule = BreakerRule(failures=1)
    state = called(CLOSED, 100.0, failed=True, rule=rule, retry_after_s=retry_after_s)
    assert state.retry_at == retry_at


def test_one_retry_after_opens_it_at_once_for_as_long_as_was_asked() -> None:
    """Whatever the counts: the other side wants no call, not even a fifth failure."""
    rule = BreakerRule(failures=5, minimum_calls=20, wait_s=60)
    state = called(CLOSED, 100.0, failed=True, rule=rule, retry_after_s=7.0)
    assert (state.mode, state.retry_at, state.reopenings) == (Mode.OPEN, 107.0, 0)


def test_a_retry_after_of_zero_is_no_request() -> None:
    """Come at once, it says."""
    assert called(CLOSED, 100.0, failed=True, retry_after_s=0.0).mode is Mode.CLOSED


@pytest.mark.parametrize("failures", [1, 5])
@pytest.mark.parametrize(
    ("asked_s", "waited_s"),
    [(86_399.0, 86_399.0), (86_400.0, 86_400.0), (86_401.0, 86_400.0), (1e12, 86_400.0)],
)
def test_a_retry_after_is_heard_up_to_a_day(asked_s: float, waited_s: float, failures: int) -> None:
    """Far past the cap of our own waits, but not for ever; also where the count is met as well."""
    rule = BreakerRule(failures=failures)
    state = called(CLOSED, 100.0, failed=True, rule=rule, retry_after_s=asked_s)
    assert state.retry_at == 100.0 + waited_s


def test_being_asked_to_wait_is_no_reopening() -> None:
    """Half-open and asked to wait, it opens for just that; the next wait is no longer for it."""
    state, grant = half_open(at=1000.0)
    state = record(state, RULE, 1000.0, grant, Result(failed=True, retry_after_s=7.0))
    assert (state.mode, state.retry_at, state.reopenings) == (Mode.OPEN, 1007.0, 0)
    state, grant = grant_of(state, 1007.0)
    for at in (1008.0, 1009.0):
        state = record(state, RULE, at, grant, FAILED)
        state, grant = grant_of(state, at)
    state = record(state, RULE, 1010.0, grant, FAILED)
    assert (state.retry_at, state.reopenings) == (1130.0, 1)


def test_the_last_probe_closes_nothing_when_it_is_asked_to_wait() -> None:
    """Two of three were fine, and the third says: not now. One transition, to open."""
    state, grant = half_open()
    generation = state.generation
    for result in (FINE, FINE, Result(failed=True, retry_after_s=7.0)):
        state = record(state, RULE, 1000.0, grant, result)
        if state.mode is Mode.HALF_OPEN:
            state, grant = grant_of(state, 1000.0)
    assert (state.mode, state.generation, state.retry_at) == (Mode.OPEN, generation + 1, 1007.0)


@pytest.mark.parametrize(
    "state", [CLOSED, half_open()[0], force(CLOSED, Mode.DISABLED, WORD), opened(at=0.0)]
)
def test_a_person_opens_it_for_some_time(state: BreakerState) -> None:
    """Whatever it was, it half-opens when the time is over."""
    told = open_for(state, 100.0, 30.0, WORD)
    assert refusal_of(told, 129.9)[1] == Refusal(Mode.OPEN, 130.0)
    assert grant_of(told, 130.0)[0].mode is Mode.HALF_OPEN


@pytest.mark.parametrize(("seconds", "retry_at"), [(30.0, 160.0), (90.0, 190.0)])
def test_what_is_open_stays_so_for_the_longer_of_both(seconds: float, retry_at: float) -> None:
    """No transition, so no second event."""
    state = opened(at=100.0)
    assert open_for(state, 100.0, seconds, WORD) == replace(state, retry_at=retry_at)


def test_a_retry_after_of_an_older_generation_changes_nothing() -> None:
    """Nor does one that comes while it is disabled."""
    asked = Result(failed=True, retry_after_s=500.0)
    _, old = grant_of(CLOSED, 0.0)
    probing, _ = half_open()
    assert record(probing, RULE, 1001.0, old, asked) == probing
    disabled, grant = grant_of(force(CLOSED, Mode.DISABLED, WORD), 0.0)
    assert record(disabled, RULE, 1.0, grant, asked) == disabled


def test_a_retry_after_counts_on_a_failed_probe_as_well() -> None:
    """Half-open, the answer 'come back in an hour' is heard."""
    rule = BreakerRule(probes=1)
    state, grant = half_open(rule)
    state = record(state, rule, 1000.0, grant, Result(failed=True, retry_after_s=3600.0))
    assert state.retry_at == 4600.0


def test_the_wait_grows_to_its_cap_and_is_back_at_the_base_after_closing() -> None:
    """60, 120, 240, 480, 900, 900 …; one success of the probes, and it begins at 60 again."""
    rule = BreakerRule(failures=1, probes=1)
    state, now, waits = called(CLOSED, 0.0, failed=True, rule=rule), 0.0, []
    for _ in range(6):
        waits.append(state.retry_at - now)
        now = state.retry_at
        state = called(state, now, failed=True, rule=rule)
    assert waits == [60.0, 120.0, 240.0, 480.0, 900.0, 900.0]
    now = state.retry_at
    state = called(state, now, failed=False, rule=rule)
    assert state.mode is Mode.CLOSED
    state = called(state, now, failed=True, rule=rule)
    assert state.retry_at - now == 60.0


@pytest.mark.parametrize("reopenings", [1023, 1024, 10**6])
def test_an_outage_of_weeks_does_not_overflow_the_wait(reopenings: int) -> None:
    """2.0 ** 1024 is no float; at the cap of 900 s that is eleven days of outage."""
    rule = BreakerRule(probes=1)
    state, grant = half_open(rule)
    state = record(replace(state, reopenings=reopenings), rule, 1000.0, grant, FAILED)
    assert state.retry_at == 1900.0


@pytest.mark.parametrize("probes", [1, 2, 3, 7])
def test_half_open_grants_exactly_k_probes(probes: int) -> None:
    """One more is refused until the first of their leases ends."""
    rule = BreakerRule(probes=probes)
    state, _ = half_open(rule, at=1000.0)
    for number in range(1, probes):
        state, _ = grant_of(state, 1000.0 + number, rule)
    state, refusal = refusal_of(state, 1050.0, rule)
    assert refusal == Refusal(Mode.HALF_OPEN, 1120.0)


def test_a_finished_probe_is_not_granted_again() -> None:
    """Permits and results together are k: a result uses its probe up."""
    rule = BreakerRule(probes=2)
    state, first = half_open(rule)
    state = record(state, rule, 1000.0, first, FINE)
    state, _ = grant_of(state, 1000.0, rule)
    refusal_of(state, 1000.0, rule)


def test_a_released_probe_comes_back() -> None:
    """A call that was not made proves nothing, and its permit is given to the next."""
    rule = BreakerRule(probes=1)
    state, grant = half_open(rule)
    refusal_of(state, 1000.0, rule)
    state = release(state, grant)
    state, second = grant_of(state, 1000.0, rule)
    assert second.probe != grant.probe


@pytest.mark.parametrize(("at", "granted"), [(1119.9, False), (1120.0, True)])
def test_a_probe_whose_holder_died_is_granted_again_when_its_lease_ends(
    at: float, *, granted: bool
) -> None:
    """The lease is 120 s, its end included."""
    rule = BreakerRule(probes=1)
    state, _ = half_open(rule, at=1000.0)
    assert would_grant(state, rule, at) is granted


def test_the_late_result_of_a_probe_that_was_granted_again_changes_nothing() -> None:
    """Its permit belongs to somebody else by now."""
    rule = BreakerRule(probes=1)
    state, dead = half_open(rule, at=1000.0)
    state, alive = grant_of(state, 1120.0, rule)
    assert record(state, rule, 1121.0, dead, FAILED) == state
    assert release(state, dead) == state
    assert record(state, rule, 1121.0, alive, FINE).mode is Mode.CLOSED


@pytest.mark.parametrize(
    ("results", "mode"),
    [
        ((False, False, False, False), Mode.CLOSED),
        ((True, False, False, False), Mode.CLOSED),
        ((True, True, False, False), Mode.OPEN),  # half of them: the rate is met
        ((False, False, True, True), Mode.OPEN),
        ((True, True, True, True), Mode.OPEN),
        ((True, True, True), Mode.HALF_OPEN),  # not before all of them are in
    ],
)
def test_half_open_decides_when_k_results_are_in(results: tuple[bool, ...], mode: Mode) -> None:
    """Failures at or over the rate reopen it, else it closes with nothing remembered."""
    rule = BreakerRule(probes=4)
    state, grant = half_open(rule)
    for number, failed in enumerate(results):
        if number:
            state, grant = grant_of(state, 1000.0, rule)
        state = record(state, rule, 1000.0, grant, Result(failed))
    assert state.mode is mode
    if mode is Mode.CLOSED:
        assert state == BreakerState(generation=state.generation, reason=state.reason)


@pytest.mark.parametrize(
    ("outcomes", "mode"),
    [
        ("sss", Mode.OPEN),
        ("s.s", Mode.OPEN),
        ("s..", Mode.CLOSED),
        ("...", Mode.CLOSED),
        ("sf.", Mode.CLOSED),
    ],
)
def test_probes_as_slow_as_what_it_opens_for_reopen_it(outcomes: str, mode: Mode) -> None:
    """Where only slowness is configured a failed probe counts for nothing but its rate."""
    rule = replace(SLOW, slow_rate=0.6, probes=3, probe_failure_rate=0.6)
    state = open_for(CLOSED, 0.0, 10.0, "it is slow")
    for outcome in outcomes:
        state = called(state, 20.0, failed=outcome == "f", slow=outcome == "s", rule=rule)
    assert state.mode is mode
    if mode is Mode.OPEN:
        assert "probes took 60 s or longer" in state.reason
        assert state.reopenings == 1


def test_silence_closes_nothing_that_was_slow_so_far() -> None:
    """Too little traffic closes on its successes, if they were quick."""
    rule = replace(SLOW, probes=3)
    state = called(open_for(CLOSED, 0.0, 10.0, "slow"), 20.0, failed=False, slow=True, rule=rule)
    state, answer = request(state, rule, 20.0 + rule.half_open_max_s)
    assert isinstance(answer, Refusal)
    assert state.mode is Mode.OPEN


def test_a_clock_that_was_fast_keeps_nothing_open_for_longer() -> None:
    """It is set back by an hour: the wait begins then, and is no longer than it was."""
    state, hour = opened(at=7200.0), 3600.0
    wait = state.retry_at - 7200.0
    state, answer = request(state, RULE, 7200.0 - hour)
    assert answer == Refusal(Mode.OPEN, 7200.0 - hour + wait)
    assert isinstance(request(state, RULE, 7200.0 - hour + wait)[1], Grant)


def test_a_probe_of_a_clock_that_was_fast_is_granted_again_in_time() -> None:
    """Its lease ends, and half-open too, as if both had just begun."""
    state, _probe = half_open(replace(RULE, probes=1), at=7200.0)
    state, answer = request(state, replace(RULE, probes=1), 3600.0)
    assert answer == Refusal(Mode.HALF_OPEN, 3600.0 + RULE.probe_lease_s)
    assert state.last_progress == 3600.0


@pytest.mark.parametrize(("at", "mode"), [(1599.9, Mode.HALF_OPEN), (1600.0, Mode.OPEN)])
def test_half_open_without_a_result_for_its_maximum_reopens(at: float, mode: Mode) -> None:
    """Whoever asks after 600 s finds it open, with a longer wait."""
    state, _ = half_open(at=1000.0)
    state, _ = request(state, RULE, at)
    assert state.mode is mode
    if mode is Mode.OPEN:
        assert state.retry_at == at + 120.0


def test_a_result_starts_the_half_open_maximum_anew() -> None:
    """What matters is how long nothing was heard."""
    state, grant = half_open(at=1000.0)
    state = record(state, RULE, 1500.0, grant, FAILED)
    assert request(state, RULE, 1600.0)[0].mode is Mode.HALF_OPEN
    assert request(state, RULE, 2100.0)[0].mode is Mode.OPEN


def test_too_little_traffic_closes_on_its_successes() -> None:
    """One good call an hour must not be refused every second hour."""
    state, grant = half_open(at=1000.0)
    state = record(state, RULE, 1500.0, grant, FINE)
    later, answer = request(state, RULE, 5000.0)
    assert later.mode is Mode.CLOSED
    assert isinstance(answer, Grant)


def test_the_first_result_after_the_maximum_comes_too_late() -> None:
    """It is as if somebody had asked at the maximum: reopened, and the result is an old one."""
    rule = BreakerRule(probes=1, probe_lease_s=1000.0)
    state, grant = half_open(rule, at=1000.0)
    state = record(state, rule, 1600.0, grant, FINE)
    assert state.mode is Mode.OPEN
    assert refusal_of(state, 1600.0, rule)[1].retry_at == 1720.0


def test_a_clock_that_begins_at_zero_is_a_clock() -> None:
    """Half-open since time 0 reopens like any other."""
    state = force(CLOSED, Mode.HALF_OPEN, WORD)
    state, _ = grant_of(state, 0.0)
    assert request(state, RULE, 600.0)[0].mode is Mode.OPEN


def test_a_result_of_an_older_generation_changes_nothing() -> None:
    """A call from before the outage says nothing about now."""
    _, old = grant_of(CLOSED, 0.0)
    state, _ = half_open()
    for failed in (True, False):
        assert record(state, RULE, 1001.0, old, Result(failed)) == state
    assert release(state, old) == state


def test_a_late_result_while_open_changes_nothing() -> None:
    """It moves neither the retry time nor the count of reopenings."""
    _, late = grant_of(CLOSED, 100.0)
    state = opened(at=100.0)
    for failed in (True, False):
        assert record(state, RULE, 130.0, late, Result(failed, retry_after_s=9e9)) == state
    assert record(state, RULE, 130.0, Grant(state.generation), FAILED) == state


@pytest.mark.parametrize("state", [CLOSED, opened(), half_open()[0]])
def test_forced_open_refuses_until_somebody_says_otherwise(state: BreakerState) -> None:
    """No time is given, since time does not end it."""
    forced = force(state, Mode.FORCED_OPEN, WORD)
    assert forced.generation == state.generation + 1
    assert refusal_of(forced, 1e12)[1] == Refusal(Mode.FORCED_OPEN, None)
    assert would_grant(reset(forced, WORD), RULE, 0.0)


def test_disabled_grants_everything_and_learns_nothing() -> None:
    """A disabled breaker does not open, whatever fails."""
    state = force(opened(), Mode.DISABLED, WORD)
    for at in range(20):
        after_call = called(state, float(at), failed=True)
        assert after_call == state


@pytest.mark.parametrize("mode", Mode)
def test_of_many_who_force_the_same_mode_one_is_heard(mode: Mode) -> None:
    """The second word changes nothing, so that there is one transition."""
    once = force(opened(), mode, WORD)
    assert force(once, mode, WORD) == once


@pytest.mark.parametrize(
    "state", [after("ff", RULE), opened(), half_open()[0], force(CLOSED, Mode.DISABLED, WORD)]
)
def test_reset_closes_it_and_forgets_everything_but_the_generation(state: BreakerState) -> None:
    """What was called before the reset counts no more."""
    assert reset(state, WORD) == BreakerState(generation=state.generation + 1, reason=WORD)


def test_of_many_who_reset_it_one_is_heard() -> None:
    """There is nothing left to forget for the second."""
    once = reset(opened(), WORD)
    assert reset(once, WORD) == once
    assert reset(CLOSED, WORD) == CLOSED


@pytest.mark.parametrize("state", [CLOSED, half_open()[0], force(CLOSED, Mode.FORCED_OPEN, WORD)])
def test_a_health_signal_changes_only_what_is_open(state: BreakerState) -> None:
    """It neither lifts a person's word nor begins a closed breaker's probing."""
    assert probe_early(state, WORD) == state


def test_a_health_signal_makes_an_open_breaker_probe_at_once() -> None:
    """Half-open before its time keeps the number of reopenings: the wait goes on growing."""
    rule = BreakerRule(probes=1)
    state, grant = grant_of(probe_early(opened(rule, at=100.0), WORD), 101.0, rule)
    state = record(state, rule, 102.0, grant, FAILED)
    assert (state.mode, state.retry_at) == (Mode.OPEN, 222.0)


@given(
    st.lists(st.tuples(st.floats(0, 400), st.booleans()), max_size=40),
    st.integers(1, 6),
    st.floats(1, 200),
)
def test_it_opens_at_the_first_window_that_holds_enough_failures(
    calls: list[tuple[float, bool]], failures: int, window_s: float
) -> None:
    """Whatever the calls: closed means that no window ever held that many."""
    rule = BreakerRule(failures=failures, window_s=window_s)
    state, failed_at = CLOSED, list[float]()
    for at, failed in sorted(calls):
        state = called(state, at, failed=failed, rule=rule)
        failed_at += [at] if failed else []
        full = sum(at - earlier <= window_s for earlier in failed_at) >= failures
        assert (state.mode is Mode.OPEN) is full
        if full:
            return


@given(st.floats(1, 1000), st.floats(1, 10), st.floats(1, 10_000), st.integers(1, 30))
def test_the_wait_never_shrinks_while_it_reopens_and_never_passes_its_cap(
    wait_s: float, factor: float, cap_s: float, times: int
) -> None:
    """Growing by a factor of at least one, up to the cap."""
    rule = BreakerRule(failures=1, probes=1, wait_s=wait_s, wait_factor=factor, wait_cap_s=cap_s)
    state = called(CLOSED, 0.0, failed=True, rule=rule)
    waits = [state.retry_at]
    for _ in range(times):
        now = state.retry_at
        state, grant = grant_of(state, now, rule)
        state = record(state, rule, 0.0, grant, FAILED)
        waits.append(state.retry_at)
    assert all(wait <= later for wait, later in pairwise(waits))
    assert max(waits) <= cap_s


class AnyHistory(RuleBasedStateMachine):
    """Callers, deaths, released permits, people and time, in any order."""

    breaker = BreakerRule(
        failures=2, probes=2, wait_s=10, wait_cap_s=35, probe_lease_s=7, half_open_max_s=25
    )

    def __init__(self) -> None:
        super().__init__()
        self.state = CLOSED
        self.now = 0.0
        self.grants: list[tuple[Grant, float]] = []

    def become(self, state: BreakerState) -> None:
        """Take a step: at most one transition, which says why; without one the mode stays."""
        if state.generation == self.state.generation:
            assert (state.mode, state.reason) == (self.state.mode, self.state.reason)
        else:
            assert state.generation == self.state.generation + 1
            assert state.reason
        self.state = state

    @rule(seconds=st.sampled_from([0.5, 3.0, 7.0, 10.0, 25.0, 40.0]))
    def time_passes(self, seconds: float) -> None:
        """Later."""
        self.now += seconds

    @rule()
    def ask(self) -> None:
        """Ask for a permit."""
        before = self.state
        expected = would_grant(before, self.breaker, self.now)
        state, answer = request(before, self.breaker, self.now)
        self.become(state)
        assert isinstance(answer, Grant) is expected
        if isinstance(answer, Grant):
            assert before.mode is not Mode.FORCED_OPEN
            assert before.mode is not Mode.OPEN or self.now >= before.retry_at
            assert answer.generation == state.generation
            assert (answer.probe is not None) is (state.mode is Mode.HALF_OPEN)
            assert all(answer != held for held, _ in self.grants if held.probe is not None)
            self.grants.append((answer, self.now + self.breaker.probe_lease_s))
        elif answer.mode is Mode.OPEN:
            assert answer.retry_at is not None
            assert answer.retry_at > self.now

    @precondition(lambda self: self.grants)
    @rule(data=st.data(), failed=st.booleans(), asked=st.sampled_from([None, 0.0, 5.0, 30.0]))
    def answer(self, data: st.DataObject, asked: float | None, *, failed: bool) -> None:
        """A call comes back, however late."""
        index = data.draw(st.integers(0, len(self.grants) - 1))
        grant, _ = self.grants.pop(index)
        state = record(
            self.state,
            self.breaker,
            self.now,
            grant,
            Result(failed, False, asked if failed else None),
        )
        if grant.generation != self.state.generation:
            assert state == self.state
        self.become(state)

    @precondition(lambda self: self.grants)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        """A permit comes back without a result."""
        index = data.draw(st.integers(0, len(self.grants) - 1))
        self.become(release(self.state, self.grants.pop(index)[0]))

    @rule(mode=st.sampled_from(Mode))
    def somebody_forces(self, mode: Mode) -> None:
        """A person or a health signal."""
        self.become(force(self.state, mode, WORD))

    @rule(seconds=st.sampled_from([1.0, 20.0, 35.0]))
    def somebody_opens_it_for_some_time(self, seconds: float) -> None:
        """A person."""
        self.become(open_for(self.state, self.now, seconds, WORD))

    @rule()
    def it_is_said_to_be_well(self) -> None:
        """A health signal."""
        self.become(probe_early(self.state, WORD))

    @rule()
    def somebody_resets(self) -> None:
        """A person."""
        self.become(reset(self.state, WORD))

    @invariant()
    def at_most_k_probes_are_out_or_answered(self) -> None:
        """In one half-open generation, the dead ones aside."""
        if self.state.mode is not Mode.HALF_OPEN:
            return
        out = sum(
            grant.generation == self.state.generation and lease_until > self.now
            for grant, lease_until in self.grants
        )
        assert out + len(self.state.results) <= self.breaker.probes

    @invariant()
    def no_wait_is_longer_than_the_cap(self) -> None:
        """Unless the other side asked for more."""
        if self.state.mode is Mode.OPEN:
            assert self.state.retry_at - self.now <= self.breaker.wait_cap_s


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=60, stateful_step_count=40)
