"""Quality: how much a row is to be trusted, as a product of what each stage lost."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline_assets.core.status import Status

COMPARED_DIGITS = 4
"""1.0 * 0.9 * 0.8 and 0.72 differ in the last bit; scores are compared after rounding."""


@dataclass(frozen=True, slots=True)
class Factor:
    """One stage's share in an item's score: the rung or status, what it cost, and why."""

    stage: str
    rung_or_status: str
    factor: float | None
    reason: str | None


def score(factors: Iterable[float | None]) -> float | None:
    """The product of the factors; None while any of them is unknown (a pending stage)."""
    known = list(factors)
    if any(factor is None for factor in known):
        return None
    return round(math.prod(factor for factor in known if factor is not None), 6)


def lowest(factors: Iterable[float | None]) -> float | None:
    """The factor of a stage with several resources: its worst; None while any is unknown."""
    known = list(factors)
    return None if None in known else min((f for f in known if f is not None), default=1.0)


def row_factor(
    status: Status, rung_factor: float | None, skip_factor: float, *, upstream_only: bool
) -> float | None:
    """The factor of one row. A loss that upstream alone forced was charged there: 1.0."""
    if status is Status.PENDING:
        return None
    if upstream_only or status is Status.NOT_APPLICABLE:
        return 1.0
    return rung_factor if status is Status.OK else skip_factor
