"""From a climb to a row: status, quality, error and what a retry can do."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pipeline_assets.core.chain import Climb
from pipeline_assets.core.fingerprint import Keys
from pipeline_assets.core.merge import merge
from pipeline_assets.core.plan import Planned, Reason
from pipeline_assets.core.quality import row_factor
from pipeline_assets.core.rows import Made, Row
from pipeline_assets.core.stage import Stage
from pipeline_assets.core.status import Status
from pipeline_assets.errors import (
    DataError,
    ErrorKind,
    Internal,
    RowError,
    UpstreamMissing,
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


def worked(stage: Stage, climb: Climb, stamp: Stamp) -> Row:
    """The row that the table holds after a climb: the new result merged with what stood."""
    planned = climb.planned
    row = _row(stage, climb, stamp)
    return merge(stage, planned.old, row, input_changed=planned.input_changed)


def decisive(errors: Sequence[RowError]) -> RowError | None:
    """The error that the row shows: a bug wins, then the best rung that could have made it."""
    bug = next((error for error in errors if isinstance(error, Internal)), None)
    own = next((error for error in errors if not isinstance(error, UpstreamMissing)), None)
    return bug or own or next(iter(errors), None)


def _row(stage: Stage, climb: Climb, stamp: Stamp) -> Row:
    old, input_changed = climb.planned.old, climb.planned.input_changed
    anew = input_changed or climb.planned.reason is Reason.PRODUCER_CHANGED
    attempts = (0 if old is None or anew else old.attempts) + climb.charged
    error = decisive(climb.errors)
    position = climb.rung if climb.rung is not None else len(stage.rungs)
    retryable = any(each.transient for each in climb.errors)
    status = _status(stage, climb, error, retryable=retryable)
    upstream_only = bool(climb.errors) and all(
        isinstance(each, UpstreamMissing) for each in climb.errors
    )
    made = climb.made or Made(stage.empty_values())
    return Row(
        id=climb.planned.work.id,
        values=made.values,
        status=status,
        rung=stage.rungs[position].name if climb.made else None,
        fallback_used=stage.rungs[position].name if climb.made and position > 0 else None,
        confidence=_confidence(climb, status),
        quality=_quality(stage, climb, status, upstream_only=upstream_only),
        error_kind=error.kind if error else None,
        error=error.message if error else None,
        retryable=retryable,
        retry_at=_retry_at(climb, stamp, used_up=attempts >= stage.max_attempts),
        attempts=attempts,
        cost_usd=(0.0 if old is None else old.cost_usd) + climb.cost_usd,
        key=stamp.keys.key(climb.planned.work, position),
        producer=stamp.keys.producers[position] if climb.made else None,
        duration_ms=climb.seconds * 1000 if climb.called else None,
        run_id=stamp.run_id,
        updated_at=stamp.now,
    )


def _retry_at(climb: Climb, stamp: Stamp, *, used_up: bool) -> datetime | None:
    """Not before the last of those who were asked to wait: an earlier try would be in vain.

    A row whose attempts are used up, or that a new producer cannot make of this input, is tried
    again slowly: it is never given up in silence, and never asked for by every run.
    """
    transient = [each for each in climb.errors if each.transient]
    waits = [each.retry_after for each in transient if each.retry_after]
    in_vain = climb.made is None and climb.planned.reason is Reason.PRODUCER_CHANGED
    if (used_up and transient) or (in_vain and not transient):
        waits.append(SLOW_RETRY)
    return stamp.now + max(waits) if waits else None


def _status(stage: Stage, climb: Climb, error: RowError | None, *, retryable: bool) -> Status:
    if climb.made is not None:
        return Status.OK
    if stage.strict or (isinstance(error, DataError) and not retryable):
        return Status.FAILED
    return Status.SKIPPED


def _confidence(climb: Climb, status: Status) -> float | None:
    if climb.made is not None:
        return climb.made.confidence
    return 0.0 if status is Status.SKIPPED else None


def _quality(stage: Stage, climb: Climb, status: Status, *, upstream_only: bool) -> float | None:
    if climb.made is None or climb.rung is None:
        return row_factor(status, None, stage.skip_factor, upstream_only=upstream_only)
    if climb.made.quality is not None:
        return climb.made.quality
    return row_factor(
        status,
        stage.rungs[climb.rung].factor,
        stage.skip_factor,
        upstream_only=climb.rung > 0 and upstream_only,
    )
