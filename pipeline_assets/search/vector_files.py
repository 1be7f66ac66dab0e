"""The FAISS files beside the database: one per space and modality that has current vectors.

A file is never changed. A writer makes a new one under a new name and records that name in the
transaction that makes the vectors current; files that no row names are removed afterwards, also
those that a killed writer left. The vectors themselves are in SQLite, so a reader whose file is
gone (replaced since its snapshot, or damaged) makes the same index from them.
"""

import sqlite3
import threading
import uuid
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

from pipeline_assets.search import vector
from pipeline_assets.search.replace import SpaceModality

SUFFIX = ".faiss"

NAMED_FILES = "SELECT space, modality, file FROM vector_file ORDER BY space, modality"
CURRENT_VECTORS = """
SELECT entry_id, vector FROM entry
WHERE space = ? AND modality = ? AND is_current = 1 AND vector IS NOT NULL ORDER BY entry_id
"""


def renew(connection: sqlite3.Connection, root: Path, changed: Iterable[SpaceModality]) -> None:
    """Write the files of `changed` anew, and those that are missing; record their names."""
    missing = {
        (space, modality)
        for space, modality, file in connection.execute(NAMED_FILES)
        if not (root / file).exists()
    }
    for space, modality in sorted(missing.union(changed)):
        index = _from_rows(connection, space, modality)
        if index is None:
            connection.execute(
                "DELETE FROM vector_file WHERE space = ? AND modality = ?", (space, modality)
            )
            continue
        file = f"{uuid.uuid4().hex}{SUFFIX}"
        vector.save(index, root / file)
        connection.execute(
            "INSERT OR REPLACE INTO vector_file VALUES (?, ?, ?)", (space, modality, file)
        )


def remove_unnamed(root: Path, named: frozenset[str]) -> None:
    """Remove the files that are not among `named`. To be called by the only writer."""
    for path in root.glob(f"*{SUFFIX}"):
        if path.name not in named:
            path.unlink(missing_ok=True)


def names(connection: sqlite3.Connection) -> frozenset[str]:
    """The files that are current in the connection's snapshot."""
    return frozenset(file for _, _, file in connection.execute(NAMED_FILES))


def _from_rows(connection: sqlite3.Connection, space: str, modality: str) -> Any:
    rows = connection.execute(CURRENT_VECTORS, (space, modality))
    first = rows.fetchone()
    if first is None:
        return None
    size = len(first[1]) // 4
    return vector.build(chain([first], rows), size)


class VectorFiles:
    """The current FAISS indexes, each loaded once; for any number of threads."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._loaded: dict[str, Any] = {}

    def current(
        self, connection: sqlite3.Connection, spaces: Iterable[str]
    ) -> dict[SpaceModality, Any]:
        """The indexes of `spaces`, by space and modality, in the connection's snapshot."""
        wanted = set(spaces)
        named = {
            file: (space, modality) for space, modality, file in connection.execute(NAMED_FILES)
        }
        with self._lock:
            for gone in self._loaded.keys() - named.keys():
                del self._loaded[gone]
        return {
            key: self._index(connection, file, *key)
            for file, key in named.items()
            if key[0] in wanted
        }

    def _index(self, connection: sqlite3.Connection, file: str, space: str, modality: str) -> Any:
        with self._lock:
            loaded = self._loaded.get(file)
        if loaded is None:
            loaded = vector.load(self._root / file)
            if loaded is None:
                loaded = _from_rows(connection, space, modality)
            with self._lock:
                self._loaded[file] = loaded
        return loaded
