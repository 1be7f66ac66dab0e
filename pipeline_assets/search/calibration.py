"""How well a graph finds what an exact search finds, and how hard it has to look for that."""

import sqlite3
from dataclasses import dataclass, replace

import numpy as np

from pipeline_assets.search import nearest, vector, vector_rows
from pipeline_assets.search.nearest import Searched
from pipeline_assets.search.records import Vector
from pipeline_assets.search.replace import SpaceModality

WANTED_RECALL = 0.95
NEIGHBOURS = 10
"""As many hits as a search shows."""

SAMPLE = 200
"""Queries that recall is measured with: 2,000 neighbours, half a point of standard error."""

EF_SEARCH, MOST_EF_SEARCH = 128, 4096
SEED = 6


def sample(connection: sqlite3.Connection, place: SpaceModality, size: int) -> Vector:
    """Some current vectors of a space and modality, the same ones each time."""
    ids = vector_rows.live_ids(connection, place)
    chosen = np.random.default_rng(SEED).choice(ids, min(size, len(ids)), replace=False)
    return vector_rows.by_id(connection, chosen)[1]


def calibrated(
    connection: sqlite3.Connection, place: SpaceModality, searched: Searched
) -> tuple[int, float]:
    """The least `ef_search` whose recall@10 is `WANTED_RECALL`, and its recall; else the most."""
    truth = Truth.of(connection, place)
    ef_search = EF_SEARCH
    while True:
        recall = _recall(connection, replace(searched, ef_search=ef_search), truth)
        if recall >= WANTED_RECALL or ef_search >= MOST_EF_SEARCH:
            return ef_search, recall
        ef_search *= 2


def measured(connection: sqlite3.Connection, place: SpaceModality, searched: Searched) -> float:
    """Recall@10 of an index that has nothing to be calibrated."""
    return _recall(connection, searched, Truth.of(connection, place))


@dataclass(frozen=True, slots=True)
class Truth:
    """Some of the vectors as queries, and how near the nearest of all are, first themselves."""

    queries: Vector
    similarities: Vector

    @classmethod
    def of(cls, connection: sqlite3.Connection, place: SpaceModality) -> "Truth":
        """By exact search among the current vectors."""
        queries = sample(connection, place, SAMPLE)
        every = (vectors for _, vectors in vector_rows.batches(connection, place))
        return cls(queries, vector.exact_similarities(queries, every, NEIGHBOURS + 1))


def _recall(connection: sqlite3.Connection, searched: Searched, truth: Truth) -> float:
    """Measured through everything that a query goes through; an equal of a neighbour is as good."""
    found = wanted = 0
    for query, similarities in zip(truth.queries, truth.similarities, strict=True):
        others = similarities[1:][similarities[1:] >= nearest.MIN_SIMILARITY]
        if not len(others):
            continue
        candidates = searched.candidates(query, nearest.DEPTH)
        matches = nearest.compared(connection, candidates, query, nearest.DEPTH)
        matches = matches[1 : len(others) + 1]
        found += sum(match.score >= others[-1] - vector.TIE for match in matches)
        wanted += len(others)
    return found / wanted if wanted else 1.0
