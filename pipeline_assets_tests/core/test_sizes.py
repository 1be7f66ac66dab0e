"""Batch sizes: halved when memory runs out, kept, and grown back slowly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.core.sizes import FIRST_PATIENCE, LONGEST_PATIENCE, BatchSizes

LARGEST = 256


@pytest.mark.parametrize(
    ("rows", "size"), [(256, 128), (128, 64), (100, 50), (3, 1), (2, 1), (1, 1)]
)
def test_a_batch_that_does_not_fit_is_halved_but_never_below_one_row(rows: int, size: int) -> None:
    """Half of what was tried, not of what might have been."""
    sizes = BatchSizes()
    sizes.too_large("clip", rows)
    assert sizes.size("clip", LARGEST) == size


def test_a_rung_that_never_ran_out_of_memory_gets_the_largest_batch() -> None:
    """Whatever was noted."""
    sizes = BatchSizes()
    for _ in range(10):
        sizes.note("clip", LARGEST, fitted=True)
    assert sizes.size("clip", LARGEST) == LARGEST
    assert sizes.size("clip", 16) == 16


def test_each_rung_has_a_size_of_its_own() -> None:
    """The small model fits where the large one does not."""
    sizes = BatchSizes()
    sizes.too_large("large", 256)
    assert sizes.size("small", LARGEST) == LARGEST


def test_the_size_doubles_after_full_batches_in_a_row_that_fit() -> None:
    """Slowly back: 64, 64, then 128."""
    sizes = BatchSizes()
    sizes.too_large("clip", 128)
    seen = []
    for _ in range(2 * FIRST_PATIENCE):
        seen.append(sizes.size("clip", LARGEST))
        sizes.note("clip", seen[-1], fitted=True)
    assert seen == [64] * FIRST_PATIENCE + [128] * FIRST_PATIENCE


@pytest.mark.parametrize(
    ("rows", "fitted"), [pytest.param(63, True, id="not full"), pytest.param(64, False, id="fails")]
)
def test_only_full_batches_that_fit_prove_that_more_may_fit(rows: int, *, fitted: bool) -> None:
    """The short batch at the end of an hour proves nothing, nor does one that failed."""
    sizes = BatchSizes()
    sizes.too_large("clip", 128)
    for _ in range(10):
        sizes.note("clip", rows, fitted=fitted)
    assert sizes.size("clip", LARGEST) == 64


def test_running_out_again_starts_the_proof_anew() -> None:
    """What fitted before the shortage counts no more."""
    sizes = BatchSizes()
    sizes.too_large("clip", 128)
    sizes.note("clip", 64, fitted=True)
    sizes.too_large("clip", 64)
    sizes.note("clip", 32, fitted=True)
    assert sizes.size("clip", LARGEST) == 32


@given(st.integers(1, 512), st.lists(st.booleans(), max_size=60))
def test_the_size_is_always_between_one_and_the_largest(largest: int, fits: list[bool]) -> None:
    """Whatever fits and whatever does not."""
    sizes = BatchSizes()
    for fitted in fits:
        size = sizes.size("clip", largest)
        assert 1 <= size <= largest
        if fitted:
            sizes.note("clip", size, fitted=True)
        else:
            sizes.too_large("clip", size)
            assert sizes.size("clip", largest) == max(1, size // 2)


def test_a_lasting_limit_costs_ever_fewer_calls() -> None:
    """Each growth that runs out of memory again doubles the patience, up to its bound."""
    sizes = BatchSizes()
    calls = failed = 0
    while calls < 2_000:
        size = sizes.size("clip", LARGEST)
        calls += 1
        if size > 64:
            failed += 1
            sizes.too_large("clip", size)
        else:
            sizes.note("clip", size, fitted=True)
    assert failed <= 2 + 5 + 2_000 / LONGEST_PATIENCE


def test_a_limit_that_has_gone_is_forgotten_within_a_few_batches() -> None:
    """One growth that fits, and the patience is short again."""
    sizes = BatchSizes()
    for _ in range(6):
        sizes.too_large("clip", 256)
        while sizes.size("clip", LARGEST) < 256:
            sizes.note("clip", sizes.size("clip", LARGEST), fitted=True)
    sizes.note("clip", 256, fitted=True)
    sizes.too_large("clip", 4)
    fits = 0
    while sizes.size("clip", LARGEST) < LARGEST:
        sizes.note("clip", sizes.size("clip", LARGEST), fitted=True)
        fits += 1
    assert fits == 7 * FIRST_PATIENCE
