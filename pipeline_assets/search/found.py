"""From entry ids to candidates for ranking, and from ranked candidates to hits."""

import json
import sqlite3
from collections.abc import Mapping, Sequence

from pipeline_assets.search.keyword import snippet
from pipeline_assets.search.ranking import PENDING_WEIGHT, Candidate, Match, Ranked
from pipeline_assets.search.records import Hit

SNIPPET_CHARS = 160

# A better twin may be past the depth of its own, longer lists: it is fetched here.
CANDIDATES = """
WITH found AS (
    SELECT twin, MIN(COALESCE(quality, :pending)) AS weight FROM entry
    WHERE entry_id IN (SELECT value FROM json_each(:ids)) GROUP BY twin
)
SELECT entry_id, item_id, quality, twin FROM entry
WHERE entry_id IN (SELECT value FROM json_each(:ids))
UNION
SELECT one.entry_id, one.item_id, one.quality, one.twin
FROM found JOIN entry AS one ON one.twin = found.twin AND one.is_current = 1
WHERE COALESCE(one.quality, :pending) > found.weight
"""
HIT = """
SELECT hour, name, label, label_confidence, COALESCE(description, text, title, '')
FROM entry WHERE entry_id = ?
"""


def candidates_of(
    connection: sqlite3.Connection, lists: Mapping[str, Sequence[Match]]
) -> dict[int, Candidate]:
    """Every entry of the lists, and their twins of better quality."""
    ids = sorted({match.entry_id for matches in lists.values() for match in matches})
    values = {"ids": json.dumps(ids), "pending": PENDING_WEIGHT}
    return {row[0]: Candidate(*row) for row in connection.execute(CANDIDATES, values)}


def hits_of(connection: sqlite3.Connection, expression: str, ranked: Sequence[Ranked]) -> list[Hit]:
    """The hits in the given order; snippets show what `expression` matched, where it did."""
    return [_hit(connection, expression, one) for one in ranked]


def _hit(connection: sqlite3.Connection, expression: str, ranked: Ranked) -> Hit:
    one = ranked.candidate
    row = connection.execute(HIT, (one.entry_id,)).fetchone()
    hour, name, label, label_confidence, words = row
    return Hit(
        item_id=one.item_id,
        hour=hour,
        name=name,
        label=label,
        label_confidence=label_confidence,
        quality=one.quality,
        score=ranked.score,
        ranks=ranked.ranks,
        snippet=snippet(connection, expression, one.entry_id) or words[:SNIPPET_CHARS],
    )
