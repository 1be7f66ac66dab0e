"""From entry ids to candidates for ranking, and from ranked candidates to hits."""

import json
import sqlite3
from collections.abc import Mapping, Sequence

from pipeline_assets.search.filters import PASSES, Filters
from pipeline_assets.search.keyword import snippet
from pipeline_assets.search.ranking import PENDING_WEIGHT, Candidate, Match, Ranked
from pipeline_assets.search.records import Hit

SNIPPET_CHARS = 160

# A better twin may be past the depth of its own, longer lists: it is fetched here.
CANDIDATES = f"""
WITH found AS (
    SELECT twin, MIN(COALESCE(quality, :pending)) AS weight FROM entry
    WHERE entry_id IN (SELECT value FROM json_each(:ids)) GROUP BY twin
)
SELECT entry_id, item_id, quality, twin FROM entry
WHERE entry_id IN (SELECT value FROM json_each(:ids))
UNION ALL
SELECT entry.entry_id, entry.item_id, entry.quality, entry.twin
FROM found JOIN entry ON entry.twin = found.twin AND entry.is_current = 1
WHERE COALESCE(entry.quality, :pending) > found.weight AND {PASSES}
"""  # noqa: S608 - of constants only
HIT = """
SELECT hour, kind, name, label, label_confidence, factors, COALESCE(description, text, title, '')
FROM entry JOIN content USING (entry_id) WHERE entry_id = ?
"""


def candidates_of(
    connection: sqlite3.Connection, lists: Mapping[str, Sequence[Match]], filters: Filters
) -> dict[int, Candidate]:
    """Every entry of the lists, and their twins of better quality that pass the filters."""
    ids = sorted({match.entry_id for matches in lists.values() for match in matches})
    values = {"ids": json.dumps(ids), "pending": PENDING_WEIGHT}
    found = connection.execute(CANDIDATES, filters.values | values)
    return {row[0]: Candidate(*row) for row in found}


def hits_of(
    connection: sqlite3.Connection, words: Sequence[str], ranked: Sequence[Ranked]
) -> list[Hit]:
    """The hits in the given order; snippets show which of `words` matched, where they did."""
    return [_hit(connection, words, one) for one in ranked]


def _hit(connection: sqlite3.Connection, words: Sequence[str], ranked: Ranked) -> Hit:
    one = ranked.candidate
    row = connection.execute(HIT, (one.entry_id,)).fetchone()
    hour, kind, name, label, label_confidence, factors, text = row
    return Hit(
        item_id=one.item_id,
        hour=hour,
        kind=kind,
        name=name,
        label=label,
        label_confidence=label_confidence,
        quality=one.quality,
        score=ranked.score,
        ranks=ranked.ranks,
        snippet=snippet(connection, words, one.entry_id) or text[:SNIPPET_CHARS],
        gains=ranked.gains,
        weight=one.weight,
        lifted_over=ranked.lifted_over,
        factors=json.loads(factors),
    )
