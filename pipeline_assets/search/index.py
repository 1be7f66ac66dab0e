"""The search index: an hour goes in, hits come out."""

import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import pyarrow as pa

from pipeline_assets.errors import StorageError
from pipeline_assets.search import keyword, replace, store, vector, vector_files
from pipeline_assets.search.errors import IndexDamaged
from pipeline_assets.search.found import candidates_of, hits_of
from pipeline_assets.search.ranking import Match, fuse
from pipeline_assets.search.records import Embedder, Hit, HourIndexed, Mode
from pipeline_assets.search.rows import entries_of

DEPTH = 100
"""Entries that each list puts forward at least; past rank 100 a list gives less than 40 % of what
its first gets, so that nothing below it makes a top ten on its own."""

SPACES = "SELECT DISTINCT space FROM vector_file ORDER BY space"
COUNT = "SELECT COUNT(*) FROM entry WHERE is_current = 1"


class SearchIndex:
    """Keyword and vector search over the current items of all hours, in the folder `root`.

    One instance serves any number of threads; several processes may read while one writes.
    Writers wait for each other. The folder is created by the first write.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._files = vector_files.VectorFiles(root)

    def replace_hour(self, hour: str, table: pa.Table) -> HourIndexed:
        """Make `table` (rows of `enriched_items`) all that the index has of `hour`.

        All or nothing, and repeatable: a reader has the old hour or the new one, and what is
        unchanged is left alone. Raises `DimensionMismatch` for a vector that does not fit its
        space, `ContractError` for one without a space, `StorageError` where the disk refuses.
        """
        started = time.perf_counter()
        entries = entries_of(table)
        try:
            with store.only_writer(self._root):
                with store.transaction(self._root) as connection:
                    changed = replace.replace_entries(connection, hour, entries)
                    vector_files.renew(connection, self._root, changed)
                    named = vector_files.names(connection)
                vector_files.remove_unnamed(self._root, named)
        except (OSError, sqlite3.OperationalError) as error:
            raise StorageError(str(self._root), str(error)) from error
        except sqlite3.DatabaseError as error:
            raise IndexDamaged(str(self._root), str(error)) from error
        spaces = [one.space for one in entries.values() if one.space is not None]
        seconds = time.perf_counter() - started
        return HourIndexed(hour, len(entries), len(spaces), len(set(spaces)), seconds)

    def search(
        self,
        query: str,
        *,
        mode: Mode = "hybrid",
        top: int = 10,
        embedders: Mapping[str, Embedder],
    ) -> list[Hit]:
        """The `top` best current items for `query`, best first; every string is a valid query.

        `embedders[space]([query])` gives the query's unit vector in that space, shape (1,
        dimensions); spaces without an embedder are left out. A query without a letter or digit
        finds nothing. Raises `DimensionMismatch` where an embedder does not fit its space,
        `IndexDamaged` where the index cannot be read.
        """
        if mode not in get_args(Mode):
            raise ValueError(f"mode={mode!r} is not one of {', '.join(get_args(Mode))}")
        expression = keyword.match_expression(query)
        with store.snapshot(self._root) as connection:
            if connection is None or not expression or top < 1:
                return []
            depth = max(DEPTH, top)
            lists: dict[str, list[Match]] = {}
            if mode != "vector":
                lists["keyword"] = keyword.best_matches(connection, expression, depth)
            if mode != "keyword":
                lists |= self._nearest(connection, query, depth, embedders)
            ranked = fuse(lists, candidates_of(connection, lists))
            return hits_of(connection, expression, ranked[:top])

    def _nearest(
        self,
        connection: sqlite3.Connection,
        query: str,
        depth: int,
        embedders: Mapping[str, Embedder],
    ) -> dict[str, list[Match]]:
        # A lone surrogate is a valid str, but no tokenizer needs to take it.
        query = query.encode(errors="replace").decode()
        indexes = self._files.current(connection, embedders)
        vectors = {space: embedders[space]([query])[0] for space in {key[0] for key in indexes}}
        return {
            f"vector:{space}:{modality}": vector.nearest(index, vectors[space], space, depth)
            for (space, modality), index in indexes.items()
        }

    def spaces(self) -> tuple[str, ...]:
        """The embedding spaces that have current items, sorted."""
        with store.snapshot(self._root) as connection:
            if connection is None:
                return ()
            return tuple(space for (space,) in connection.execute(SPACES))

    def count(self) -> int:
        """How many items are current."""
        with store.snapshot(self._root) as connection:
            return 0 if connection is None else int(connection.execute(COUNT).fetchone()[0])
