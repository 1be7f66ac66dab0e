"""The SQLite side of the index: one row per item and hour, and which of them are current.

A writer changes everything in one transaction, under a file lock; readers work on a snapshot
(WAL), so that they see the index before a change or after it.
"""

import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from pipeline_assets.search.errors import IndexDamaged

DATABASE = "index.db"
LOCK = "write.lock"
SCHEMA_VERSION = 1
BUSY_TIMEOUT_S = 30.0

# Large columns come last: SQLite reads a row's overflow pages only as far as it must.
# The keyword index has the current entries only, hence a view as its content: superseded texts
# neither match nor count in BM25.
SCHEMA = """
CREATE TABLE entry (
    entry_id INTEGER PRIMARY KEY,
    item_id TEXT NOT NULL, hour TEXT NOT NULL, event_us INTEGER NOT NULL,
    is_current INTEGER NOT NULL DEFAULT 0,
    digest BLOB NOT NULL, twin BLOB NOT NULL,
    quality REAL, status TEXT NOT NULL, kind TEXT, label TEXT, label_confidence REAL,
    space TEXT, modality TEXT, image_url TEXT, document_url TEXT,
    name TEXT, title TEXT, description TEXT, text TEXT, vector BLOB,
    UNIQUE (item_id, hour)
);
CREATE INDEX entry_hour ON entry (hour);
CREATE INDEX entry_space ON entry (space, modality, is_current) WHERE space IS NOT NULL;
CREATE INDEX entry_twin ON entry (twin) WHERE is_current = 1;
CREATE VIEW current_entry AS
    SELECT entry_id, name, label, title, description, text FROM entry WHERE is_current = 1;
CREATE VIRTUAL TABLE keyword USING fts5 (
    name, label, title, description, text,
    content = 'current_entry', content_rowid = 'entry_id',
    tokenize = 'porter unicode61 remove_diacritics 2'
);
CREATE TABLE vector_file (
    space TEXT NOT NULL, modality TEXT NOT NULL, file TEXT NOT NULL,
    PRIMARY KEY (space, modality)
);
"""


@contextmanager
def snapshot(root: Path) -> Iterator[sqlite3.Connection | None]:
    """A reading connection that sees one state throughout; None where there is no index.

    Raises `IndexDamaged` for a database that SQLite cannot read.
    """
    path = root / DATABASE
    if not path.exists():
        yield None
        return
    try:
        with closing(_connect(path)) as connection:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("BEGIN")
            yield connection
    except sqlite3.DatabaseError as error:
        raise IndexDamaged(str(path), str(error)) from error


@contextmanager
def only_writer(root: Path) -> Iterator[None]:
    """Wait until no other thread or process writes here, and keep them waiting."""
    root.mkdir(parents=True, exist_ok=True)
    # SQLite's own lock gives up after a timeout and does not cover the files beside the database.
    with (root / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def transaction(root: Path) -> Iterator[sqlite3.Connection]:
    """A writing connection that commits at the end, and changes nothing on an exception.

    Creates the index where there is none. To be called by the only writer.
    """
    path = root / DATABASE
    if not path.exists():
        _create(path)
    with closing(_connect(path)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        connection.execute("COMMIT")


def _create(path: Path) -> None:
    # Made aside, so that no reader meets a database without tables.
    aside = path.with_name(f"{path.name}.new")
    for leftover in path.parent.glob(f"{aside.name}*"):
        leftover.unlink()
    with closing(sqlite3.connect(aside)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(SCHEMA)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    aside.rename(path)


def _connect(path: Path) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode=rw"  # never makes an empty database
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("PRAGMA synchronous = FULL")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != SCHEMA_VERSION:
        connection.close()
        reason = f"its schema has version {version}, this program needs {SCHEMA_VERSION}"
        raise IndexDamaged(str(path), reason)
    return connection
