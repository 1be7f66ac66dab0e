"""What is asked of the index, put to its lists, and answered with hits."""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline_assets.search.filters import EVERYTHING, PASSES, Filters
from pipeline_assets.search.hits import candidates_of, hits_of
from pipeline_assets.search.keyword import best_matches, named
from pipeline_assets.search.nearest import DEPTH, Searched, compared
from pipeline_assets.search.ranking import Match, fuse
from pipeline_assets.search.records import Hit, Vector
from pipeline_assets.search.replace import SpaceModality
from pipeline_assets.search.vector import Ids
from pipeline_assets.search.words import words_of

ALLOWED = f"""
SELECT vector_id FROM vector JOIN entry USING (entry_id)
WHERE space = :space AND modality = :modality AND is_live = 1 AND {PASSES}
"""  # noqa: S608 - of constants only
ITEM = """
SELECT name, label, space, vector
FROM entry JOIN content USING (entry_id) LEFT JOIN vector USING (entry_id)
WHERE item_id = ? AND is_current = 1
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """Words to look up, a vector for each space, how many hits, and which items at all.

    `without` is an item that is no answer.
    """

    words: Sequence[str]
    vectors: Mapping[str, Vector]
    top: int
    filters: Filters
    without: str | None = None


def like(connection: sqlite3.Connection, item_id: str, top: int, filters: Filters) -> Asked | None:
    """What is asked for more like an item; None where it is not current."""
    row = connection.execute(ITEM, (item_id,)).fetchone()
    if row is None:
        return None
    name, label, space, vector = row
    vectors = {} if vector is None else {space: np.frombuffer(vector, np.float32)}
    return Asked(words_of(f"{name or ''} {label or ''}"), vectors, top, filters, item_id)


def answered(
    connection: sqlite3.Connection,
    asked: Asked,
    opened: Mapping[SpaceModality, Searched],
    shown: Sequence[str],
) -> list[Hit]:
    """The best hits, best first; their snippets show the words `shown`."""
    if asked.top < 1:
        return []
    lists = _lists(connection, asked, opened)
    ranked = fuse(lists, candidates_of(connection, lists, asked.filters))
    found = [one for one in ranked if one.candidate.item_id != asked.without]
    return hits_of(connection, shown, found[: asked.top])


def _lists(
    connection: sqlite3.Connection, asked: Asked, opened: Mapping[SpaceModality, Searched]
) -> dict[str, list[Match]]:
    """What the words find, and what each vector does."""
    depth = max(DEPTH, asked.top + 1)  # one more for the item that is no answer
    lists: dict[str, list[Match]] = {}
    if asked.words:
        lists["name"] = named(connection, asked.words, depth, asked.filters)
        lists["keyword"] = best_matches(connection, asked.words, depth, asked.filters)
    for place, searched in opened.items():
        space, modality = place
        query = asked.vectors[space]
        allowed = _allowed(connection, place, asked.filters)
        found = searched.candidates(query, depth, allowed)
        matches = compared(connection, found, query, depth)
        lists[f"vector:{space}:{modality}"] = searched.telling(query, matches)
    return lists


def _allowed(connection: sqlite3.Connection, place: SpaceModality, filters: Filters) -> Ids | None:
    """The vectors that pass the filters; None where all do."""
    if filters == EVERYTHING:
        return None
    space, modality = place
    values = filters.values | {"space": space, "modality": modality}
    return np.array([one for (one,) in connection.execute(ALLOWED, values)], np.int64)
