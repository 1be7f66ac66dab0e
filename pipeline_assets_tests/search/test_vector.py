"""The seam to FAISS: what is found, what is selected, what a file gives back."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline_assets.search import vector
from pipeline_assets.search.records import Vector


def unit(rows: int, dimensions: int, seed: int = 3) -> Vector:
    """Random unit vectors."""
    vectors = np.random.default_rng(seed).normal(size=(rows, dimensions)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def filled(index: Any, vectors: Vector) -> Any:
    """The index with these vectors, under the ids 10, 20, 30 and so on."""
    return vector.add(index, [(10 * np.arange(1, len(vectors) + 1), vectors)])


def test_the_nearest_are_those_of_a_plain_product() -> None:
    """Every one of them is among the candidates, and ids are ours."""
    vectors, query = unit(2_000, 32), unit(1, 32, seed=4)[0]
    found = vector.candidates(filled(vector.exact(32), vectors), query, 100)
    best = 10 * (np.argsort(-(vectors @ query))[:90] + 1)
    assert set(best.tolist()) <= set(found.tolist())


def test_a_graph_finds_what_exact_search_finds() -> None:
    """Nearly all of it."""
    vectors, query = unit(2_000, 32), unit(1, 32, seed=4)[0]
    graph = filled(vector.approximate(vectors), vectors)
    found = vector.candidates(graph, query, 100, ef_search=256)
    best = 10 * (np.argsort(-(vectors @ query))[:10] + 1)
    assert len(set(best.tolist()) & set(found.tolist())) >= 9


@pytest.mark.parametrize("copies", [1, 3, 50, 333])
def test_no_equal_of_the_last_is_cut_off(copies: int) -> None:
    """Wherever in the index they lie."""
    vectors = np.concatenate([unit(40, 96), np.repeat(unit(1, 96, seed=5), copies, axis=0)])
    found = vector.candidates(filled(vector.exact(96), vectors), vectors[-1], 2)
    assert sum(one > 400 for one in found.tolist()) == copies


@pytest.mark.parametrize("make", [vector.exact, lambda size: vector.approximate(unit(300, size))])
def test_what_is_not_selected_is_not_found(make: Callable[[int], Any]) -> None:
    """By name or by exception; ids beyond the highest one named are no error."""
    vectors = unit(300, 16)
    index, dead = filled(make(16), vectors), np.array([10, 20, 150])
    ef_search = None if make is vector.exact else 300
    chosen = vector.candidates(index, vectors[0], 50, vector.members(dead), ef_search)
    others = vector.candidates(index, vectors[0], 300, vector.all_but(dead), ef_search)
    assert set(chosen.tolist()) == set(dead.tolist())
    assert not set(others.tolist()) & set(dead.tolist())
    assert len(others) > 250


def test_nothing_selects_and_holds_nothing() -> None:
    """An empty index, and a filter that nothing passes."""
    nothing = np.empty(0, np.int64)
    index = filled(vector.exact(4), unit(3, 4))
    assert vector.all_but(nothing) is None
    assert len(vector.candidates(index, unit(1, 4)[0], 5, vector.members(nothing))) == 0
    assert len(vector.candidates(vector.exact(4), unit(1, 4)[0], 5)) == 0


@pytest.mark.parametrize("spoil", [lambda p: p.unlink(), lambda p: p.write_bytes(b"")])
def test_a_file_that_cannot_be_read_is_none(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    """Missing and damaged are the same to a reader."""
    path = tmp_path / "one.faiss"
    vector.save(filled(vector.exact(8), unit(1, 8)), path)
    assert vector.load(path).ntotal == vector.load_to_extend(path).ntotal == 1
    spoil(path)
    assert vector.load(path) is vector.load_to_extend(path) is None
