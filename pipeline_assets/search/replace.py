"""Replacing an hour's rows in the database, and with them what is current."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter

from pipeline_assets.search.errors import DimensionMismatch
from pipeline_assets.search.records import Entry

SpaceModality = tuple[str, str]

KNOWN = """
SELECT item_id, entry.digest, vector.digest
FROM entry LEFT JOIN vector USING (entry_id) WHERE hour = ?
"""
UPSERT = """
INSERT INTO entry (
    hour, item_id, event_us, digest, twin, quality, status, stages, kind, label, label_confidence,
    name_key
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (item_id, hour) DO UPDATE SET
    event_us = excluded.event_us, digest = excluded.digest, twin = excluded.twin,
    quality = excluded.quality, status = excluded.status, stages = excluded.stages,
    kind = excluded.kind, label = excluded.label, label_confidence = excluded.label_confidence,
    name_key = excluded.name_key
"""
_RANKED = attrgetter(
    "item_id", "event_us", "digest", "twin", "quality", "status", "stages", "kind", "label",
    "label_confidence", "name_key",
)  # fmt: skip
PUT_CONTENT = """
INSERT OR REPLACE INTO content (
    image_url, document_url, factors, name, title, description, text, entry_id
) SELECT ?, ?, ?, ?, ?, ?, ?, entry_id FROM entry WHERE item_id = ? AND hour = ?
"""
_CONTENT = attrgetter(
    "image_url", "document_url", "factors", "name", "title", "description", "text", "item_id"
)

CHOOSE_CURRENT = """
UPDATE entry SET is_current = (entry_id = (
    SELECT one.entry_id FROM entry AS one WHERE one.item_id = entry.item_id
    ORDER BY one.event_us DESC, one.hour DESC LIMIT 1
)) WHERE item_id IN (SELECT item_id FROM touched)
"""
REMOVE_KEYWORDS = """
INSERT INTO keyword (keyword, rowid, name, label, title, description, text)
SELECT 'delete', entry_id, name, label, title, description, text
FROM entry JOIN content USING (entry_id)
WHERE is_current = 1 AND item_id IN (SELECT item_id FROM touched)
"""
ADD_KEYWORDS = """
INSERT INTO keyword (rowid, name, label, title, description, text)
SELECT entry_id, name, label, title, description, text
FROM entry JOIN content USING (entry_id)
WHERE is_current = 1 AND item_id IN (SELECT item_id FROM touched)
"""

COUNT = "UPDATE total SET items = (SELECT COUNT(*) FROM entry WHERE is_current = 1)"

LIVE_VECTORS = """
SELECT vector_id, space, modality FROM vector JOIN entry USING (entry_id)
WHERE is_live = 1 AND item_id IN (SELECT item_id FROM touched)
"""
OTHER_VECTOR = """
SELECT length(vector) FROM vector JOIN entry USING (entry_id)
WHERE space = ? AND NOT (hour = ? AND item_id IN (SELECT item_id FROM touched)) LIMIT 1
"""
REMOVE_VECTOR = """
DELETE FROM vector WHERE entry_id = (SELECT entry_id FROM entry WHERE item_id = ? AND hour = ?)
"""
ADD_VECTOR = """
INSERT INTO vector (entry_id, is_live, space, modality, digest, vector)
SELECT entry_id, is_current, ?, ?, ?, ? FROM entry WHERE item_id = ? AND hour = ?
"""
RETIRE_VECTORS = """
UPDATE vector SET is_live = 0 WHERE is_live = 1 AND entry_id IN (
    SELECT entry_id FROM entry WHERE is_current = 0 AND item_id IN (SELECT item_id FROM touched)
)
"""
# Under a new id: the old one may be dead in a vector file that it was in.
REVIVE_VECTORS = """
INSERT OR REPLACE INTO vector (entry_id, is_live, space, modality, digest, vector)
SELECT entry_id, 1, space, modality, vector.digest, vector
FROM vector JOIN entry USING (entry_id)
WHERE is_live = 0 AND is_current = 1 AND item_id IN (SELECT item_id FROM touched)
"""
BURY = """
INSERT INTO tombstone SELECT space, modality, :vector_id FROM vector_index
WHERE space = :space AND modality = :modality AND :vector_id <= last_vector
"""


def replace_entries(
    connection: sqlite3.Connection, hour: str, entries: Mapping[str, Entry]
) -> set[SpaceModality]:
    """Make `entries` all that there is of `hour`; returns where the current vectors changed.

    Entries that are as they were are left alone and ids are kept, so that doing it twice does
    nothing, and a new quality alone changes no vectors. Raises `DimensionMismatch`.
    """
    known = {item: (digest, vector) for item, digest, vector in connection.execute(KNOWN, (hour,))}
    unknown = (None, None)
    changed = [one for one in entries.values() if known.get(one.item_id, unknown)[0] != one.digest]
    moved = [
        one for one in entries.values() if known.get(one.item_id, unknown)[1] != one.vector_digest
    ]
    removed = [item_id for item_id in known if item_id not in entries]
    connection.execute("CREATE TEMP TABLE touched (item_id TEXT PRIMARY KEY) WITHOUT ROWID")
    _touch(connection, removed)
    _touch(connection, (one.item_id for one in (*changed, *moved)))
    _check_dimensions(connection, hour, moved)
    before = _live(connection)
    _replace_rows(connection, hour, removed, changed)
    _replace_vectors(connection, hour, moved)
    after = _live(connection)
    connection.execute("DROP TABLE touched")
    _bury(connection, before, after)
    return {place for _, place in before.items() ^ after.items()}


def _touch(connection: sqlite3.Connection, items: Iterable[str]) -> None:
    connection.executemany("INSERT OR IGNORE INTO touched VALUES (?)", ((item,) for item in items))


def _replace_rows(
    connection: sqlite3.Connection, hour: str, removed: Sequence[str], changed: Sequence[Entry]
) -> None:
    connection.execute(REMOVE_KEYWORDS)
    connection.executemany(
        "DELETE FROM entry WHERE hour = ? AND item_id = ?", ((hour, item) for item in removed)
    )
    connection.executemany(UPSERT, ((hour, *_RANKED(one)) for one in changed))
    connection.executemany(PUT_CONTENT, ((*_CONTENT(one), hour) for one in changed))
    connection.execute(CHOOSE_CURRENT)
    connection.execute(ADD_KEYWORDS)
    connection.execute(COUNT)


def _replace_vectors(connection: sqlite3.Connection, hour: str, moved: Sequence[Entry]) -> None:
    connection.executemany(REMOVE_VECTOR, ((one.item_id, hour) for one in moved))
    made = (one for one in moved if one.vector is not None)
    connection.executemany(
        ADD_VECTOR,
        (
            (one.space, one.modality, one.vector_digest, one.vector, one.item_id, hour)
            for one in made
        ),
    )
    connection.execute(RETIRE_VECTORS)
    connection.execute(REVIVE_VECTORS)


def _live(connection: sqlite3.Connection) -> dict[int, SpaceModality]:
    """The live vectors of the items that are touched."""
    found = connection.execute(LIVE_VECTORS)
    return {vector_id: (space, modality) for vector_id, space, modality in found}


def _bury(
    connection: sqlite3.Connection,
    before: Mapping[int, SpaceModality],
    after: Mapping[int, SpaceModality],
) -> None:
    """Note which vectors in the files are dead: a file keeps what it has until it is made anew."""
    connection.executemany(
        BURY,
        (
            {"vector_id": vector_id, "space": space, "modality": modality}
            for vector_id, (space, modality) in before.items()
            if vector_id not in after
        ),
    )


def _check_dimensions(connection: sqlite3.Connection, hour: str, entries: Sequence[Entry]) -> None:
    sizes: dict[str, int] = {}
    for one in entries:
        if one.space is None or one.vector is None:
            continue
        if one.space not in sizes:
            found = connection.execute(OTHER_VECTOR, (one.space, hour)).fetchone()
            sizes[one.space] = found[0] if found else len(one.vector)
        if len(one.vector) != sizes[one.space]:
            raise DimensionMismatch(
                f"item {one.item_id!r}", one.space, len(one.vector) // 4, sizes[one.space] // 4
            )
