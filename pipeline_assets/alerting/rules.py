"""What is said about what stands, and when, as pure rules.

A condition is one message when it begins and one when it is over, and one more a day while it
stands. One that comes and goes has at most `MOST_SAID` messages in `WINDOW_S`; what was not said
by itself is counted in the next one. Of many messages at once, the gravest are said and the rest
is summed up: nothing is lost, and nobody gets a storm.

Times are seconds since the epoch on one clock, the database's.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum

REPEAT_AFTER_S = 86_400.0
WINDOW_S = 3600.0
MOST_SAID = 4
"""Twice begun and twice over: whoever reads a third time learns nothing new."""

NAMED = 10
"""How many titles of each kind a summary names; it counts them all."""

SUMMARY = "summary"
OVER = "over"
KINDS = {
    "degraded": "degraded operation",
    "run": "failed runs",
    "breaker": "open breakers",
    "check": "failed checks",
    "objective": "missed objectives",
    "hour": "missing hours",
}
"""What a key begins with, up to its colon, in words."""


class Severity(StrEnum):
    """How grave it is, the gravest first."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


_RANK = {severity: rank for rank, severity in enumerate(Severity)}


@dataclass(frozen=True, slots=True)
class Alert:
    """A condition that stands, or a message about it: what happened, and what to do next.

    `key` tells it from every other condition, and begins with its kind. `about` are the keys of
    what a message sums up.
    """

    key: str
    severity: Severity
    title: str
    happened: str
    todo: str
    since: float
    about: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """The conditions that it tells of."""
        return self.about or (self.key,)


@dataclass(frozen=True, slots=True)
class Remembered:
    """What is known of a condition: as it was last seen, and what was said of it when.

    `untold` counts how often it came or went since the last message; `said` are the times of the
    last `MOST_SAID` messages.
    """

    alert: Alert
    stands: bool = False
    untold: int = 0
    said: tuple[float, ...] = ()


Memory = Mapping[str, Remembered]


def decide(
    standing: Sequence[Alert], memory: Memory, now: float
) -> tuple[dict[str, Remembered], list[Alert]]:
    """What is remembered after a look at what stands now, and the messages to send."""
    seen = {alert.key: alert for alert in standing}
    after: dict[str, Remembered] = {}
    messages = []
    for key in (*seen, *(key for key in memory if key not in seen)):
        before = memory.get(key) or Remembered(seen[key])
        state, message = _look(before, seen.get(key), now)
        if message is not None:
            messages.append(message)
        if not _forgotten(state, now):
            after[key] = state
    return after, messages


def _look(before: Remembered, alert: Alert | None, now: float) -> tuple[Remembered, Alert | None]:
    stands = alert is not None
    untold = before.untold + (stands != before.stands)
    state = Remembered(alert or before.alert, stands, untold, before.said)
    message = _message(state, now)
    if message is None:
        return state, None
    return replace(state, untold=0, said=(*before.said, now)[-MOST_SAID:]), message


def _message(state: Remembered, now: float) -> Alert | None:
    alert, said = state.alert, state.said
    if state.untold:
        if len(said) == MOST_SAID and now - said[0] < WINDOW_S:
            return None
        return _begun(state) if state.stands else _over(state, now)
    if state.stands and now - said[-1] >= REPEAT_AFTER_S:
        return replace(alert, title=f"still: {alert.title}")
    return None


def _begun(state: Remembered) -> Alert:
    return replace(state.alert, happened=f"{state.alert.happened}{_came_and_went(state)}")


def _over(state: Remembered, now: float) -> Alert:
    alert = state.alert
    return Alert(
        alert.key,
        Severity.INFO,
        f"{OVER}: {alert.title}",
        f"It began {moment(alert.since)} and was no longer so {moment(now)}."
        f"{_came_and_went(state)}",
        "Nothing.",
        alert.since,
    )


def _came_and_went(state: Remembered) -> str:
    times = state.untold // 2
    return f" It came and went {times} more times, which was not said each time." if times else ""


def _forgotten(state: Remembered, now: float) -> bool:
    """What is over, said, and no longer limits what is said."""
    return not (state.stands or state.untold) and now - state.said[-1] >= WINDOW_S


def gravest_first(alerts: Iterable[Alert]) -> list[Alert]:
    """The order in which they are said."""
    return sorted(alerts, key=lambda alert: (_RANK[alert.severity], alert.since))


def shortened(alerts: Sequence[Alert], most: int) -> list[Alert]:
    """At most `most` of them, the gravest, and one that sums up the rest."""
    ordered = gravest_first(alerts)
    if len(ordered) <= most + 1:  # a summary of one would say less than the one
        return ordered
    return [*ordered[:most], _summary(ordered[most:])]


def _summary(rest: Sequence[Alert]) -> Alert:
    kinds: dict[str, list[Alert]] = {}
    for alert in rest:
        kinds.setdefault(_kind(alert), []).append(alert)
    counts = ", ".join(f"{len(each)} {kind}" for kind, each in kinds.items())
    return Alert(
        SUMMARY,
        rest[0].severity,
        f"and {len(rest)} more: {counts}",
        " ".join(_named(kind, each) for kind, each in kinds.items()),
        "`pipeline-assets alerts` lists everything that stands, with what to do about each.",
        min(alert.since for alert in rest),
        tuple(dict.fromkeys(key for alert in rest for key in alert.keys)),
    )


def _kind(alert: Alert) -> str:
    kind = KINDS.get(alert.key.partition(":")[0], "others")
    return f"{kind} that are over" if alert.title.startswith(f"{OVER}: ") else kind


def _named(kind: str, alerts: Sequence[Alert]) -> str:
    titles = list(Counter(alert.title for alert in alerts))
    more = f" and {len(titles) - NAMED} more" if len(titles) > NAMED else ""
    since = moment(min(alert.since for alert in alerts))
    return f"{len(alerts)} {kind} since {since}: {'; '.join(titles[:NAMED])}{more}."


def moment(at: float) -> str:
    """A time as messages have it."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"
