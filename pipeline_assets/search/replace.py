"""Replacing an hour's rows in the database, and with them what is current."""

import sqlite3
from collections.abc import Mapping, Sequence
from operator import attrgetter

from pipeline_assets.search.errors import DimensionMismatch
from pipeline_assets.search.records import Entry

UPSERT = """
INSERT INTO entry (
    hour, item_id, event_us, digest, twin, quality, status, kind, label, label_confidence,
    space, modality, image_url, document_url, name, title, description, text, vector
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (item_id, hour) DO UPDATE SET
    event_us = excluded.event_us, digest = excluded.digest, twin = excluded.twin,
    quality = excluded.quality, status = excluded.status, kind = excluded.kind,
    label = excluded.label, label_confidence = excluded.label_confidence,
    space = excluded.space, modality = excluded.modality, image_url = excluded.image_url,
    document_url = excluded.document_url, name = excluded.name, title = excluded.title,
    description = excluded.description, text = excluded.text, vector = excluded.vector
"""
_VALUES = attrgetter(*Entry.__slots__)

CHOOSE_CURRENT = """
UPDATE entry SET is_current = (entry_id = (
    SELECT one.entry_id FROM entry AS one WHERE one.item_id = entry.item_id
    ORDER BY one.event_us DESC, one.hour DESC LIMIT 1
)) WHERE item_id IN (SELECT item_id FROM touched)
"""
TOUCHED_VECTORS = """
SELECT entry_id, space, modality, vector FROM entry
WHERE is_current = 1 AND vector IS NOT NULL AND item_id IN (SELECT item_id FROM touched)
"""
OTHER_VECTOR = """
SELECT length(vector) FROM entry WHERE space = ? AND NOT
    (hour = ? AND item_id IN (SELECT item_id FROM touched)) LIMIT 1
"""
REMOVE_KEYWORDS = """
INSERT INTO keyword (keyword, rowid, name, label, title, description, text)
SELECT 'delete', entry_id, name, label, title, description, text FROM entry
WHERE is_current = 1 AND item_id IN (SELECT item_id FROM touched)
"""
ADD_KEYWORDS = """
INSERT INTO keyword (rowid, name, label, title, description, text)
SELECT entry_id, name, label, title, description, text FROM entry
WHERE is_current = 1 AND item_id IN (SELECT item_id FROM touched)
"""

SpaceModality = tuple[str, str]


def replace_entries(
    connection: sqlite3.Connection, hour: str, entries: Mapping[str, Entry]
) -> set[SpaceModality]:
    """Make `entries` all that there is of `hour`; returns where the current vectors changed.

    Entries that are as they were are left alone and ids are kept, so that doing it twice does
    nothing, and a new quality alone changes no vectors. Raises `DimensionMismatch`.
    """
    known = dict(connection.execute("SELECT item_id, digest FROM entry WHERE hour = ?", (hour,)))
    changed = [one for one in entries.values() if known.get(one.item_id) != one.digest]
    removed = [item_id for item_id in known if item_id not in entries]
    connection.execute("CREATE TEMP TABLE touched (item_id TEXT PRIMARY KEY) WITHOUT ROWID")
    touched = [*removed, *(one.item_id for one in changed)]
    connection.executemany("INSERT INTO touched VALUES (?)", ((item_id,) for item_id in touched))
    _check_dimensions(connection, hour, changed)

    before = set(connection.execute(TOUCHED_VECTORS))
    connection.execute(REMOVE_KEYWORDS)
    connection.executemany(
        "DELETE FROM entry WHERE hour = ? AND item_id = ?", ((hour, item) for item in removed)
    )
    connection.executemany(UPSERT, ((hour, *_VALUES(one)) for one in changed))
    connection.execute(CHOOSE_CURRENT)
    connection.execute(ADD_KEYWORDS)
    after = set(connection.execute(TOUCHED_VECTORS))
    connection.execute("DROP TABLE touched")
    return {(space, modality) for _, space, modality, _ in before ^ after}


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
