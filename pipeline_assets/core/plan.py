"""Planning: which rows need work, why, and how far up the chain they may go.

Work is planned, never queued: a pure function over durable state. What is not in the plan stands.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pipeline_assets.core.fingerprint import Keys, same_input
from pipeline_assets.core.rows import Row, Work
from pipeline_assets.core.stage import Stage
from pipeline_assets.core.status import Status


class Reason(StrEnum):
    """Why a row is worked on. The order is the order in which reasons are looked for."""

    FORCED = "forced"
    INPUT_CHANGED = "input changed"
    PENDING = "pending"
    PRODUCER_CHANGED = "producer changed"
    RETRY_DUE = "retry due"
    UPGRADE = "upgrade"


class Standing(StrEnum):
    """Why a row is left as it is."""

    CURRENT = "current"
    NOT_ASKED_FOR = "not asked for"
    BLOCKED = "blocked by upstream"
    WAITING = "waits for retry_at"
    NO_BETTER_RUNG = "no better rung available"


@dataclass(frozen=True, slots=True)
class Planned:
    """One row to work on: `ceiling` is the number of rungs, from the best, that may be called.

    `input_changed` is true also where there was no row, or only a pending one.
    """

    work: Work
    reason: Reason
    ceiling: int
    old: Row | None
    input_changed: bool = True


@dataclass(frozen=True, slots=True)
class Situation:
    """What planning needs to know besides the rows."""

    keys: Keys
    now: datetime
    available: Sequence[bool]
    force: bool = False


def plan_row(stage: Stage, work: Work, old: Row | None, situation: Situation) -> Planned | Standing:
    """Decide about one row."""
    everything = len(stage.rungs)
    if old is None:
        return Planned(work, Reason.PENDING, everything, None)
    position = stage.index(old.rung)
    expected = situation.keys.key(work, position)
    untried = old.status is Status.PENDING
    changed = untried or not same_input(old.key, expected)
    if work.blocked is not None and _stands_blocked(work, old, same=same_input(old.key, expected)):
        return Standing.BLOCKED
    if situation.force:
        return Planned(work, Reason.FORCED, everything, old, changed)
    if changed:
        reason = Reason.PENDING if untried else Reason.INPUT_CHANGED
        return Planned(work, reason, everything, old)
    if old.key != expected:
        return _remake(work, old, position, situation)
    return _improve(work, old, position, situation)


def _stands_blocked(work: Work, old: Row, *, same: bool) -> bool:
    """Whether a blocked row is left alone: a value outlives an upstream that is missing or late.

    Only an upstream that failed for good takes the value away; and what was said is not repeated.
    """
    if old.status is Status.PENDING:
        return same
    return not work.refused


def _remake(work: Work, old: Row, position: int, situation: Situation) -> Planned | Standing:
    """The producer or a parameter changed: redo by an equal or better rung, or not at all."""
    ceiling = min(position + 1, len(situation.available))
    waits = _waits(old, ceiling, situation)
    if waits is not None:
        return waits
    return Planned(work, Reason.PRODUCER_CHANGED, ceiling, old, input_changed=False)


def _improve(work: Work, old: Row, position: int, situation: Situation) -> Planned | Standing:
    if not old.retryable:
        return Standing.CURRENT
    waits = _waits(old, position, situation)
    if waits is not None:
        return waits
    reason = Reason.UPGRADE if old.status is Status.OK else Reason.RETRY_DUE
    return Planned(work, reason, position, old, input_changed=False)


def _waits(old: Row, ceiling: int, situation: Situation) -> Standing | None:
    """Why a row that could be made again by the first `ceiling` rungs is left alone for now."""
    if old.retry_at is not None and old.retry_at > situation.now:
        return Standing.WAITING
    if not any(situation.available[:ceiling]):
        return Standing.NO_BETTER_RUNG
    return None
