"""Searching the vectors of one space and modality: a file, what came since, and what is dead.

The index only names candidates. They are compared with the query by their full vectors, from the
database, so that neither the 8 bits of a graph nor the order of a sum decides who is first.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline_assets.search import vector, vector_rows
from pipeline_assets.search.errors import DimensionMismatch
from pipeline_assets.search.ranking import Match
from pipeline_assets.search.records import Vector
from pipeline_assets.search.vector import Ids

DEPTH = 100
"""Entries that each list puts forward at least; past rank 100 a list gives less than 40 % of what
its first gets, so that nothing below it makes a top ten on its own."""

MIN_SIMILARITY = 0.05
"""Below this a neighbour is only the least far: unit vectors of 128 random dimensions are within
0.09 of a right angle (one standard deviation)."""

COMPARED = 10_000
"""Vectors that a filter may leave to be compared one by one, where a graph would find too few."""


@dataclass(frozen=True, slots=True)
class Searched:
    """A space and modality, opened. `ef_search` is None where every vector is compared.

    `living` selects what of the file is not dead; `tail` is an exact index of what is not in it.
    `mean` is that of the vectors.
    """

    space: str
    base: Any
    tail: Any
    living: Any
    mean: Vector
    ef_search: int | None

    def telling(self, query: Vector, matches: Sequence[Match]) -> list[Match]:
        """The matches that are nearer than most, by how much that is.

        All vectors of a space have something in common: a text of a shop may be nearer to every
        picture of it than a picture of one model to a text that describes it. What any vector has
        with the query says nothing about this one.
        """
        common = float((self.mean.astype(np.float64) * query.astype(np.float64)).sum())
        return [
            Match(match.entry_id, match.score - max(common, 0.0))
            for match in matches
            if match.score > common
        ]

    def candidates(self, query: Vector, depth: int, allowed: Ids | None = None) -> Ids:
        """At least the `depth` nearest vectors, or so a graph has it, and what ties with the last.

        `query` is one unit vector, shape (dimensions,); `allowed` the only vectors that may be
        found. Raises `DimensionMismatch`.
        """
        if query.shape != (self.base.d,):
            raise DimensionMismatch("the query's vector", self.space, query.size, self.base.d)
        query = np.ascontiguousarray(query, dtype=np.float32)
        if allowed is None:
            base = vector.candidates(self.base, query, depth, self.living, self.ef_search)
            return np.concatenate([base, vector.candidates(self.tail, query, depth)])
        if len(allowed) <= COMPARED:
            return allowed
        only = vector.members(allowed)
        ef_search = self.ef_search
        if ef_search is not None:  # as many that may be found are to be seen on the way
            ef_search = round(ef_search * max(1.0, self.base.ntotal / len(allowed)))
        base = vector.candidates(self.base, query, depth, only, ef_search)
        return np.concatenate([base, vector.candidates(self.tail, query, depth, only)])


def compared(
    connection: sqlite3.Connection, candidates: Ids, query: Vector, depth: int
) -> list[Match]:
    """The entries of the `depth` nearest candidates, best first, and ties with the last.

    Those over `MIN_SIMILARITY`. Equal vectors get exactly equal scores.
    """
    entries, vectors = vector_rows.by_id(connection, candidates)
    if not entries:
        return []
    # Row by row and always in the same order, which a matrix product does not promise.
    similarities = (vectors.astype(np.float64) * query.astype(np.float64)).sum(axis=1)
    best_first = np.argsort(-similarities, kind="stable")
    last = similarities[best_first[min(depth, len(entries)) - 1]]
    return [
        Match(entries[place], min(float(similarities[place]), 1.0))
        for place in best_first
        if similarities[place] >= max(last, MIN_SIMILARITY)
    ]
