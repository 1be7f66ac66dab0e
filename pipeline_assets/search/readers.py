"""Reading the index: each reader sees one state of it throughout.

Connections are kept for the next reader: to open one, which reads the schema, and to close it,
which unmaps what was read, took as long as to look up a rare word.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline_assets.search import generations, store
from pipeline_assets.search.errors import IndexDamaged

File = tuple[int, int]
"""Device and inode."""

KEPT = 8
"""Connections that wait for the next reader."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A reading connection that sees one state throughout, and the folder of its generation.

    `file` tells the database from one that is put in its place, as a backup is.
    """

    connection: sqlite3.Connection
    folder: Path
    file: File | None


class Readers:
    """Snapshots of the index in the folder `root`, for any number of threads."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._waiting: list[Snapshot] = []

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot | None]:
        """The index as it is now; None where there is none.

        Raises `IndexDamaged` for a database that SQLite cannot read.
        """
        try:
            begun = self._begun()
            if begun is None:
                yield None
                return
            try:
                yield begun
            except BaseException:
                begun.connection.close()
                raise
            self._keep(begun)
        except sqlite3.DatabaseError as error:
            raise IndexDamaged(str(self._root), str(error)) from error

    def close(self) -> None:
        """Close what waits for the next reader."""
        with self._lock:
            while self._waiting:
                self._waiting.pop().connection.close()

    def _begun(self) -> Snapshot | None:
        """The current generation; the next one where it was replaced in the meantime."""
        while True:
            folder = generations.current(self._root)
            if folder is None:
                self.close()
                return None
            try:
                opened = self._waiting_for(folder) or _opened(folder)
                opened.connection.execute("BEGIN")
                opened.connection.execute("SELECT COUNT(*) FROM vector_index").fetchone()
            except sqlite3.OperationalError:
                if generations.current(self._root) == folder:
                    raise
            else:
                return opened

    def _waiting_for(self, folder: Path) -> Snapshot | None:
        """One that waits for this very database; others would hold what is removed on the disk."""
        file = _file(folder)
        with self._lock:
            present = [one for one in self._waiting if one.file == file]
            gone = [one for one in self._waiting if one.file != file]
            found = present.pop() if present else None
            self._waiting = present
        for one in gone:
            one.connection.close()
        return found

    def _keep(self, snapshot: Snapshot) -> None:
        snapshot.connection.execute("ROLLBACK")
        with self._lock:
            if len(self._waiting) < KEPT:
                self._waiting.append(snapshot)
                return
        snapshot.connection.close()


def _opened(folder: Path) -> Snapshot:
    file = _file(folder)  # first: of one that is replaced meanwhile, the connection is not kept
    connection = store.connect(folder / store.DATABASE)
    connection.execute("PRAGMA query_only = ON")
    return Snapshot(connection, folder, file)


def _file(folder: Path) -> File | None:
    try:
        status = (folder / store.DATABASE).stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
