"""The circuit breaker as a pure state machine: (state, event, now) → (state, decision).

States and transitions (boundaries are inclusive: a limit that is met counts):

    closed ── too many failures in the window ──▶ open ── wait is over ──▶ half-open
      ▲                                            ▲                          │
      └──────── k probes, too few failures ────────┼──────────────────────────┤
                                                   └── failures at the rate, or no result in time

Times are seconds on one clock, the database's. Every transition starts a new generation, and a
result that carries an older generation changes nothing.
"""

from dataclasses import dataclass, replace
from enum import StrEnum


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
    """One recorded call."""

    at: float
    failed: bool
    slow: bool


@dataclass(frozen=True, slots=True)
class Probe:
    """A permit that half-open has given out and not got back."""

    number: int
    lease_until: float


@dataclass(frozen=True, slots=True)
class BreakerState:
    """Everything that a breaker remembers."""

    mode: Mode = Mode.CLOSED
    generation: int = 0
    calls: tuple[Call, ...] = ()
    retry_at: float = 0.0
    reopenings: int = 0
    probes: tuple[Probe, ...] = ()
    probes_given: int = 0
    results: tuple[bool, ...] = ()
    last_progress: float | None = None


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


def record(
    state: BreakerState,
    rule: BreakerRule,
    now: float,
    grant: Grant,
    *,
    failed: bool,
    slow: bool = False,
    retry_after_s: float | None = None,
) -> BreakerState:
    """Report the result of a granted call."""
    if grant.generation != state.generation:
        return state
    match state.mode:
        case Mode.CLOSED:
            return _record_closed(state, rule, now, Call(now, failed, slow), retry_after_s)
        case Mode.HALF_OPEN:
            return _record_probe(state, rule, now, grant, failed=failed, wait_s=retry_after_s)
        case Mode.OPEN | Mode.FORCED_OPEN | Mode.DISABLED:
            return state


def release(state: BreakerState, grant: Grant) -> BreakerState:
    """Give a permit back without a result: the call was not made, or proves nothing."""
    if grant.generation != state.generation or state.mode is not Mode.HALF_OPEN:
        return state
    return _without_probe(state, grant)


def force(state: BreakerState, mode: Mode) -> BreakerState:
    """A person's or a health signal's word: put the breaker into `mode`, memory cleared.

    Into the mode that it is in already nothing happens, so that of many who say so one is heard.
    """
    if state.mode is mode:
        return state
    return BreakerState(mode=mode, generation=state.generation + 1, reopenings=state.reopenings)


def reset(state: BreakerState) -> BreakerState:
    """Closed, with nothing remembered but the generation."""
    return BreakerState(generation=state.generation + 1)


def _time_passed(state: BreakerState, rule: BreakerRule, now: float) -> BreakerState:
    if state.mode is Mode.OPEN and now >= state.retry_at:
        return BreakerState(
            mode=Mode.HALF_OPEN,
            generation=state.generation + 1,
            reopenings=state.reopenings,
            last_progress=now,
        )
    if state.mode is Mode.HALF_OPEN:
        if state.last_progress is None:
            return replace(state, last_progress=now)
        if now - state.last_progress >= rule.half_open_max_s:
            return _half_open_ended(state, rule, now)
    return state


def _half_open_ended(state: BreakerState, rule: BreakerRule, now: float) -> BreakerState:
    """No more results came in time: too little traffic closes on its successes, silence reopens."""
    if state.results and not any(state.results):
        return reset(state)
    return _opened(state, rule, now, None)


def _request_probe(
    state: BreakerState, rule: BreakerRule, now: float
) -> tuple[BreakerState, Grant | Refusal]:
    alive = tuple(probe for probe in state.probes if probe.lease_until > now)
    if len(alive) + len(state.results) >= rule.probes:
        return replace(state, probes=alive), Refusal(
            state.mode, min((probe.lease_until for probe in alive), default=None)
        )
    number = state.probes_given + 1
    probe = Probe(number, now + rule.probe_lease_s)
    granted = replace(state, probes=(*alive, probe), probes_given=number)
    return granted, Grant(state.generation, number)


def _without_probe(state: BreakerState, grant: Grant) -> BreakerState:
    return replace(
        state, probes=tuple(probe for probe in state.probes if probe.number != grant.probe)
    )


def _record_closed(
    state: BreakerState, rule: BreakerRule, now: float, call: Call, retry_after_s: float | None
) -> BreakerState:
    if not (call.failed or call.slow or _counts_successes(rule)):
        return state
    calls = (*(old for old in state.calls if now - old.at <= rule.window_s), call)
    if _trips(calls, rule):
        return _opened(state, rule, now, retry_after_s)
    return replace(state, calls=calls)


def _counts_successes(rule: BreakerRule) -> bool:
    """Whether a success can matter: for a rate, or to complete the minimum of calls.

    Where it cannot, it is not kept, so that a busy rung does not fill the breaker's memory.
    """
    return rule.failure_rate is not None or rule.slow_rate is not None or rule.minimum_calls > 1


def _trips(calls: tuple[Call, ...], rule: BreakerRule) -> bool:
    if len(calls) < rule.minimum_calls:
        return False
    failed = sum(call.failed for call in calls)
    slow = sum(call.slow for call in calls)
    return (
        (rule.failures is not None and failed >= rule.failures)
        or (rule.failure_rate is not None and failed / len(calls) >= rule.failure_rate)
        or (rule.slow_rate is not None and slow / len(calls) >= rule.slow_rate)
    )


def _record_probe(
    state: BreakerState,
    rule: BreakerRule,
    now: float,
    grant: Grant,
    *,
    failed: bool,
    wait_s: float | None,
) -> BreakerState:
    state = _time_passed(state, rule, now)
    if state.mode is not Mode.HALF_OPEN:
        return state  # half-open's maximum is over: reopened, and this result is an old one
    if all(probe.number != grant.probe for probe in state.probes):
        return state  # its lease ended and the permit went to somebody else
    state = _without_probe(state, grant)
    results = (*state.results, failed)
    if len(results) < rule.probes:
        return replace(state, results=results, last_progress=now)
    if sum(results) / len(results) >= rule.probe_failure_rate:
        return _opened(state, rule, now, wait_s)
    return reset(state)


def _opened(
    state: BreakerState, rule: BreakerRule, now: float, retry_after_s: float | None
) -> BreakerState:
    again = state.reopenings + 1 if state.mode is Mode.HALF_OPEN else 0
    return BreakerState(
        mode=Mode.OPEN,
        generation=state.generation + 1,
        retry_at=now + max(_wait_s(rule, again), retry_after_s or 0.0),
        reopenings=again,
    )


def _wait_s(rule: BreakerRule, reopenings: int) -> float:
    try:
        return min(rule.wait_s * rule.wait_factor**reopenings, rule.wait_cap_s)
    except OverflowError:  # 2.0 ** 1024: reached after eleven days at a cap of 900 s
        return rule.wait_cap_s
