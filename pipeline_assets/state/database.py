"""The state database: what several processes must agree on, on one clock.

Each table stands beside the store that keeps it. SQLite serves one host, PostgreSQL many.
Everything but breaker memory, what today has cost and people's decisions can be lost without
losing a row: the tables of the data root carry all that matters.
"""

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from pipeline_assets.errors import SettingsError, StorageError, without_secrets

metadata = sa.MetaData()
"""Every table of the state database. A store that is imported later than a `State` is opened has
no tables in it: `resources` imports them all."""

facts = sa.Table(
    "facts",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("value", sa.JSON, nullable=False),
)

BORN = "born"
"""The fact that every state database has from its first run on."""

SQLITE_BUSY_TIMEOUT_S = 30.0
RESTART_S, RECONNECT_EVERY_S = 20.0, 0.25
RESTARTING = ("starting up", "shutting down", "Connection refused", "No such file or directory")
"""What is said of a server that may be back in a moment; a wrong password will not be right."""

SQLITE_PRIMARY = 0xFF
"""The bits of an error code that say what it is; the others say where."""


class State:
    """A connection pool to the state database, its tables made if they are missing.

    `clock` replaces the database's clock in tests; it gives seconds since the epoch.
    Raises `SettingsError` where the URL cannot be used.
    """

    def __init__(self, url: str | sa.URL, *, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock
        try:
            parsed = sa.make_url(url)
            if parsed.get_backend_name() == "sqlite":
                _make_folder(parsed.database)
            self.engine = _engine(parsed)
            self._create_tables()
        except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ImportError) as error:
            raise SettingsError(
                "PIPELINE_STATE_URL", url, f"not an SQLAlchemy URL: {error}"
            ) from None
        except sa.exc.OperationalError as error:
            raise SettingsError(
                "PIPELINE_STATE_URL", url, f"cannot connect: {without_secrets(str(error.orig))}"
            ) from None

    def _create_tables(self) -> None:
        with self.transaction() as connection:
            if self.engine.dialect.name == "postgresql":
                # Two processes that create the same table at once collide in the catalogue.
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(720401)"))
            _add_what_is_missing(connection)
            metadata.create_all(connection)

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """One write transaction; on SQLite it takes the write lock at once."""
        with _refusals(self.engine.url), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection for single reads; on SQLite it takes no lock that a writer waits for."""
        options = {"isolation_level": "AUTOCOMMIT"}
        with (
            _refusals(self.engine.url),
            self.engine.connect().execution_options(**options) as connection,
        ):
            yield connection

    def now(self, connection: sa.Connection) -> float:
        """Seconds since the epoch, on the database's clock."""
        if self._clock is not None:
            return self._clock()
        if self.engine.dialect.name == "postgresql":
            query = "SELECT extract(epoch FROM clock_timestamp())"
            return float(connection.execute(sa.text(query)).scalar_one())
        return time.time()  # SQLite is a library of this host: its clock is the host's

    def upsert(
        self,
        connection: sa.Connection,
        table: sa.Table,
        rows: Sequence[Mapping[str, Any]],
        *,
        newer: str | None = None,
    ) -> None:
        """Write rows in place of those with the same primary key.

        Only the columns that are given change. With `newer`, a row that is there stays where its
        value in this column is greater.
        """
        if not rows:
            return
        new, key = self._insert(table), list(table.primary_key)
        changed = {
            column.name: new.excluded[column.name]
            for column in table.columns
            if column.name in rows[0] and not column.primary_key
        }
        older = None if newer is None else new.excluded[newer] >= table.c[newer]
        connection.execute(
            new.on_conflict_do_update(index_elements=key, set_=changed, where=older), rows
        )

    def add_missing(self, connection: sa.Connection, table: sa.Table, **row: Any) -> bool:
        """Add a row unless its primary key is there already; whether it was added.

        A row that is not there cannot be locked: whoever wants to change one alone adds it first.
        """
        statement = self._insert(table).on_conflict_do_nothing(
            index_elements=list(table.primary_key)
        )
        return bool(connection.execute(statement, row).rowcount)

    def _insert(self, table: sa.Table) -> Any:
        """An INSERT that can be told what to do on conflict, for either database."""
        if self.engine.dialect.name == "postgresql":
            return postgresql.insert(table)
        return sqlite.insert(table)

    def fact(self, name: str) -> Any:
        """A remembered JSON value, or None."""
        with self.reading() as connection:
            return connection.execute(
                sa.select(facts.c.value).where(facts.c.name == name)
            ).scalar_one_or_none()

    def facts_under(self, prefix: str) -> dict[str, Any]:
        """The remembered values whose names begin with `prefix`, by what follows it."""
        begins = sa.func.substr(facts.c.name, 1, len(prefix)) == prefix
        query = sa.select(facts.c.name, facts.c.value).where(begins).order_by(facts.c.name)
        with self.reading() as connection:
            found = connection.execute(query)
            return {name.removeprefix(prefix): value for name, value in found}

    def remember(self, name: str, value: Any) -> None:
        """Keep a JSON value under a name."""
        with self.transaction() as connection:
            self.upsert(connection, facts, [{"name": name, "value": value}])

    def forget(self, name: str) -> None:
        """Drop a remembered value."""
        with self.transaction() as connection:
            connection.execute(sa.delete(facts).where(facts.c.name == name))

    def drop_items(self, items: Iterable[str]) -> int:
        """Remove the rows about items from every table that has such; how many there were."""
        with self.transaction() as connection:
            return sum(
                connection.execute(sa.delete(table).where(about)).rowcount
                for table, about in _about(items)
            )

    def count_items(self, items: Iterable[str]) -> int:
        """How many rows are about items."""
        with self.reading() as connection:
            return sum(
                connection.execute(
                    sa.select(sa.func.count()).select_from(table).where(about)
                ).scalar_one()
                for table, about in _about(items)
            )

    def scrub(self) -> bool:
        """Leave nothing in the files of SQLite of what was deleted; a server sees to its own.

        False where somebody read for so long that the log could not be emptied.
        """
        if self.engine.dialect.name != "sqlite":
            return True
        with self.reading() as connection:
            connection.exec_driver_sql("VACUUM")
            busy, *_pages = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
            return not busy

    def close(self) -> None:
        """Close the pool."""
        self.engine.dispose()


def _about(items: Iterable[str]) -> Iterator[tuple[sa.Table, sa.ColumnElement[bool]]]:
    named = list(items)
    for table in metadata.sorted_tables:
        if "item_id" in table.c:
            yield table, table.c.item_id.in_(named)


def _add_what_is_missing(connection: sa.Connection) -> None:
    """Give an older version's tables the columns and indexes that they do not have.

    A new column is null in the old rows, and no older version of ours minds it.
    """
    present = sa.inspect(connection).get_multi_columns()
    for (_schema, name), columns in present.items():
        table = metadata.tables.get(name)
        known = {column["name"] for column in columns}
        missing = [] if table is None else [c for c in table.columns if c.name not in known]
        for column in missing:
            added = sa.schema.CreateColumn(column).compile(dialect=connection.dialect)
            connection.exec_driver_sql(f"ALTER TABLE {name} ADD COLUMN {added}")
        for index in table.indexes if table is not None else ():
            index.create(connection, checkfirst=True)


@contextmanager
def _refusals(url: sa.URL) -> Iterator[None]:
    """A disk that refuses SQLite is no different from one that refuses a table."""
    try:
        yield
    except sa.exc.OperationalError as error:
        code = getattr(error.orig, "sqlite_errorcode", sqlite3.SQLITE_OK)
        if code & SQLITE_PRIMARY in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            raise StorageError(str(url.database), str(error.orig)) from error
        raise


def _make_folder(database: str | None) -> None:
    if not database or database == ":memory:":
        return
    try:
        Path(database).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(database, error.strerror or str(error)) from error


def _engine(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() != "sqlite":
        engine = sa.create_engine(url, pool_pre_ping=True)
        sa.event.listen(engine, "do_connect", _connect_patiently)
        return engine
    # The driver begins nothing by itself: `_sqlite_begin` does.
    connect = {"timeout": SQLITE_BUSY_TIMEOUT_S, "isolation_level": None}
    engine = sa.create_engine(url, connect_args=connect)
    sa.event.listen(engine, "connect", _sqlite_pragmas)
    sa.event.listen(engine, "begin", _sqlite_begin)
    return engine


def _connect_patiently(dialect: Any, _record: Any, args: Any, options: Any) -> Any:
    """Connect to a server, waiting for one that is being started again."""
    deadline = time.monotonic() + RESTART_S
    while True:
        try:
            return dialect.connect(*args, **options)
        except dialect.loaded_dbapi.OperationalError as error:
            if time.monotonic() > deadline or not any(sign in str(error) for sign in RESTARTING):
                raise
            time.sleep(RECONNECT_EVERY_S)


def _sqlite_pragmas(connection: Any, _record: Any) -> None:
    _into_wal(connection)
    connection.execute("PRAGMA synchronous=NORMAL")


def _into_wal(connection: sqlite3.Connection) -> None:
    """Of those who open an empty database at once, each may hold what another needs for this.

    SQLite then refuses without waiting, since waiting would not help.
    """
    deadline = time.monotonic() + SQLITE_BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            is_busy = error.sqlite_errorcode & SQLITE_PRIMARY == sqlite3.SQLITE_BUSY
            if not is_busy or time.monotonic() > deadline:
                raise
            time.sleep(RECONNECT_EVERY_S)
        else:
            return


def _sqlite_begin(connection: sa.Connection) -> None:
    if connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
        return
    # A deferred transaction that reads and then writes fails at once when another wrote between.
    connection.exec_driver_sql("BEGIN IMMEDIATE")
