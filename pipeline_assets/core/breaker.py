"""The circuit breaker as a pure state machine: (state, event, now) → (state, decision).

States and transitions (boundaries are inclusive: a limit that is met counts):

    closed ── too many failures in the window ──▶ open ── wait is over ──▶ half-open
      ▲                                            ▲                          │
      └────── k probes, too few failed or slow ────┼──────────────────────────┤
                                                   └── failed or slow at the rate, or silence

Times are seconds on one clock, the database's. Every transition starts a new generation and says
why in a short sentence, and a result that carries an older generation changes nothing.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

LONGEST_OPEN_FOR_S = 86_400.0
"""A day: whoever asks to be left alone for longer is asked again tomorrow."""

GOOD_CALLS_KEPT = 50
"""Good calls within a fiftieth of the window are kept as one entry: a failure rate moves by a
fiftieth at most, and a result costs as much on a busy rung as on an idle one."""


class Mode(StrEnum):
    """Where a breaker stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"
    FORCED_OPEN = "forced-open"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerRule:
    """When to open, how long to wait, how to probe. None switches a condition off.

    `failures` failures, or a share of `failure_rate` or `slow_rate` among at least
    `minimum_calls` calls, within `window_s` seconds open the breaker. The wait starts at `wait_s`,
    grows by `wait_factor` with each reopening up to `wait_cap_s`, and is back at the base after
    closing. Half-open grants exactly `probes` calls; a probe's permit is granted again after
    `probe_lease_s`, and half-open without a result for `half_open_max_s` reopens.
    """

    window_s: float = 120.0
    minimum_calls: int = 1
    failures: int | None = 5
    failure_rate: float | None = None
    slow_rate: float | None = None
    slow_call_s: float = 60.0
    wait_s: float = 60.0
    wait_factor: float = 2.0
    wait_cap_s: float = 900.0
    probes: int = 3
    probe_failure_rate: float = 0.5
    probe_lease_s: float = 120.0
    half_open_max_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Call:
    """One recorded call, or `count` good ones that came closely together."""

    at: float
    failed: bool
    slow: bool
    count: int = 1

    @property
    def good(self) -> bool:
        """Neither failed nor slow."""
        return not (self.failed or self.slow)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a granted call.

    `retry_after_s` is for how long the other side asked to be left alone; `error` is what it said.
    """

    failed: bool
    slow: bool = False
    retry_after_s: float | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class ProbePermit:
    """A permit that half-open has given out and not got back."""

    number: int
    lease_until: float


@dataclass(frozen=True, slots=True)
class BreakerState:
    """Everything that a breaker remembers; `reason` is why it stands where it does.

    `since` is when it opened, so that a clock that was set back since is noticed.
    `results` says of each probe whether it failed, and `slow_probes` how many were slow.
    `paused_until` is for how long the other side asked for a moment's peace: calls wait for it, and
    are not refused.
    """

    mode: Mode = Mode.CLOSED
    generation: int = 0
    reason: str = ""
    calls: tuple[Call, ...] = ()
    retry_at: float = 0.0
    reopenings: int = 0
    probes: tuple[ProbePermit, ...] = ()
    probes_given: int = 0
    results: tuple[bool, ...] = ()
    last_progress: float | None = None
    paused_until: float = 0.0
    slow_probes: int = 0
    since: float | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """A call may be made; the grant goes back with its result."""

    generation: int
    probe: int | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """No call may be made before `retry_at` (None: until a person says so, or a probe ends)."""

    mode: Mode
    retry_at: float | None


def request(
    state: BreakerState, rule: BreakerRule, now: float
) -> tuple[BreakerState, Grant | Refusal]:
    """Ask for a permit to make one call."""
    state = _time_passed(state, rule, now)
    match state.mode:
        case Mode.CLOSED | Mode.DISABLED:
            return state, Grant(state.generation)
        case Mode.HALF_OPEN:
            return _request_probe(state, rule, now)
        case Mode.OPEN:
            return state, Refusal(state.mode, state.retry_at)
        case Mode.FORCED_OPEN:
            return state, Refusal(state.mode, None)


def would_grant(state: BreakerState, rule: BreakerRule, now: float) -> bool:
    """Whether a permit would be given now; changes nothing."""
    return isinstance(request(state, rule, now)[1], Grant)


def can_count(rule: BreakerRule, grant: Grant, result: Result) -> bool:
    """Whether a result can change anything; if not, nobody need be told.

    A success outside half-open counts for a rate, or to complete the minimum of calls. Where it
    does not, it is not kept, so that a busy rung does not fill the breaker's memory.
    """
    return (
        result.failed
        or grant.probe is not None
        or rule.failure_rate is not None
        or rule.slow_rate is not None
        or rule.minimum_calls > 1
    )


def record(
    state: BreakerState, rule: BreakerRule, now: float, grant: Grant, result: Result
) -> BreakerState:
    """Report the result of a granted call."""
    if grant.generation != state.generation or not can_count(rule, grant, result):
        return state
    match state.mode:
        case Mode.CLOSED:
            return _record_closed(state, rule, now, result)
        case Mode.HALF_OPEN:
            return _record_probe(state, rule, now, grant, result)
        case Mode.OPEN | Mode.FORCED_OPEN | Mode.DISABLED:
            return state


def release(state: BreakerState, grant: Grant) -> BreakerState:
    """Give a permit back without a result: the call was not made, or proves nothing."""
    if grant.generation != state.generation or state.mode is not Mode.HALF_OPEN:
        return state
    return _without_probe(state, grant)


def open_for(state: BreakerState, now: float, seconds: float, reason: str) -> BreakerState:
    """Leave the other side alone for `seconds`, at most `LONGEST_OPEN_FOR_S`.

    No reopening, so no later wait grows by it; what is open stays so for the longer of the two.
    """
    until = now + min(seconds, LONGEST_OPEN_FOR_S)
    if state.mode is Mode.OPEN:
        return replace(state, retry_at=max(state.retry_at, until))
    return replace(_entered(state, Mode.OPEN, reason), retry_at=until, since=now)


def pause_for(state: BreakerState, now: float, seconds: float) -> BreakerState:
    """Remember a moment's peace that the other side asked for; of two, the longer one."""
    return replace(state, paused_until=max(state.paused_until, now + seconds))


def probe_early(state: BreakerState, reason: str) -> BreakerState:
    """Half-open what is open before its wait is over, on a health signal's word."""
    return force(state, Mode.HALF_OPEN, reason) if state.mode is Mode.OPEN else state


def force(state: BreakerState, mode: Mode, reason: str) -> BreakerState:
    """A person's or a health signal's word: put the breaker into `mode`, memory cleared.

    Into the mode that it is in already nothing happens, so that of many who say so one is heard.
    """
    return state if state.mode is mode else _entered(state, mode, reason)


def reset(state: BreakerState, reason: str) -> BreakerState:
    """Closed, with nothing remembered; where that is so already, nothing happens."""
    if state == BreakerState(generation=state.generation, reason=state.reason):
        return state
    return replace(_entered(state, Mode.CLOSED, reason), reopenings=0)


def _entered(state: BreakerState, mode: Mode, reason: str) -> BreakerState:
    """A transition: a new generation, which remembers only how often it has reopened."""
    return BreakerState(mode, state.generation + 1, reason, reopenings=state.reopenings)


def _time_passed(state: BreakerState, rule: BreakerRule, now: float) -> BreakerState:
    state = _on_this_clock(state, rule, now)
    if state.mode is Mode.OPEN and now >= state.retry_at:
        return replace(_entered(state, Mode.HALF_OPEN, "the wait is over"), last_progress=now)
    if state.mode is Mode.HALF_OPEN:
        if state.last_progress is None:
            return replace(state, last_progress=now)
        if now - state.last_progress >= rule.half_open_max_s:
            return _half_open_ended(state, rule, now)
    return state


def _on_this_clock(state: BreakerState, rule: BreakerRule, now: float) -> BreakerState:
    """The clock may have been set back: what was to be waited for begins now, and is no longer."""
    if state.mode is Mode.OPEN and state.since is not None and now < state.since:
        return replace(state, retry_at=now + (state.retry_at - state.since), since=now)
    if state.mode is Mode.HALF_OPEN and state.last_progress is not None:
        if now >= state.last_progress:
            return state
        latest = now + rule.probe_lease_s
        probes = tuple(
            replace(probe, lease_until=min(probe.lease_until, latest)) for probe in state.probes
        )
        return replace(state, last_progress=now, probes=probes)
    return state


def _half_open_ended(state: BreakerState, rule: BreakerRule, now: float) -> BreakerState:
    """No more results came in time: too little traffic closes on its successes, silence reopens."""
    silence = f"no result for {rule.half_open_max_s:g} s"
    if state.results and not any(state.results) and _slow(state, rule) is None:
        return reset(state, f"{silence}, and no probe before had failed")
    return _opened(state, rule, now, silence)


def _request_probe(
    state: BreakerState, rule: BreakerRule, now: float
) -> tuple[BreakerState, Grant | Refusal]:
    alive = tuple(probe for probe in state.probes if probe.lease_until > now)
    if len(alive) + len(state.results) >= rule.probes:
        return replace(state, probes=alive), Refusal(
            state.mode, min((probe.lease_until for probe in alive), default=None)
        )
    number = state.probes_given + 1
    probe = ProbePermit(number, now + rule.probe_lease_s)
    granted = replace(state, probes=(*alive, probe), probes_given=number)
    return granted, Grant(state.generation, number)


def _without_probe(state: BreakerState, grant: Grant) -> BreakerState:
    return replace(
        state, probes=tuple(probe for probe in state.probes if probe.number != grant.probe)
    )


def _record_closed(
    state: BreakerState, rule: BreakerRule, now: float, result: Result
) -> BreakerState:
    calls = tuple(call for call in state.calls if 0 <= now - call.at <= rule.window_s)
    calls = _added(calls, Call(now, result.failed, result.slow), rule.window_s)
    why = _why_open(calls, rule)
    if why is not None:
        return _opened(state, rule, now, why + _last(result), result.retry_after_s)
    return _left_alone(replace(state, calls=calls), now, result)


def _added(calls: tuple[Call, ...], call: Call, window_s: float) -> tuple[Call, ...]:
    last = calls[-1] if calls else None
    if last is None or not (last.good and call.good):
        return (*calls, call)
    if call.at - last.at >= window_s / GOOD_CALLS_KEPT:
        return (*calls, call)
    return (*calls[:-1], replace(last, count=last.count + 1))


def _left_alone(state: BreakerState, now: float, result: Result) -> BreakerState:
    """Open for as long as the other side asked, whatever the counts; zero is no request."""
    if not result.retry_after_s:
        return state
    reason = f"asked to be left alone for {result.retry_after_s:g} s{_last(result)}"
    return open_for(state, now, result.retry_after_s, reason)


def _why_open(calls: tuple[Call, ...], rule: BreakerRule) -> str | None:
    """The condition that these calls meet, in words; None while they meet none."""
    total = sum(call.count for call in calls)
    if total < rule.minimum_calls:
        return None
    failed = sum(call.failed for call in calls)
    slow = sum(call.slow for call in calls)
    if rule.failures is not None and failed >= rule.failures:
        return f"{failed} failure{'s' * (failed > 1)} in {rule.window_s:g} s"
    if rule.failure_rate is not None and failed / total >= rule.failure_rate:
        return f"{failed} of {total} calls in {rule.window_s:g} s failed"
    if rule.slow_rate is not None and slow / total >= rule.slow_rate:
        took = f"took {rule.slow_call_s:g} s or longer"
        return f"{slow} of {total} calls in {rule.window_s:g} s {took}"
    return None


def _record_probe(
    state: BreakerState, rule: BreakerRule, now: float, grant: Grant, result: Result
) -> BreakerState:
    state = _time_passed(state, rule, now)
    if state.mode is not Mode.HALF_OPEN:
        return state  # half-open's maximum is over: reopened, and this result is an old one
    if all(probe.number != grant.probe for probe in state.probes):
        return state  # its lease ended and the permit went to somebody else
    results = (*state.results, result.failed)
    state = replace(
        _without_probe(state, grant),
        results=results,
        slow_probes=state.slow_probes + result.slow,
        last_progress=now,
    )
    complete = len(results) >= rule.probes
    failed, made = sum(results), len(results)
    if complete and failed / made >= rule.probe_failure_rate:
        why = f"{failed} of {made} probes failed{_last(result)}"
        return _opened(state, rule, now, why, result.retry_after_s)
    if complete and (why_slow := _slow(state, rule)) is not None:
        return _opened(state, rule, now, why_slow, result.retry_after_s)
    if complete and not result.retry_after_s:
        return reset(state, f"{made - failed} of {made} probes were good")
    return _left_alone(state, now, result)


def _slow(state: BreakerState, rule: BreakerRule) -> str | None:
    """In words, if as many probes are slow as open a breaker that is closed."""
    made, slow = len(state.results), state.slow_probes
    if rule.slow_rate is None or slow / made < rule.slow_rate:
        return None
    return f"{slow} of {made} probes took {rule.slow_call_s:g} s or longer"


def _opened(
    state: BreakerState, rule: BreakerRule, now: float, reason: str, asked_s: float | None = None
) -> BreakerState:
    """Open for the rule's wait or for as long as the other side asked, whichever is longer."""
    again = state.reopenings + 1 if state.mode is Mode.HALF_OPEN else 0
    wait_s = max(_wait_s(rule, again), min(asked_s or 0.0, LONGEST_OPEN_FOR_S))
    opened = _entered(state, Mode.OPEN, reason)
    return replace(opened, retry_at=now + wait_s, since=now, reopenings=again)


def _last(result: Result) -> str:
    return f"; the last: {result.error}" if result.error else ""


def _wait_s(rule: BreakerRule, reopenings: int) -> float:
    try:
        return min(rule.wait_s * rule.wait_factor**reopenings, rule.wait_cap_s)
    except OverflowError:  # 2.0 ** 1024: reached after eleven days at a cap of 900 s
        return rule.wait_cap_s
