"""The SQLite side of the index: one row per item and hour, and which of them are current.

A writer changes everything in one transaction; readers, who are in `readers`, work on a snapshot
(WAL), so that they see the index before a change or after it.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from pipeline_assets.search.errors import IndexDamaged
from pipeline_assets.store.files import sync_file, sync_folder

DATABASE = "index.db"
SCHEMA_VERSION = 2
BUSY_TIMEOUT_S = 30.0
SETTINGS = (
    "temp_store = MEMORY", "synchronous = FULL", "foreign_keys = ON", "mmap_size = 1073741824",
    "journal_size_limit = 1048576",  # of a log that is there as long as readers wait
)  # fmt: skip

# What ranking and filters read is apart from texts and vectors: ten times as many rows a page.
# The keyword index has the current entries only, hence a view as its content: superseded texts
# neither match nor count in BM25.
SCHEMA = """
CREATE TABLE entry (
    entry_id INTEGER PRIMARY KEY,
    item_id TEXT NOT NULL, hour TEXT NOT NULL, event_us INTEGER NOT NULL,
    is_current INTEGER NOT NULL DEFAULT 0,
    digest BLOB NOT NULL, twin BLOB NOT NULL,
    quality REAL, status TEXT NOT NULL, stages TEXT NOT NULL,
    kind TEXT, label TEXT, label_confidence REAL, name_key TEXT NOT NULL,
    UNIQUE (item_id, hour)
);
CREATE INDEX entry_hour ON entry (hour);
CREATE INDEX entry_name ON entry (name_key) WHERE is_current = 1;
CREATE INDEX entry_twin ON entry (twin) WHERE is_current = 1;
CREATE TABLE content (
    entry_id INTEGER PRIMARY KEY REFERENCES entry ON DELETE CASCADE,
    image_url TEXT, document_url TEXT, factors TEXT,
    name TEXT, title TEXT, description TEXT, text TEXT
);
CREATE TABLE vector (
    vector_id INTEGER PRIMARY KEY AUTOINCREMENT,
    entry_id INTEGER NOT NULL UNIQUE REFERENCES entry ON DELETE CASCADE,
    is_live INTEGER NOT NULL, space TEXT NOT NULL, modality TEXT NOT NULL,
    digest BLOB NOT NULL, vector BLOB NOT NULL
);
CREATE INDEX vector_space ON vector (space, modality, is_live, vector_id);
CREATE TABLE vector_index (
    space TEXT NOT NULL, modality TEXT NOT NULL, version TEXT NOT NULL,
    file TEXT NOT NULL, kind TEXT NOT NULL, vectors INTEGER NOT NULL, last_vector INTEGER NOT NULL,
    ef_search INTEGER, recall REAL NOT NULL, mean BLOB NOT NULL,
    PRIMARY KEY (space, modality)
);
CREATE TABLE tombstone (
    space TEXT NOT NULL, modality TEXT NOT NULL, vector_id INTEGER NOT NULL,
    PRIMARY KEY (space, modality, vector_id)
) WITHOUT ROWID;
CREATE TABLE total (items INTEGER NOT NULL);
INSERT INTO total VALUES (0);
CREATE VIEW current_entry AS
    SELECT entry_id, name, label, title, description, text
    FROM entry JOIN content USING (entry_id) WHERE is_current = 1;
CREATE VIRTUAL TABLE keyword USING fts5 (
    name, label, title, description, text,
    content = 'current_entry', content_rowid = 'entry_id',
    tokenize = 'porter unicode61 remove_diacritics 2'
);
"""


@contextmanager
def transaction(folder: Path) -> Iterator[sqlite3.Connection]:
    """A writing connection that commits at the end, and changes nothing on an exception.

    To be called by the only writer.
    """
    with closing(connect(folder / DATABASE)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        connection.execute("COMMIT")


def create(folder: Path) -> None:
    """An index without entries in the empty `folder`."""
    with closing(sqlite3.connect(folder / DATABASE)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(SCHEMA)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


@contextmanager
def building(folder: Path) -> Iterator[sqlite3.Connection]:
    """A connection that fills a new index in one go; durable at the end, worthless before it."""
    create(folder)
    with closing(connect(folder / DATABASE)) as connection:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL")
    sync_file(folder / DATABASE)
    sync_folder(folder)


def connect(path: Path) -> sqlite3.Connection:
    """A connection to the database at `path`, for one thread at a time.

    Raises `IndexDamaged` for another schema.
    """
    uri = f"{path.absolute().as_uri()}?mode=rw"  # never makes an empty database
    connection = sqlite3.connect(
        uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    try:
        for setting in SETTINGS:
            connection.execute(f"PRAGMA {setting}")
        _check_version(path, connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _check_version(path: Path, connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != SCHEMA_VERSION:
        reason = f"its schema has version {version}, this program needs {SCHEMA_VERSION}"
        raise IndexDamaged(str(path), reason)
