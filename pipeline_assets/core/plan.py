"""Planning: which rows need work, why, and how far up the chain they may go.

Work is planned, never queued: a pure function over durable state. What is not in the plan stands.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from pipeline_assets.core.fingerprint import Keys, same_input
from pipeline_assets.core.rows import Row, RowId, Work
from pipeline_assets.core.stage import Stage
from pipeline_assets.core.status import Status


class Reason(StrEnum):
    """Why a row is worked on. The order is the order in which reasons are looked for."""

    FORCED = "forced"
    INPUT_CHANGED = "input changed"
    REQUEUED = "requeued by a person"
    PENDING = "pending"
    PRODUCER_CHANGED = "producer changed"
    RETRY_DUE = "retry due"
    UPGRADE = "upgrade"


class Standing(StrEnum):
    """Why a row is left as it is."""

    CURRENT = "current"
    NOT_ASKED_FOR = "not asked for"
    BLOCKED = "blocked by upstream"
    DISCARDED = "discarded by a person"
    WAITING = "waits for retry_at"
    NO_BETTER_RUNG = "no better rung available"


class Verdict(StrEnum):
    """What a person decides about a dead letter."""

    REQUEUE = "requeue"
    DISCARD = "discard"


@dataclass(frozen=True, slots=True)
class Decision:
    """A person's verdict on a row as it then was.

    `input` is the input half of the row's key, `seen` when the row had been written.
    """

    verdict: Verdict
    input: str
    seen: datetime

    def holds_for(self, old: Row) -> bool:
        """Whether the row is still the one that was decided about.

        A requeue is spent once the row is written again: no clock but the row's own is asked, so
        none can be ahead of it. A discard lasts until the input changes; a value that came about
        all the same (by force) is improved like any other.
        """
        if self.verdict is Verdict.REQUEUE:
            return old.updated_at == self.seen
        return old.status is not Status.OK and same_input(old.key, self.input)


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
    decisions: Mapping[RowId, Decision] = field(default_factory=dict)


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
    verdict = _verdict(old, situation.decisions.get(old.id))
    if verdict is Verdict.DISCARD:
        return Standing.DISCARDED
    if verdict is Verdict.REQUEUE:
        return Planned(work, Reason.REQUEUED, everything, old, input_changed=False)
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


def _verdict(old: Row, decision: Decision | None) -> Verdict | None:
    return decision.verdict if decision is not None and decision.holds_for(old) else None


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
