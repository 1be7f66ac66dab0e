"""Keyword search: FTS5 with BM25 over name, label, title, description and text."""

import math
import sqlite3
from collections.abc import Sequence

from pipeline_assets.search.filters import EVERYTHING, PASSES, Filters
from pipeline_assets.search.ranking import PENDING_WEIGHT, Match
from pipeline_assets.search.words import name_key

FIELD_WEIGHTS = {
    "name": 10.0, "label_weight": 5.0, "title": 4.0, "description": 2.0, "text": 1.0
}  # fmt: skip
"""The shorter and the more deliberate, the more it says. Judgement, not measured yet."""

MOST_OVER_ONCE = 2.2
"""FTS5 has k1 = 1.2: a word that fills a text of average length gives 2.2 times what it gives when
it is there once."""

LEAST_IDF = 1e-6
"""What FTS5 takes for a word that half of the texts have."""

SNIPPET_TOKENS = 24
ITEMS = "SELECT items FROM total"
COUNT = "SELECT COUNT(*) FROM keyword WHERE keyword MATCH ?"
SCORE = "-bm25(keyword, :name, :label_weight, :title, :description, :text) AS score"
# The plus keeps SQLite from looking up each essential row on its own, which is slower than reading
# all.
MATCHES = """keyword MATCH :expression AND (:essential IS NULL
    OR +keyword.rowid IN (SELECT rowid FROM keyword WHERE keyword MATCH :essential))"""
SCORED = f"SELECT rowid AS entry_id, {SCORE} FROM keyword WHERE {MATCHES}"  # noqa: S608 - constants
SCORED_THAT_PASS = f"""
SELECT entry_id, {SCORE} FROM keyword JOIN entry ON entry_id = keyword.rowid
WHERE {MATCHES} AND {PASSES}
"""  # noqa: S608 - of constants only
# Equal scores are cut by quality, so that a crowd of twins cannot hide the best of them. Only what
# may be among the best is looked up for that.
BEST = """
WITH scored AS MATERIALIZED ({scored})
SELECT entry_id, score FROM scored JOIN entry USING (entry_id)
WHERE score >= COALESCE((SELECT score FROM scored ORDER BY score DESC LIMIT 1 OFFSET :last), 0)
ORDER BY score DESC, COALESCE(quality, :pending) DESC, item_id LIMIT :depth
"""
NAMED = f"""
SELECT entry_id FROM entry WHERE is_current = 1 AND name_key = :key AND {PASSES}
ORDER BY COALESCE(quality, :pending) DESC, item_id LIMIT :depth
"""  # noqa: S608 - of constants only
SNIPPET = """
SELECT snippet(keyword, -1, '', '', '…', ?) FROM keyword WHERE keyword MATCH ? AND rowid = ?
"""


def named(
    connection: sqlite3.Connection, words: Sequence[str], depth: int, filters: Filters
) -> list[Match]:
    """The current entries that are called just so, all alike: who types a name wants what has it.

    BM25 does not see it: a name of three words, one of them asked for, may score more.
    """
    values = {"key": name_key(words), "pending": PENDING_WEIGHT, "depth": depth}
    found = connection.execute(NAMED, filters.values | values)
    return [Match(entry_id, 1.0) for (entry_id,) in found]


def best_matches(
    connection: sqlite3.Connection, words: Sequence[str], depth: int, filters: Filters
) -> list[Match]:
    """The `depth` current entries that match best, best first; scores are BM25, above 0.

    An entry that has none of the essential words is not scored where that many score more than the
    other words could give: scoring what "the" and "of" are in took ten times as long as the rest.
    """
    essential, rest = _essential(connection, words, depth)
    if rest:
        matches = _best(connection, words, essential, depth, filters)
        if len(matches) == depth and matches[-1].score > rest:
            return matches
    return _best(connection, words, None, depth, filters)


def _best(
    connection: sqlite3.Connection,
    words: Sequence[str],
    essential: Sequence[str] | None,
    depth: int,
    filters: Filters,
) -> list[Match]:
    values = {
        "expression": _any_of(words),
        "essential": None if essential is None else _any_of(essential),
        "pending": PENDING_WEIGHT,
        "depth": depth,
        "last": depth - 1,
    }
    scored = SCORED if filters == EVERYTHING else SCORED_THAT_PASS
    query = BEST.format(scored=scored)
    found = connection.execute(query, FIELD_WEIGHTS | filters.values | values)
    return [Match(entry_id, score) for entry_id, score in found]


def _essential(
    connection: sqlite3.Connection, words: Sequence[str], depth: int
) -> tuple[Sequence[str], float]:
    """The rare words, and the most that all others together can give; 0 where all are essential."""
    (items,) = connection.execute(ITEMS).fetchone()
    if len(words) < 2 or items <= depth:
        return words, 0.0
    counts = {word: connection.execute(COUNT, (_any_of([word]),)).fetchone()[0] for word in words}
    rarest_first = sorted(words, key=lambda word: counts[word])
    most = [_most(counts[word], items) for word in rarest_first]
    entries = 0
    for place, word in enumerate(rarest_first[:-1], start=1):
        entries += counts[word]
        rest = sum(most[place:])
        if entries >= depth and rest < most[place - 1] / MOST_OVER_ONCE:
            return rarest_first[:place], rest
    return words, 0.0


def _most(count: int, items: int) -> float:
    """What BM25 gives at most for a word that `count` of `items` have: as FTS5 reckons."""
    idf = math.log((items - count + 0.5) / (count + 0.5))
    return MOST_OVER_ONCE * max(idf, LEAST_IDF)


def _any_of(words: Sequence[str]) -> str:
    return " OR ".join(f'"{word}"' for word in words)


def snippet(connection: sqlite3.Connection, words: Sequence[str], entry_id: int) -> str | None:
    """The passage of the entry that matches best, as plain text; None where nothing does."""
    if not words:
        return None
    found = connection.execute(SNIPPET, (SNIPPET_TOKENS, _any_of(words), entry_id)).fetchone()
    return found[0] if found else None
