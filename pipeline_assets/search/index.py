"""The search index: hours go in, hits come out."""

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar, get_args

import pyarrow as pa

from pipeline_assets.errors import StorageError
from pipeline_assets.search import (
    generations,
    query,
    replace,
    store,
    vector_files,
    vector_rows,
)
from pipeline_assets.search.errors import IndexDamaged, NotIndexed
from pipeline_assets.search.filters import EVERYTHING, Filters
from pipeline_assets.search.query import Asked
from pipeline_assets.search.readers import Readers, Snapshot
from pipeline_assets.search.records import (
    Embedder,
    Hit,
    HourIndexed,
    Mode,
    Rebuilt,
    Sizes,
    Vector,
    VectorIndex,
)
from pipeline_assets.search.rows import entries_of
from pipeline_assets.search.words import words_of

T = TypeVar("T")

SPACES = "SELECT DISTINCT space FROM vector_index ORDER BY space"
HOURS = "SELECT DISTINCT hour FROM entry ORDER BY hour"
COUNT = "SELECT items FROM total"
CURRENT_HOURS = """
SELECT item_id, hour FROM entry
WHERE is_current = 1 AND item_id IN (SELECT value FROM json_each(?))
"""
MENTIONS = """
SELECT COUNT(*) FROM entry JOIN content USING (entry_id)
WHERE item_id IN (SELECT value FROM json_each(?))
    OR image_url IN (SELECT value FROM json_each(?))
    OR document_url IN (SELECT value FROM json_each(?))
"""
OPTIMIZE = "INSERT INTO keyword (keyword) VALUES ('optimize')"


class SearchIndex:
    """Keyword and vector search over the current items of all hours, in the folder `root`.

    One instance serves any number of threads; several processes may read while one writes.
    Writers wait for each other. The folder is created by the first write.
    """

    def __init__(self, root: Path, sizes: Sizes = Sizes()) -> None:  # noqa: B008 - immutable
        self._root = root
        self._sizes = sizes
        self._files = vector_files.VectorFiles()
        self._readers = Readers(root)

    def replace_hour(self, hour: str, table: pa.Table) -> HourIndexed:
        """Make `table` (rows of `enriched_items`) all that the index has of `hour`.

        All or nothing, and repeatable: a reader has the old hour or the new one, and what is
        unchanged is left alone. Raises `DimensionMismatch` for a vector that does not fit its
        space, `ContractError` for one without a space, `StorageError` where the disk refuses.
        """
        started = time.perf_counter()
        entries = entries_of(table)
        with self._writing():
            folder = generations.current(self._root)
            is_first = folder is None
            if folder is None:
                folder = generations.new(self._root)
                store.create(folder)
            with store.transaction(folder) as connection:
                changed = replace.replace_entries(connection, hour, entries)
                vector_files.renew(connection, folder, changed, self._sizes)
                named = vector_files.names(connection)
            if is_first:
                generations.publish(self._root, folder)
            vector_files.remove_unnamed(folder, named)
        spaces = [one.space for one in entries.values() if one.space is not None]
        seconds = time.perf_counter() - started
        return HourIndexed(hour, len(entries), len(spaces), len(set(spaces)), seconds)

    def rebuild(self, hours: Iterable[tuple[str, pa.Table]]) -> Rebuilt:
        """Make the index anew from nothing but `hours`, the present one untouched until then.

        For one that is damaged or missing. Readers have the old index or the new one; hours that
        are indexed meanwhile wait. Raises what `replace_hour` raises.
        """
        started = time.perf_counter()
        with self._writing():
            generations.remove_others(self._root)  # what killed builds left takes up the disk
            folder = generations.new(self._root)
            with store.building(folder) as connection:
                done = [
                    replace.replace_entries(connection, hour, entries_of(table))
                    for hour, table in hours
                ]
                connection.execute(OPTIMIZE)
                places = vector_rows.live_places(connection)
                vector_files.renew(connection, folder, places, self._sizes)
            generations.publish(self._root, folder)
            generations.remove_others(self._root)
        return Rebuilt(len(done), self.count(), time.perf_counter() - started)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            with generations.only_writer(self._root):
                yield
        except (OSError, sqlite3.OperationalError) as error:
            raise StorageError(str(self._root), str(error)) from error
        except sqlite3.DatabaseError as error:
            raise IndexDamaged(str(self._root), str(error)) from error

    def search(
        self,
        query: str,
        *,
        mode: Mode = "hybrid",
        top: int = 10,
        embedders: Mapping[str, Embedder],
        filters: Filters = EVERYTHING,
    ) -> list[Hit]:
        """The `top` best current items for `query`, best first; every string is a valid query.

        `embedders[space]([query])` gives the query's unit vector in that space, shape (1,
        dimensions); spaces without an embedder are left out. A query without a letter or digit
        finds nothing. Raises `DimensionMismatch` where an embedder does not fit its space,
        `IndexDamaged` where the index cannot be read.
        """
        if mode not in get_args(Mode):
            raise ValueError(f"mode={mode!r} is not one of {', '.join(get_args(Mode))}")
        words = words_of(query)
        if not words:
            return []

        def answer(snapshot: Snapshot) -> list[Hit]:
            vectors: dict[str, Vector] = {}
            if mode != "keyword":
                vectors = _embedded(snapshot, query, embedders)
            looked_up = words if mode != "vector" else ()
            return self._answer(snapshot, Asked(looked_up, vectors, top, filters), words)

        return self._read(answer, [])

    def nearest(
        self, vectors: Mapping[str, Vector], *, top: int = 10, filters: Filters = EVERYTHING
    ) -> list[Hit]:
        """The `top` items nearest to a picture, whose unit vector is given for each space."""
        wanted = Asked((), vectors, top, filters)
        return self._read(lambda snapshot: self._answer(snapshot, wanted, ()), [])

    def like(self, item_id: str, *, top: int = 10, filters: Filters = EVERYTHING) -> list[Hit]:
        """The `top` items most like one that is current, without it.

        By its vector, and by the words of its name and label, which lead to items of other spaces,
        too. Raises `NotIndexed` where it is not current.
        """

        def answer(snapshot: Snapshot) -> list[Hit] | None:
            wanted = query.like(snapshot.connection, item_id, top, filters)
            return None if wanted is None else self._answer(snapshot, wanted, wanted.words)

        hits = self._read(answer, None)
        if hits is None:
            raise NotIndexed(item_id)
        return hits

    def _answer(self, snapshot: Snapshot, wanted: Asked, shown: Sequence[str]) -> list[Hit]:
        opened = self._files.current(snapshot, wanted.vectors)
        return query.answered(snapshot.connection, wanted, opened, shown)

    def _read(self, read: Callable[[Snapshot], T], without: T) -> T:
        """What `read` makes of a snapshot; `without` where there is no index."""
        with self._readers.snapshot() as snapshot:
            return without if snapshot is None else read(snapshot)

    def close(self) -> None:
        """Close what is kept open for the next search."""
        self._readers.close()

    def exists(self) -> bool:
        """Whether there is an index, well or damaged."""
        return generations.current(self._root) is not None

    def spaces(self) -> tuple[str, ...]:
        """The embedding spaces that have current items, sorted."""
        return self._read(lambda read: tuple(one for (one,) in read.connection.execute(SPACES)), ())

    def hours(self) -> list[str]:
        """The hours that have entries, sorted."""
        return self._read(lambda read: [one for (one,) in read.connection.execute(HOURS)], [])

    def vector_indexes(self) -> list[VectorIndex]:
        """How the vectors of each space and modality are searched, and how well."""
        return self._read(lambda read: vector_files.described(read.connection), [])

    def current_hours(self, items: Iterable[str]) -> dict[str, str]:
        """The hour that an item is current in, for those of `items` that are in the index."""
        values = (json.dumps(list(items)),)
        return self._read(lambda read: dict(read.connection.execute(CURRENT_HOURS, values)), {})

    def mentions(self, items: Iterable[str], urls: Iterable[str]) -> int:
        """How many entries there are, of all hours, of these items or with one of these URLs."""
        names, addresses = json.dumps(list(items)), json.dumps(list(urls))
        values = (names, addresses, addresses)
        return self._read(
            lambda read: int(read.connection.execute(MENTIONS, values).fetchone()[0]), 0
        )

    def count(self) -> int:
        """How many items are current."""
        return self._read(lambda read: int(read.connection.execute(COUNT).fetchone()[0]), 0)


def _embedded(
    snapshot: Snapshot, query: str, embedders: Mapping[str, Embedder]
) -> dict[str, Vector]:
    # A lone surrogate is a valid str, but no tokenizer needs to take it.
    query = query.encode(errors="replace").decode()
    spaces = {space for space, _ in vector_files.kept(snapshot.connection)}
    return {space: embedders[space]([query])[0] for space in sorted(spaces & embedders.keys())}
