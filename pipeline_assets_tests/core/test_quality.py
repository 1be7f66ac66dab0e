"""Quality: a product of what each stage lost, charged once, where it happened."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.core.quality import lowest, row_factor, score
from pipeline_assets.core.status import Status

UNIT = st.floats(0, 1)


@pytest.mark.parametrize(
    ("factors", "expected"),
    [
        ((), 1.0),
        ((1.0, 0.9, 0.8), 0.72),
        ((0.95, 1.0, 0.9), 0.855),
        ((1.0, 0.0), 0.0),
        ((1.0, None, 0.9), None),
        ((None,), None),
    ],
)
def test_the_score_is_the_product_and_unknown_while_any_factor_is(
    factors: tuple[float | None, ...], expected: float | None
) -> None:
    """Exactly 0.72 for 1.0 and 0.9 and 0.8, the last bit rounded away."""
    assert score(factors) == expected


@given(st.lists(UNIT, max_size=8))
def test_the_score_is_within_the_unit_and_free_of_order(
    factors: list[float],
) -> None:
    """And never over its worst factor, but for rounding."""
    product = score(factors)
    assert product is not None
    assert 0 <= product <= min(factors, default=1.0) + 1e-6
    assert math.isclose(product, score(reversed(factors)) or 0.0, abs_tol=2e-6)


@pytest.mark.parametrize(
    ("factors", "expected"),
    [((), 1.0), ((1.0, 0.5), 0.5), ((0.95,), 0.95), ((1.0, None), None), ((0.0, 1.0), 0.0)],
)
def test_of_several_resources_the_worst_counts(
    factors: tuple[float | None, ...], expected: float | None
) -> None:
    """None while one of them is pending."""
    assert lowest(factors) == expected


@pytest.mark.parametrize(
    ("status", "rung_factor", "upstream_only", "expected"),
    [
        (Status.OK, 1.0, False, 1.0),
        (Status.OK, 0.9, False, 0.9),
        (Status.OK, 0.9, True, 1.0),
        (Status.SKIPPED, None, False, 0.5),
        (Status.SKIPPED, None, True, 1.0),
        (Status.FAILED, None, False, 0.5),
        (Status.FAILED, None, True, 1.0),
        (Status.NOT_APPLICABLE, None, False, 1.0),
        (Status.PENDING, None, False, None),
        (Status.PENDING, None, True, None),
    ],
)
def test_each_status_has_its_factor(
    status: Status, rung_factor: float | None, expected: float | None, *, upstream_only: bool
) -> None:
    """A loss that upstream alone forced was charged there."""
    assert row_factor(status, rung_factor, 0.5, upstream_only=upstream_only) == expected
