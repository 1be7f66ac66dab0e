"""Asking for hours: which, in what order, how often, and when an hour is left as it is.

An hour that a run could do something for is asked for once at a time, whatever the cause. A request
that did nothing for it is followed by another after a pause that doubles, up to a cap in each
epoch: a stretch of the accelerator's good health, or a version of the hour's feed. Once the better
rung was given every row, those that it could not make are left for a day, as single rows are whose
attempts are used up; or until the next epoch.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType

from pipeline_assets.core.results import SLOW_RETRY

FIRST_PAUSE_S = 60.0
LONGEST_PAUSE_S = 3600.0
"""Between requests for an hour that were in vain: a tick at first, then ever longer."""
REST_S = SLOW_RETRY.total_seconds()


class Priority(StrEnum):
    """The feed's classes of items, the most urgent first."""

    INTERACTIVE = "interactive"
    BATCH = "batch"
    BACKGROUND = "background"


URGENCY: Mapping[Priority, int] = MappingProxyType({each: at for at, each in enumerate(Priority)})

OBJECTIVES: Mapping[Priority, timedelta] = MappingProxyType(
    {
        Priority.INTERACTIVE: timedelta(seconds=30),
        Priority.BATCH: timedelta(minutes=10),
        Priority.BACKGROUND: timedelta(hours=6),
    }
)
"""How soon an item should be healed, from when the accelerator is healthy, unless settings differ:
somebody waits, a batch waits, nobody waits."""


@dataclass(frozen=True, slots=True)
class WantedHour:
    """An hour that a run could do something for: for how many rows, and from when on.

    `priority` is the most urgent class among them, `quality` the mean of the hour's items.
    """

    hour: str
    epoch: int
    rows: int
    due_at: float = 0.0
    priority: Priority = Priority.BATCH
    quality: float | None = None


class Outcome(StrEnum):
    """What came of a request: fewer rows to do, all of them tried, neither, or not even a run."""

    BETTER = "better"
    TRIED = "tried"
    IN_VAIN = "in vain"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Request:
    """The latest request for an hour: a run could have done something for `rows` then.

    `in_vain` counts the requests in a row, within the epoch, that did nothing; `outcome` and
    `ended_at` are None while its run is not at its end.
    """

    hour: str
    epoch: int
    number: int
    asked_at: float
    rows: int
    in_vain: int = 0
    outcome: Outcome | None = None
    ended_at: float | None = None


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """How much may be asked for at a time, and how often in vain; None: as often as it takes.

    The first pause after a request in vain is `pause_s`, and the next ones double.
    """

    per_tick: int
    in_flight: int
    tries: int | None
    pause_s: float = FIRST_PAUSE_S


class NotAsked(StrEnum):
    """Why an hour is not asked for."""

    IN_FLIGHT = "in flight"
    WAITS = "wait for their retry_at"
    RESTS = "rest for a day, the better rung could not make them"
    GIVEN_UP = "given up"
    PAUSES = "pause after a request in vain"
    NEXT = "left for a later tick"


@dataclass(slots=True)
class Round:
    """What one look at the hours that are wanted comes to."""

    requests: list[Request] = field(default_factory=list)
    priorities: dict[str, Priority] = field(default_factory=dict)
    standing: Counter[NotAsked] = field(default_factory=Counter)
    given_up: list[Request] = field(default_factory=list)


Order = Callable[[WantedHour], tuple[float | str, ...]]
"""What hours are sorted by that may be asked for."""


def worst_first(hour: WantedHour) -> tuple[float | str, ...]:
    """The most urgent class first, in it the lowest quality.

    An hour whose quality is not known yet has work left undone: it is the worst.
    """
    return URGENCY[hour.priority], -1.0 if hour.quality is None else hour.quality, hour.hour


def still_wanted(_hour: WantedHour) -> bool:
    """Nothing else is known of it."""
    return True


def choose(
    wanted: Iterable[WantedHour],
    latest: Mapping[str, Request],
    limits: RequestLimits,
    now: float,
    order: Order = worst_first,
    is_wanted: Callable[[WantedHour], bool] = still_wanted,
) -> Round:
    """The requests to make now, in this order; `is_wanted` has the last word on each."""
    found = Round()
    askable: list[WantedHour] = []
    for hour in wanted:
        before = latest.get(hour.hour)
        standing = _standing(hour, before, limits, now)
        if standing is None:
            askable.append(hour)
            continue
        found.standing[standing] += 1
        if standing is NotAsked.GIVEN_UP and before is not None:
            found.given_up.append(before)
    in_flight = sum(request.outcome is None for request in latest.values())
    room = max(0, min(limits.per_tick, limits.in_flight - in_flight))
    for hour in sorted(askable, key=order):
        if len(found.requests) == room:
            found.standing[NotAsked.NEXT] += 1
        elif is_wanted(hour):
            found.requests.append(_next(hour, latest.get(hour.hour), now))
            found.priorities[hour.hour] = hour.priority
    return found


def settle(request: Request, rows: int, given: int, now: float) -> Request:
    """The request once its run has ended, with `rows` left that a run could do something for.

    `given` is how many rows the better rung was given: fewer than there were, where the run was
    stopped or a breaker let no more calls through.
    """
    better = rows < request.rows
    outcome = Outcome.BETTER if better else Outcome.IN_VAIN
    if rows and given >= request.rows:
        outcome = Outcome.TRIED
    in_vain = 0 if better or outcome is Outcome.TRIED else request.in_vain + 1
    return replace(request, outcome=outcome, in_vain=in_vain, ended_at=now)


def lost(request: Request, now: float) -> Request:
    """A request of which no run came: the daemon died between asking and launching."""
    return replace(request, outcome=Outcome.LOST, ended_at=now)


def _standing(
    hour: WantedHour, before: Request | None, limits: RequestLimits, now: float
) -> NotAsked | None:
    """Why the hour is not asked for; None where it may be."""
    if before is not None and before.outcome is None:
        return NotAsked.IN_FLIGHT
    if hour.due_at > now:
        return NotAsked.WAITS
    if before is None or before.epoch != hour.epoch or before.outcome is Outcome.LOST:
        return None
    ended_at = before.asked_at if before.ended_at is None else before.ended_at
    if before.outcome is Outcome.TRIED:
        return NotAsked.RESTS if now < ended_at + REST_S else None
    if limits.tries is not None and before.in_vain >= limits.tries:
        return NotAsked.GIVEN_UP
    return NotAsked.PAUSES if now < ended_at + pause_s(before.in_vain, limits) else None


def pause_s(in_vain: int, limits: RequestLimits) -> float:
    """How long an hour is left alone after so many requests in vain."""
    if in_vain == 0:
        return 0.0
    doublings = min(in_vain - 1, 10)  # far beyond the longest pause
    return min(limits.pause_s * 2**doublings, LONGEST_PAUSE_S)


def _next(hour: WantedHour, before: Request | None, now: float) -> Request:
    """A lost request is made again under its number: should its run come after all, it is one."""
    if before is None or before.epoch != hour.epoch:
        return Request(hour.hour, hour.epoch, 1, now, hour.rows)
    number = before.number + (before.outcome is not Outcome.LOST)
    return Request(hour.hour, hour.epoch, number, now, hour.rows, before.in_vain)
