"""Vector search: exact inner product over the unit vectors of one space and modality."""

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_assets.errors import StorageError
from pipeline_assets.search.errors import DimensionMismatch
from pipeline_assets.search.ranking import Match

MIN_SIMILARITY = 0.05
"""Below this a neighbour is only the least far: unit vectors of 128 random dimensions are within
0.09 of a right angle (one standard deviation)."""

TIE = 1e-5
"""FAISS adds up float32 in an order that depends on where a vector lies: equal vectors may differ
by some units in the last place."""

BLAS_THRESHOLD = 20
"""From this many queries on FAISS uses BLAS; its default makes a flat batch of 64 seven times
slower."""

BUILD_BATCH = 8192


def _faiss() -> Any:
    import faiss  # noqa: PLC0415 - costs 0.2 s, which only searching and building should pay

    faiss.cvar.distance_compute_blas_threshold = BLAS_THRESHOLD
    return faiss


def build(vectors: Iterable[tuple[int, bytes]], dimensions: int) -> Any:
    """A FAISS index of (entry id, float32 vector) pairs."""
    faiss = _faiss()
    index = faiss.IndexIDMap2(faiss.IndexFlatIP(dimensions))
    for batch in _batches(iter(vectors)):
        ids = np.fromiter((entry_id for entry_id, _ in batch), dtype=np.int64)
        joined = b"".join(vector for _, vector in batch)
        index.add_with_ids(np.frombuffer(joined, np.float32).reshape(-1, dimensions), ids)
    return index


def _batches(vectors: Iterator[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    while batch := list(islice(vectors, BUILD_BATCH)):
        yield batch


def save(index: Any, path: Path) -> None:
    """Write `index` to the new file `path`, durably. Raises `StorageError`."""
    try:
        _faiss().write_index(index, str(path))
    except RuntimeError as error:  # what FAISS makes of every failed write
        raise StorageError(str(path), str(error).splitlines()[-1]) from error
    for durable in (path, path.parent):
        handle = os.open(durable, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def load(path: Path) -> Any:
    """The index in the file `path`, or None where it is missing or cannot be read."""
    try:
        return _faiss().read_index(str(path))
    except RuntimeError:  # what FAISS makes of every failed read
        return None


def nearest(index: Any, query: NDArray[np.float32], space: str, depth: int) -> list[Match]:
    """At least the `depth` nearest entries over `MIN_SIMILARITY`, and all that tie with the last.

    `query` is one unit vector, shape (dimensions,). Equal vectors get exactly equal scores.
    Raises `DimensionMismatch`.
    """
    if query.shape != (index.d,):
        raise DimensionMismatch("the query's vector", space, query.size, index.d)
    query = np.ascontiguousarray(query, dtype=np.float32)
    ids = _nearest_ids(index, query, min(depth, index.ntotal))
    vectors = index.reconstruct_batch(ids).astype(np.float64)
    # Row by row and always in the same order, which a matrix product does not promise.
    similarities = (vectors * query.astype(np.float64)).sum(axis=1)
    return [
        Match(int(entry_id), min(float(similarity), 1.0))
        for entry_id, similarity in zip(ids, similarities, strict=True)
        if similarity >= MIN_SIMILARITY
    ]


def _nearest_ids(index: Any, query: NDArray[np.float32], depth: int) -> NDArray[np.int64]:
    asked = depth
    while True:
        # One more than wanted shows whether the last one has equals beyond the cut.
        asked = min(asked + 1, index.ntotal)
        similarities, ids = index.search(query[None, :], asked)
        wanted = similarities[0] >= similarities[0, depth - 1] - TIE
        if asked == index.ntotal or not wanted[-1]:
            return ids[0][wanted & (ids[0] >= 0)]
        asked *= 2
