"""Exact vector search, and its ties."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pipeline_assets.search import vector


def unit(rows: int, dimensions: int, seed: int = 3) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Random unit vectors."""
    vectors = np.random.default_rng(seed).normal(size=(rows, dimensions)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_the_nearest_are_those_of_a_plain_product() -> None:
    """Exact search is exact, and ids are ours."""
    vectors = unit(2_000, 32)
    index = vector.build(((10 * n, row.tobytes()) for n, row in enumerate(vectors)), 32)
    query = unit(1, 32, seed=4)[0]
    found = vector.nearest(index, query, "space", 25)
    best = np.argsort(-(vectors @ query))[:25]
    assert [match.entry_id for match in found] == [10 * int(n) for n in best]


@pytest.mark.parametrize("copies", [1, 3, 50, 333])
def test_equal_vectors_get_equal_scores_and_none_is_cut_off(copies: int) -> None:
    """Wherever in the index they lie."""
    vectors = np.concatenate([unit(40, 96), np.repeat(unit(1, 96, seed=5), copies, axis=0)])
    rows = ((n, row.tobytes()) for n, row in enumerate(vectors))
    found = vector.nearest(vector.build(rows, 96), vectors[-1], "space", 2)
    twins = [match for match in found if match.entry_id >= 40]
    assert len(twins) == copies
    assert len({match.score for match in twins}) == 1


@pytest.mark.parametrize("spoil", [lambda p: p.unlink(), lambda p: p.write_bytes(b"")])
def test_a_file_that_cannot_be_read_is_none(tmp_path: Any, spoil: Callable[[Any], None]) -> None:
    """Missing and damaged are the same to a reader."""
    path = tmp_path / "one.faiss"
    vector.save(vector.build([(7, unit(1, 8).tobytes())], 8), path)
    assert vector.load(path).ntotal == 1
    spoil(path)
    assert vector.load(path) is None
