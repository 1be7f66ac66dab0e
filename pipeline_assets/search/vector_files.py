"""The FAISS files beside the database: one per space and modality that has current vectors.

A file is never changed. What comes later is its tail, which a reader takes from the database; what
is no longer current has a tombstone. When the tail is long or the dead are many, a new file is
written under a new name, which is recorded in the transaction that makes the vectors current;
files that no row names are removed afterwards, also those that a killed writer left. All vectors
are in SQLite, so a reader whose file is gone or damaged makes the same index from them.
"""

import sqlite3
import threading
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_assets.search import calibration, vector, vector_rows
from pipeline_assets.search.nearest import Searched
from pipeline_assets.search.readers import Snapshot
from pipeline_assets.search.records import Sizes, VectorIndex
from pipeline_assets.search.replace import SpaceModality

SUFFIX = ".faiss"
EXACT, GRAPH = "exact", "hnsw"
TRAINED_ON = 20_000
"""Vectors that give the range of each dimension, which 8 bits divide."""

KEPT = """
SELECT space, modality, version, file, kind, last_vector, ef_search, mean FROM vector_index
ORDER BY space, modality
"""
DESCRIBED = """
SELECT space, modality, kind, vectors,
    (SELECT COUNT(*) FROM tombstone AS t WHERE t.space = v.space AND t.modality = v.modality),
    (SELECT COUNT(*) FROM vector AS one WHERE one.space = v.space AND one.modality = v.modality
        AND one.is_live = 1 AND one.vector_id > v.last_vector),
    ef_search, recall
FROM vector_index AS v ORDER BY space, modality
"""
NEW_VERSION = "UPDATE vector_index SET version = ? WHERE space = ? AND modality = ?"
KEEP = "INSERT OR REPLACE INTO vector_index VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
FORGET = "DELETE FROM vector_index WHERE space = ? AND modality = ?"
BURIED = "DELETE FROM tombstone WHERE space = ? AND modality = ?"


@dataclass(frozen=True, slots=True)
class Kept:
    """A file, and up to which id it has all vectors. `version` changes with every vector."""

    space: str
    modality: str
    version: str
    file: str
    kind: str
    last_vector: int
    ef_search: int | None
    mean: bytes

    @property
    def place(self) -> SpaceModality:
        """The space and modality."""
        return self.space, self.modality


def kept(connection: sqlite3.Connection) -> dict[SpaceModality, Kept]:
    """The files of the connection's snapshot."""
    rows = (Kept(*row) for row in connection.execute(KEPT))
    return {row.place: row for row in rows}


def described(connection: sqlite3.Connection) -> list[VectorIndex]:
    """What there is, for people."""
    return [VectorIndex(*row) for row in connection.execute(DESCRIBED)]


def renew(
    connection: sqlite3.Connection, folder: Path, changed: Iterable[SpaceModality], sizes: Sizes
) -> None:
    """Let the vectors of `changed` be found, in a tail or a new file; make up for missing files.

    Called in the transaction that changed them.
    """
    present = kept(connection)
    now = {(one.space, one.modality): one for one in described(connection)}
    missing = {place for place, one in present.items() if not (folder / one.file).exists()}
    for place in sorted(missing.union(changed)):
        if not len(vector_rows.live_ids(connection, place)):
            connection.execute(FORGET, place)
            connection.execute(BURIED, place)
        elif place not in present or place in missing or _many_dead(now[place], sizes):
            _make(connection, folder, place, sizes)
        elif now[place].tail <= sizes.tail:
            connection.execute(NEW_VERSION, (uuid.uuid4().hex, *place))
        elif not _extended(connection, folder, present[place]):
            _make(connection, folder, place, sizes)


def _many_dead(one: VectorIndex, sizes: Sizes) -> bool:
    return one.dead > sizes.dead_share * one.vectors


def _make(connection: sqlite3.Connection, folder: Path, place: SpaceModality, sizes: Sizes) -> None:
    """A new file of all current vectors; exact where a graph would not find enough of them."""
    connection.execute(BURIED, place)
    if len(vector_rows.live_ids(connection, place)) > sizes.exact_up_to:
        graph = vector.approximate(calibration.sample(connection, place, TRAINED_ON))
        vector.add(graph, vector_rows.batches(connection, place))
        if _kept_as_graph(connection, folder, place, graph):
            return
    index = vector.add(_empty(connection, place), vector_rows.batches(connection, place))
    recall = calibration.measured(connection, place, _whole(connection, place, index))
    _keep(connection, folder, place, index, EXACT, None, recall)


def _extended(connection: sqlite3.Connection, folder: Path, one: Kept) -> bool:
    """Whether the tail could be put into a copy of the graph, which is faster than a new one."""
    graph = vector.load_to_extend(folder / one.file) if one.kind == GRAPH else None
    if graph is None:
        return False
    vector.add(graph, vector_rows.batches(connection, one.place, one.last_vector))
    return _kept_as_graph(connection, folder, one.place, graph)


def _kept_as_graph(
    connection: sqlite3.Connection, folder: Path, place: SpaceModality, graph: Any
) -> bool:
    """Whether the graph finds what it should; if so, it is the file from now on."""
    searched = _whole(connection, place, graph)
    ef_search, recall = calibration.calibrated(connection, place, searched)
    if recall < calibration.WANTED_RECALL:
        return False
    _keep(connection, folder, place, graph, GRAPH, ef_search, recall)
    return True


def _whole(connection: sqlite3.Connection, place: SpaceModality, index: Any) -> Searched:
    """An index of all current vectors, opened."""
    living = vector.all_but(vector_rows.dead_ids(connection, place))
    mean = vector_rows.mean(connection, place)
    return Searched(place[0], index, _empty(connection, place), living, mean, None)


def _keep(
    connection: sqlite3.Connection,
    folder: Path,
    place: SpaceModality,
    index: Any,
    kind: str,
    ef_search: int | None,
    recall: float,
) -> None:
    version = uuid.uuid4().hex
    file = f"{version}{SUFFIX}"
    vector.save(index, folder / file)
    last_vector = int(vector_rows.live_ids(connection, place)[-1])
    mean = vector_rows.mean(connection, place).tobytes()
    row = (*place, version, file, kind, index.ntotal, last_vector, ef_search, recall, mean)
    connection.execute(KEEP, row)


def _empty(connection: sqlite3.Connection, place: SpaceModality) -> Any:
    return vector.exact(vector_rows.dimensions(connection, place))


def remove_unnamed(folder: Path, named: frozenset[str]) -> None:
    """Remove the files that are not among `named`. To be called by the only writer."""
    for path in folder.glob(f"*{SUFFIX}"):
        if path.name not in named:
            path.unlink(missing_ok=True)


def names(connection: sqlite3.Connection) -> frozenset[str]:
    """The files that are current in the connection's snapshot."""
    return frozenset(one.file for one in kept(connection).values())


class VectorFiles:
    """The current vectors of each space and modality, each opened once; for any number of threads.

    Opened again when a vector of theirs changed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._opened: dict[str, Searched] = {}

    def current(self, snapshot: Snapshot, spaces: Iterable[str]) -> dict[SpaceModality, Searched]:
        """What there is of `spaces`, by space and modality, in the snapshot."""
        wanted = set(spaces)
        present = kept(snapshot.connection)
        with self._lock:
            for gone in self._opened.keys() - {one.version for one in present.values()}:
                del self._opened[gone]
        return {
            place: self._searched(snapshot, one)
            for place, one in present.items()
            if one.space in wanted
        }

    def _searched(self, snapshot: Snapshot, one: Kept) -> Searched:
        with self._lock:
            opened = self._opened.get(one.version)
        if opened is None:
            opened = _open(snapshot, one)
            with self._lock:
                self._opened[one.version] = opened
        return opened


def _open(snapshot: Snapshot, one: Kept) -> Searched:
    connection = snapshot.connection
    base = vector.load(snapshot.folder / one.file)
    mean = np.frombuffer(one.mean, np.float32)
    tail = _empty(connection, one.place)
    if base is None:
        vector.add(tail, vector_rows.batches(connection, one.place))
        return Searched(one.space, _empty(connection, one.place), tail, None, mean, None)
    vector.add(tail, vector_rows.batches(connection, one.place, one.last_vector))
    living = vector.all_but(vector_rows.dead_ids(connection, one.place))
    return Searched(one.space, base, tail, living, mean, one.ef_search)
