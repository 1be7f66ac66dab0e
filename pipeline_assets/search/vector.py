"""The seam to FAISS: indexes of unit vectors by inner product, their files, and candidates.

Ids are those of the table `vector`, never used twice: an id that is dead in a file means nothing
else later.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_assets.errors import StorageError
from pipeline_assets.search.records import Vector
from pipeline_assets.store.files import sync_file, sync_folder

Ids = NDArray[np.int64]
Batch = tuple[Ids, Vector]

BLAS_THRESHOLD = 20
"""From this many queries on FAISS uses BLAS; its default makes a flat batch of 64 seven times
slower."""

LINKS, EF_CONSTRUCTION = 32, 100
"""On 100,000 vectors of 512 dimensions in 8 bits each: recall@10 0.98 in 0.4 ms, 78 MB."""

TIE = 1e-5
"""FAISS adds up float32 in an order that depends on where a vector lies: equal vectors may differ
by some units in the last place."""

MOST = 4096
"""Candidates of one search at most: a crowd of equals is not followed to its end."""


def _faiss() -> Any:
    import faiss  # noqa: PLC0415 - costs 0.2 s, which only searching and building should pay

    faiss.cvar.distance_compute_blas_threshold = BLAS_THRESHOLD
    return faiss


def exact(dimensions: int) -> Any:
    """An empty index that compares a query with every vector, in 16 bits a number.

    A search reads all of it: half the bytes took a third of the time, 16 ms instead of 48 for
    100,000 of 512 dimensions. Who is first among the candidates is decided in full.
    """
    faiss = _faiss()
    half, inner_product = faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    return faiss.IndexIDMap(faiss.IndexScalarQuantizer(dimensions, half, inner_product))


def approximate(sample: Vector) -> Any:
    """An empty HNSW graph over vectors of 8 bits a dimension, whose ranges are the sample's."""
    faiss = _faiss()
    eight_bits, inner_product = faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    graph = faiss.IndexHNSWSQ(sample.shape[1], eight_bits, LINKS, inner_product)
    graph.hnsw.efConstruction = EF_CONSTRUCTION
    graph.train(sample)
    return faiss.IndexIDMap(graph)


def add(index: Any, batches: Iterable[Batch]) -> Any:
    """The index, with more vectors in it."""
    for ids, vectors in batches:
        index.add_with_ids(vectors, ids)
    return index


def save(index: Any, path: Path) -> None:
    """Write `index` to the new file `path`, durably. Raises `StorageError`."""
    try:
        _faiss().write_index(index, str(path))
    except RuntimeError as error:  # what FAISS makes of every failed write
        raise StorageError(str(path), str(error).splitlines()[-1]) from error
    sync_file(path)
    sync_folder(path.parent)


def load(path: Path) -> Any:
    """The index in the file `path`, mapped into memory; None where it is missing or damaged."""
    faiss = _faiss()
    return _read(path, faiss.IO_FLAG_MMAP_IFC)


def load_to_extend(path: Path) -> Any:
    """The index in the file `path`, in memory, where it can grow; None as for `load`."""
    return _read(path, 0)


def _read(path: Path, flags: int) -> Any:
    try:
        return _faiss().read_index(str(path), flags)
    except RuntimeError:  # what FAISS makes of every failed read
        return None


def members(ids: Ids) -> Any:
    """A selector of the vectors of these ids."""
    bits = np.zeros(int(np.max(ids, initial=0)) // 8 + 1, np.uint8)
    np.bitwise_or.at(bits, ids >> 3, (1 << (ids & 7)).astype(np.uint8))
    return _faiss().IDSelectorBitmap(bits)


def all_but(ids: Ids) -> Any:
    """A selector of the vectors of all other ids; None where that is no restriction."""
    return _faiss().IDSelectorNot(members(ids)) if len(ids) else None


def candidates(
    index: Any, query: Vector, depth: int, selector: Any = None, ef_search: int | None = None
) -> Ids:
    """The ids of at least the `depth` nearest vectors, and of those that tie with the last.

    `ef_search` is for a graph: how many vectors it holds at once while it looks.
    """
    most = min(index.ntotal, max(depth, MOST))
    asked = min(depth, most)
    while asked:
        # One more than wanted shows whether the last one has equals beyond the cut.
        asked = min(asked + 1, most)
        parameters = _parameters(selector, ef_search)
        similarities, ids = index.search(query[None, :], asked, params=parameters)
        last = similarities[0, min(depth, asked) - 1]
        if asked == most or ids[0, -1] < 0 or similarities[0, -1] < last - TIE:
            return np.asarray(ids[0][ids[0] >= 0], np.int64)
        asked *= 2
    return np.empty(0, np.int64)


def _parameters(selector: Any, ef_search: int | None) -> Any:
    # Made for each search: FAISS changes it while it looks.
    faiss = _faiss()
    if ef_search is not None:
        return faiss.SearchParametersHNSW(sel=selector, efSearch=ef_search)
    return faiss.SearchParameters(sel=selector)


def exact_similarities(queries: Vector, vectors: Iterable[Vector], nearest: int) -> Vector:
    """The similarities of the `nearest` of all vectors to each query, highest first."""
    from faiss.contrib.exhaustive_search import knn_ground_truth  # noqa: PLC0415

    inner_product = _faiss().METRIC_INNER_PRODUCT
    similarities, _ = knn_ground_truth(queries, vectors, nearest, inner_product)
    return np.asarray(similarities, np.float32)
