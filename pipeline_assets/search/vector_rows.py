"""The vectors in the database: what files are made of, and what candidates are compared with."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np

from pipeline_assets.search.records import Vector
from pipeline_assets.search.replace import SpaceModality
from pipeline_assets.search.vector import Batch, Ids

BATCH = 8192
ZEROS = 20
"""Twice as many as a search shows."""

LIVE_PLACES = "SELECT DISTINCT space, modality FROM vector WHERE is_live = 1"
LIVE_IDS = """
SELECT vector_id FROM vector
WHERE space = ? AND modality = ? AND is_live = 1 AND vector_id > ? ORDER BY vector_id
"""
LIVE = """
SELECT vector_id, vector FROM vector
WHERE space = ? AND modality = ? AND is_live = 1 AND vector_id > ? ORDER BY vector_id
"""
BY_ID = """
SELECT vector_id, entry_id, vector FROM vector
WHERE vector_id IN (SELECT value FROM json_each(?)) ORDER BY vector_id
"""
SIZE = "SELECT length(vector) / 4 FROM vector WHERE space = ? AND modality = ? LIMIT 1"
DEAD = "SELECT vector_id FROM tombstone WHERE space = ? AND modality = ?"


def live_places(connection: sqlite3.Connection) -> set[SpaceModality]:
    """The spaces and modalities that have current vectors."""
    return set(connection.execute(LIVE_PLACES))


def dimensions(connection: sqlite3.Connection, place: SpaceModality) -> int:
    """How many dimensions the vectors of a space have."""
    return int(connection.execute(SIZE, place).fetchone()[0])


def mean(connection: sqlite3.Connection, place: SpaceModality) -> Vector:
    """The mean of the current vectors, and of some that are zero: few vectors have no mean yet."""
    total, count = np.zeros(dimensions(connection, place)), 0
    for ids, vectors in batches(connection, place):
        total += vectors.sum(axis=0, dtype=np.float64)
        count += len(ids)
    return np.asarray(total / (count + ZEROS), np.float32)


def live_ids(connection: sqlite3.Connection, place: SpaceModality, after: int = 0) -> Ids:
    """The ids of the current vectors with a higher id than `after`, lowest first."""
    return _ids(connection.execute(LIVE_IDS, (*place, after)))


def dead_ids(connection: sqlite3.Connection, place: SpaceModality) -> Ids:
    """The ids that are in the file of a space and modality, but not current."""
    return _ids(connection.execute(DEAD, place))


def _ids(rows: sqlite3.Cursor) -> Ids:
    return np.fromiter(chain.from_iterable(rows), np.int64)


def batches(
    connection: sqlite3.Connection, place: SpaceModality, after: int = 0
) -> Iterator[Batch]:
    """The current vectors with a higher id than `after`, some thousands at a time."""
    rows = connection.execute(LIVE, (*place, after))
    while batch := rows.fetchmany(BATCH):
        ids, vectors = zip(*batch, strict=True)
        yield np.array(ids, np.int64), _matrix(vectors)


def by_id(connection: sqlite3.Connection, ids: Ids) -> tuple[list[int], Vector]:
    """The entries that these vectors belong to, and the vectors; none for ids that are gone."""
    rows = connection.execute(BY_ID, (json.dumps(ids.tolist()),)).fetchall()
    if not rows:
        return [], np.empty((0, 0), np.float32)
    _, entries, vectors = zip(*rows, strict=True)
    return list(entries), _matrix(vectors)


def _matrix(vectors: Sequence[bytes]) -> Vector:
    return np.frombuffer(b"".join(vectors), np.float32).reshape(len(vectors), -1)
