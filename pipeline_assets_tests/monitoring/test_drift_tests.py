"""Whether a feature has moved: never in vain, and hardly ever overlooked."""

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline_assets.monitoring.drift_tests import (
    Comparison,
    adjusted,
    compare_categories,
    compare_numbers,
)

FINITE = st.floats(-1e6, 1e6)
COUNTS = st.dictionaries(st.sampled_from("abcdefg"), st.integers(1, 5000), min_size=1)
NUMBERS = arrays(np.float64, st.integers(2, 30), elements=FINITE)


@given(COUNTS, COUNTS)
def test_any_counts_can_be_compared(now: Mapping[str, int], before: Mapping[str, int]) -> None:
    """Distances and p-values are within 0..1, and the same both ways."""
    found, back = compare_categories(now, before), compare_categories(before, now)
    assert 0 <= found.distance <= 1
    assert 0 <= found.p_value <= 1
    assert (found.psi or 0) >= 0
    assert (back.distance, back.psi) == pytest.approx((found.distance, found.psi))


@given(NUMBERS, NUMBERS)
def test_any_numbers_can_be_compared(now: np.ndarray, before: np.ndarray) -> None:
    """Also such that are all the same; then nothing is known of a spread."""
    found = compare_numbers(now, before)
    assert 0 <= found.distance <= 1
    assert 0 <= found.p_value <= 1
    assert (found.shift is None) == (before.std() == 0)


@given(COUNTS)
def test_the_same_counts_are_no_drift(counts: Mapping[str, int]) -> None:
    """However few or many."""
    found = compare_categories(counts, counts)
    assert found.distance == pytest.approx(0, abs=1e-6)
    assert found.psi == pytest.approx(0)
    assert found.p_value == pytest.approx(1)
    assert not found.matters


@given(NUMBERS)
def test_the_same_numbers_are_no_drift(numbers: np.ndarray) -> None:
    """In any order."""
    found = compare_numbers(numbers[::-1], numbers)
    assert (found.distance, found.matters) == (0, False)
    assert found.p_value == pytest.approx(1)
    assert not found.shift


def test_categories_say_which_share_moved_most() -> None:
    """With the share before and now."""
    found = compare_categories({"mug": 20, "lamp": 80}, {"mug": 500, "lamp": 450, "hat": 50})
    assert found.moved == "lamp 45.0% → 80.0%"
    assert found.matters


def test_numbers_say_how_far_they_were_carried() -> None:
    """In standard deviations of the reference, whatever the unit."""
    before = np.random.default_rng(3).normal(100, 20, 5000)
    found = compare_numbers(before + 10, before)
    assert found.shift == pytest.approx(10 / before.std())
    assert found.moved == f"median {np.median(before):.4g} → {np.median(before) + 10:.4g}"


def test_a_category_that_one_side_lacks_has_a_finite_index() -> None:
    """As a label that is new."""
    found = compare_categories({"mug": 100}, {"lamp": 100})
    assert found.distance == pytest.approx(1)
    assert np.isfinite(found.psi or np.inf)


def test_many_rare_categories_are_no_evidence_one_by_one() -> None:
    """Of 5,000 labels hardly one comes twice, in this hour or another."""
    rng = np.random.default_rng(5)
    now, before = (Counter(rng.integers(0, 5000, n).astype(str).tolist()) for n in (500, 5000))
    assert compare_categories(now, before).p_value > 0.01


@pytest.mark.parametrize(("p_value", "others", "stays"), [(0.001, 0, 0.001), (0.001, 9, 0.01)])
def test_p_values_allow_for_how_many_there_are(p_value: float, others: int, stays: float) -> None:
    """The smallest of ten is ten times as likely small by chance."""
    assert adjusted([p_value] + [1.0] * others)[0] == pytest.approx(stays)
    assert adjusted([]) == []


@pytest.mark.parametrize(
    ("measure", "distance", "matters"),
    [
        ("jensen-shannon", 0.069, False),
        ("jensen-shannon", 0.07, True),
        ("kolmogorov-smirnov", 0.069, False),
        ("kolmogorov-smirnov", 0.07, True),
    ],
)
def test_a_trifle_does_not_matter_however_certain(
    measure: str, distance: float, *, matters: bool
) -> None:
    """In a million items every difference is certain."""
    assert Comparison(measure, distance, p_value=0.0, moved="").matters is matters
