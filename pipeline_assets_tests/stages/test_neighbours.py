"""How far the vectors of two models agree."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.stages.neighbours import AMONG_EACH, NEAREST, agreement

Vectors = npt.NDArray[np.float32]
CHANCE = 1 / AMONG_EACH


def drawn(rows: int, dimensions: int = 16, seed: int = 1) -> Vectors:
    """Unit vectors in any direction."""
    vectors = np.random.default_rng(seed).normal(size=(rows, dimensions)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def turned(vectors: Vectors, seed: int = 2) -> Vectors:
    """The same vectors as another model may have them: every axis elsewhere."""
    size = vectors.shape[1]
    axes, _rest = np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))
    return (vectors @ axes).astype(np.float32)


def values(vectors: Vectors, space: str = "small", modality: str = "image") -> list[dict[str, Any]]:
    """Rows of the table."""
    return [
        {"embedding": vector.tolist(), "space": space, "modality": modality} for vector in vectors
    ]


@given(st.integers(11, 60), st.integers(0, 1000))
def test_two_spaces_with_the_same_neighbours_agree_whatever_their_axes(
    rows: int, seed: int
) -> None:
    """A cosine of the vectors would be about 0."""
    vectors = drawn(rows, seed=seed)
    assert agreement(values(vectors, "large"), values(turned(vectors))) == [1.0] * rows


def test_strangers_share_neighbours_by_chance_alone() -> None:
    """A tenth, since one in ten others counts as near."""
    found = agreement(values(drawn(100), "large"), values(drawn(100, seed=3)))
    assert np.mean([each for each in found if each is not None]) == pytest.approx(CHANCE, abs=0.05)


def test_the_nearer_a_copy_is_to_its_original_the_more_they_agree() -> None:
    """Noise takes neighbours away, bit by bit."""
    original = drawn(100)
    means = []
    for noise in (0.1, 0.5, 2.0):
        copy = original + noise * drawn(100, seed=4)
        found = agreement(values(original, "large"), values(copy))
        means.append(np.mean([each for each in found if each is not None]))
    assert 1 > means[0] > means[1] > means[2] > CHANCE


def test_in_one_space_the_vectors_themselves_are_compared() -> None:
    """By their cosine; opposite is no worse than unrelated. Length does not matter."""
    ours = np.array([[1, 0], [1, 0], [1, 0], [2, 0]], np.float32)
    theirs = np.array([[3, 0], [0, 1], [-1, 0], [1, 1]], np.float32)
    assert agreement(values(ours), values(theirs)) == pytest.approx([1, 0, 0, np.sqrt(0.5)])


@pytest.mark.parametrize(("rows", "known"), [(0, 0), (1, 0), (10, 0), (11, 11), (300, 300)])
def test_among_a_few_nothing_can_be_said(rows: int, known: int) -> None:
    """With ten rows, a neighbour is shared by chance more often than in one case of ten."""
    vectors = drawn(rows)
    found = agreement(values(vectors, "large"), values(vectors))
    assert len([each for each in found if each is not None]) == known


def test_rows_of_different_indexes_are_no_neighbours() -> None:
    """Pictures have theirs among pictures, whatever the texts are."""
    pictures, texts = drawn(30), drawn(5, seed=5)
    primary = [*values(pictures, "large"), *values(texts, "large", "text")]
    fallback = [*values(turned(pictures)), *values(texts, modality="text")]
    assert agreement(primary, fallback) == [1.0] * 30 + [None] * 5


def test_equal_vectors_are_neighbours_in_the_same_order_in_both_spaces() -> None:
    """The same picture in many items is no disagreement."""
    same = np.repeat(drawn(1), 30, axis=0)
    assert agreement(values(same, "large"), values(turned(same))) == [1.0] * 30


def test_as_many_neighbours_are_compared_as_a_search_gives() -> None:
    """In a large sample, too."""
    [first, *_rest] = agreement(values(drawn(500), "large"), values(drawn(500, seed=6)))
    assert first is not None
    assert (first * NEAREST) % 1 == pytest.approx(0)
