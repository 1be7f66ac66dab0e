"""Merging a new result into what the table holds: never worse, idempotent, order-free."""

from datetime import UTC, datetime

from pipeline_assets.core.rows import Row
from pipeline_assets.core.stage import Stage
from pipeline_assets.core.status import Status
from pipeline_assets.errors import ErrorKind

_NEVER = datetime.min.replace(tzinfo=UTC)


def merge(stage: Stage, old: Row | None, new: Row, *, input_changed: bool) -> Row:
    """The row that the table holds after `new` was made where `old` stood.

    A changed input always replaces, even by worse. On the same input a better rung stays, unless
    what was learned later is that we may not have it: a refusal that is meant. Results carry
    cumulative attempts and cost; the larger is taken. Attempts restart when the input changes, cost
    never does.
    """
    if old is None:
        return new
    cost = max(old.cost_usd, new.cost_usd)
    if input_changed:
        return new._replace(cost_usd=cost)
    for one, other in ((old, new), (new, old)):
        if _is_meant(one) and _at(one) >= _at(other):
            return one._replace(attempts=max(old.attempts, new.attempts), cost_usd=cost)
    # What stands wins a tie: it may have learned since, and the same result again adds nothing.
    better, other = (new, old) if _order(stage, new) < _order(stage, old) else (old, new)
    kept = better._replace(attempts=max(old.attempts, new.attempts), cost_usd=cost)
    return _with_latest_error(kept, other)


def _at(row: Row) -> datetime:
    return row.updated_at or _NEVER


def _is_meant(row: Row) -> bool:
    """Whether it is refused for good: a bare 403, which sites give to robots in passing, is not."""
    return row.status is Status.FAILED and row.error_kind == ErrorKind.BLOCKED


def _order(stage: Stage, row: Row) -> tuple[int, float, str]:
    """Sorts better rows first; among equals the later one."""
    at = row.updated_at or _NEVER
    return _rank(stage, row), -at.timestamp() if row.updated_at else 0.0, row.key or ""


def _rank(stage: Stage, row: Row) -> int:
    if row.status is Status.NOT_APPLICABLE:
        return 0
    if row.status is Status.OK:
        return stage.index(row.rung)  # a rung no longer there comes after those that are
    return len(stage.rungs) + 1 + (row.status is Status.PENDING)


def _with_latest_error(kept: Row, other: Row) -> Row:
    """A kept fallback learns from the other row, if later, why a better rung still fails.

    Any kept row learns when to try again.
    """
    explains = kept.fallback_used is not None or kept.status in (Status.SKIPPED, Status.FAILED)
    later = (other.updated_at or _NEVER) > (kept.updated_at or _NEVER)
    if not later:
        return kept
    if not (explains and other.error_kind is not None):
        return kept._replace(retry_at=other.retry_at)
    return kept._replace(
        error_kind=other.error_kind,
        error=other.error,
        retryable=other.retryable,
        retry_at=other.retry_at,
    )
