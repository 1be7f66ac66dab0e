"""From an attempt to a row: status, quality, error and what a retry can do."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pipeline_assets.core.attempt import Attempt
from pipeline_assets.core.budget import LONGEST_WAIT
from pipeline_assets.core.fingerprint import Keys
from pipeline_assets.core.merge import merge
from pipeline_assets.core.plan import Planned, Reason
from pipeline_assets.core.quality import row_factor
from pipeline_assets.core.rows import Made, Row
from pipeline_assets.core.stage import Stage
from pipeline_assets.core.status import Status
from pipeline_assets.errors import (
    MAX_ERROR_CHARS,
    DataError,
    ErrorKind,
    Internal,
    RowError,
    UpstreamMissing,
    WorkerCrash,
)

SLOW_RETRY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Stamp:
    """What every row written by one run has in common."""

    run_id: str
    now: datetime
    keys: Keys


def untried(stage: Stage, planned: Planned, stamp: Stamp) -> Row:
    """The row of work that no rung is called for: blocked by upstream, or nothing to do."""
    work, old = planned.work, planned.old
    key = stamp.keys.key(work, len(stage.rungs))
    status = Status.PENDING if work.blocked is not None else Status.NOT_APPLICABLE
    row = Row(
        work.id,
        stage.empty_values(),
        status,
        quality=row_factor(status, None, stage.skip_factor, upstream_only=False),
        error_kind=ErrorKind.UPSTREAM if work.blocked is not None else None,
        error=work.blocked,
        key=key,
        run_id=stamp.run_id,
        updated_at=stamp.now,
    )
    return merge(stage, old, row, input_changed=True)


def worked(stage: Stage, attempt: Attempt, stamp: Stamp) -> Row:
    """The row that the table holds after an attempt: the new result merged with what stood."""
    planned = attempt.planned
    row = _row(stage, attempt, stamp)
    if planned.old is None:
        return row
    merged = merge(stage, planned.old, row, input_changed=planned.input_changed)
    at = stage.index(merged.rung)
    if merged.rung == row.rung or at == len(stage.rungs):
        return merged
    # An older, better row may not go with what upstream has become: then the new one does.
    broken = stage.disagreement(stage.rungs[at], merged.values, planned.work)
    return merged if broken is None else row


def decisive(errors: Sequence[RowError]) -> RowError | None:
    """The error that the row shows: a bug wins, then the best rung that could have made it."""
    bug = next((error for error in errors if isinstance(error, Internal)), None)
    own = next((error for error in errors if not isinstance(error, UpstreamMissing)), None)
    return bug or own or next(iter(errors), None)


def _row(stage: Stage, attempt: Attempt, stamp: Stamp) -> Row:
    """The row of an attempt by itself. It counts on from the old row's attempts and cost."""
    planned, errors = attempt.planned, attempt.errors
    old, made, at = planned.old, attempt.made, attempt.rung
    attempts = (0 if old is None or planned.input_changed else old.attempts) + attempt.tries
    cost_usd = (0.0 if old is None else old.cost_usd) + attempt.cost_usd
    duration_ms = attempt.seconds * 1000 if attempt.called else None
    error = decisive(errors) if errors else None
    retryable = bool(errors) and any(each.transient for each in errors)
    retry_at = _retry_at(attempt, stamp, used_up=attempts >= stage.attempts) if errors else None
    if made is None or at is None:
        status = _status(stage, error, retryable=retryable)
        return Row(
            id=planned.work.id,
            values=stage.empty_values(),
            status=status,
            confidence=0.0 if status is Status.SKIPPED else None,
            quality=row_factor(
                status, None, stage.skip_factor, upstream_only=_upstream_only(errors)
            ),
            error_kind=error.kind if error else None,
            error=error.message if error else None,
            retryable=retryable,
            retry_at=retry_at,
            attempts=attempts,
            cost_usd=cost_usd,
            key=stamp.keys.key(planned.work, len(stage.rungs)),
            duration_ms=duration_ms,
            run_id=stamp.run_id,
            updated_at=stamp.now,
        )
    rung = stage.rungs[at].name
    return Row(
        id=planned.work.id,
        values=made.values,
        status=Status.OK,
        rung=rung,
        fallback_used=rung if at else None,
        confidence=made.confidence,
        quality=_quality(stage, made, at, errors),
        error_kind=error.kind if error else None,
        error=_said(error, made) if error else None,
        retryable=retryable,
        retry_at=retry_at,
        attempts=attempts,
        cost_usd=cost_usd,
        key=stamp.keys.key(planned.work, at),
        producer=stamp.keys.producers[at],
        duration_ms=duration_ms,
        run_id=stamp.run_id,
        updated_at=stamp.now,
    )


def _said(error: RowError, made: Made) -> str:
    """Why no better rung made the value, and what the one that did has to say about it."""
    if made.remark is None:
        return error.message
    return f"{error.message[: MAX_ERROR_CHARS - len(made.remark) - 2]}; {made.remark}"


def _upstream_only(errors: Sequence[RowError]) -> bool:
    """Whether upstream alone forced the loss: then it was charged there."""
    return bool(errors) and all(isinstance(each, UpstreamMissing) for each in errors)


def _quality(stage: Stage, made: Made, at: int, errors: Sequence[RowError]) -> float | None:
    if made.quality is not None:
        return made.quality
    upstream_only = at > 0 and _upstream_only(errors)
    return row_factor(
        Status.OK, stage.rungs[at].factor, stage.skip_factor, upstream_only=upstream_only
    )


def _retry_at(attempt: Attempt, stamp: Stamp, *, used_up: bool) -> datetime | None:
    """Not before the last of those who were asked to wait: an earlier try would be in vain.

    A row whose attempts are used up, or that a new producer cannot make of this input, is tried
    again slowly: it is never given up in silence, and never asked for by every run.
    """
    transient = [each for each in attempt.errors if each.transient]
    waits = [each.retry_after for each in transient if each.retry_after]
    in_vain = attempt.made is None and attempt.planned.reason is Reason.PRODUCER_CHANGED
    if (used_up and transient) or (in_vain and not transient):
        waits.append(SLOW_RETRY)
    return stamp.now + min(max(waits), LONGEST_WAIT) if waits else None


def _status(stage: Stage, error: RowError | None, *, retryable: bool) -> Status:
    """The status of a row that no rung could make."""
    terminal = isinstance(error, DataError | WorkerCrash) and not retryable
    return Status.FAILED if stage.strict or terminal else Status.SKIPPED
