"""Keyword search: FTS5 with BM25 over name, label, title, description and text."""

import re
import sqlite3
import unicodedata

from pipeline_assets.search.ranking import PENDING_WEIGHT, Match

FIELD_WEIGHTS = (10.0, 5.0, 4.0, 2.0, 1.0)
"""Name, label, title, description, text: the shorter and the more deliberate, the more it says.
Judgement, not measured yet."""

MAX_TERMS = 64
"""Distinct terms of a query that are looked up; a longer one is a pasted document, whose first
words say what it is about."""

SNIPPET_TOKENS = 24
_TERM = re.compile(r"[^\W_]+")

# Equal scores are cut by quality, so that a crowd of twins cannot hide the best of them.
BEST = """
SELECT entry.entry_id, -bm25(keyword, ?, ?, ?, ?, ?) AS score
FROM keyword JOIN entry ON entry.entry_id = keyword.rowid
WHERE keyword MATCH ?
ORDER BY score DESC, COALESCE(entry.quality, ?) DESC, entry.item_id LIMIT ?
"""
SNIPPET = """
SELECT snippet(keyword, -1, '', '', '…', ?) FROM keyword WHERE keyword MATCH ? AND rowid = ?
"""


def match_expression(query: str) -> str:
    """An FTS5 expression that finds any of the words in `query`; empty where it has none.

    Every word is quoted and nothing but letters and digits is kept: no query has syntax.
    """
    words = _TERM.findall(unicodedata.normalize("NFC", query))
    return " OR ".join(f'"{word}"' for word in list(dict.fromkeys(words))[:MAX_TERMS])


def best_matches(connection: sqlite3.Connection, expression: str, depth: int) -> list[Match]:
    """The `depth` current entries that match best, best first; scores are BM25, above 0."""
    values = (*FIELD_WEIGHTS, expression, PENDING_WEIGHT, depth)
    return [Match(entry_id, score) for entry_id, score in connection.execute(BEST, values)]


def snippet(connection: sqlite3.Connection, expression: str, entry_id: int) -> str | None:
    """The passage of the entry that matches best, as plain text; None where nothing does."""
    found = connection.execute(SNIPPET, (SNIPPET_TOKENS, expression, entry_id)).fetchone()
    return found[0] if found else None
