"""The state database: what several processes must agree on, on one clock.

Breakers, leases, budgets and pauses, the accelerator's injected fault and health memory, results
kept by key, where earlier copies of a URL lie, from when on a host may be asked, and which hours
may be better, asked for or not. SQLite serves one host, PostgreSQL many. Everything but breaker
memory, what today has cost and people's decisions can be lost without losing a row: the tables
carry all that matters.
"""

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from pipeline_assets.errors import SettingsError, StorageError, without_secrets

metadata = sa.MetaData()

facts = sa.Table(
    "facts",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("value", sa.JSON, nullable=False),
)
breakers = sa.Table(
    "breakers",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("state", sa.JSON, nullable=False),
    sa.Column("updated_at", sa.Double, nullable=False),
)
breaker_events = sa.Table(
    "breaker_events",
    metadata,
    # A generation begins with one transition: the key keeps a second one out.
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("generation", sa.BigInteger, primary_key=True),
    sa.Column("at", sa.Double, nullable=False, index=True),
    sa.Column("from_mode", sa.String, nullable=False),
    sa.Column("to_mode", sa.String, nullable=False),
    sa.Column("reason", sa.String, nullable=False),
)
leases = sa.Table(
    "leases",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("token", sa.BigInteger, nullable=False),
    sa.Column("owner", sa.String, nullable=False),
    sa.Column("expires_at", sa.Double, nullable=False),
)
results = sa.Table(
    "results",
    metadata,
    sa.Column("key", sa.String, primary_key=True),
    sa.Column("value", sa.LargeBinary, nullable=False),
    sa.Column("kept_at", sa.Double, nullable=False, index=True),
)
copies = sa.Table(
    "copies",
    metadata,
    sa.Column("url", sa.String, primary_key=True),
    sa.Column("pack", sa.String, nullable=False),
    sa.Column("offset", sa.BigInteger, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.String, nullable=False, index=True),
    sa.Column("content_type", sa.String),
    sa.Column("fetched_at", sa.Double, nullable=False),
    sa.Column("etag", sa.String),
    sa.Column("last_modified", sa.String),
)
host_turns = sa.Table(
    "host_turns",
    metadata,
    sa.Column("host", sa.String, primary_key=True),
    sa.Column("due", sa.Double),  # the next request, where the host has a rate
    sa.Column("not_before", sa.Double),  # what it asked for in Retry-After
)
decisions = sa.Table(
    "decisions",
    metadata,
    sa.Column("hour", sa.String, primary_key=True),
    sa.Column("stage", sa.String, primary_key=True),
    sa.Column("item_id", sa.String, primary_key=True),
    sa.Column("role", sa.String, primary_key=True),  # "" where the stage has none
    sa.Column("verdict", sa.String, nullable=False),
    sa.Column("why", sa.String, nullable=False),
    sa.Column("made_at", sa.Double, nullable=False),
    sa.Column("input", sa.String, nullable=False),
    sa.Column("seen", sa.Double, nullable=False),
)
spending = sa.Table(
    "spending",
    metadata,
    sa.Column("day", sa.Date, primary_key=True),
    sa.Column("stage", sa.String, primary_key=True),
    sa.Column("usd", sa.Double, nullable=False),
)
retry_buckets = sa.Table(
    "retry_buckets",
    metadata,
    sa.Column("stage", sa.String, primary_key=True),
    sa.Column("credit", sa.BigInteger, nullable=False),
)
pauses = sa.Table(
    "pauses",
    metadata,
    sa.Column("stage", sa.String, primary_key=True),
    sa.Column("who", sa.String, nullable=False),
    sa.Column("why", sa.String, nullable=False),
    sa.Column("since", sa.Double, nullable=False),
)
hours = sa.Table(
    "hours",
    metadata,
    sa.Column("hour", sa.String, primary_key=True),
    sa.Column("items", sa.BigInteger, nullable=False),
    sa.Column("quality_mean", sa.Double),
    sa.Column("improvable", sa.BigInteger, nullable=False),
    sa.Column("improvable_accelerated", sa.BigInteger, nullable=False),
    sa.Column("next_retry_at", sa.Double),
    sa.Column("by_priority", sa.JSON, nullable=False),
    sa.Column("accelerated_due_at", sa.Double),
    sa.Column("accelerated_priority", sa.String),
    sa.Column("other_due_at", sa.Double),
    sa.Column("other_priority", sa.String),
    sa.Column("updated_at", sa.Double, nullable=False),
)
heal_requests = sa.Table(
    "heal_requests",
    metadata,
    sa.Column("asked_by", sa.String, primary_key=True),
    sa.Column("hour", sa.String, primary_key=True),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("asked_at", sa.Double, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("in_vain", sa.BigInteger, nullable=False),
    sa.Column("outcome", sa.String),  # null: its run is not at its end
    sa.Column("ended_at", sa.Double),
)
feed_hours = sa.Table(
    "feed_hours",
    metadata,
    sa.Column("hour", sa.String, primary_key=True),
    sa.Column("digest", sa.String, nullable=False),
    sa.Column("standing", sa.String, nullable=False, index=True),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("since", sa.Double, nullable=False),
)
feed_files = sa.Table(
    "feed_files",
    metadata,
    sa.Column("path", sa.String, primary_key=True),
    sa.Column("version", sa.String, nullable=False),
    sa.Column("contents", sa.LargeBinary, nullable=False),
    sa.Column("problem", sa.String),  # null: it was read to its end
    sa.Column("lost", sa.BigInteger, nullable=False),
    sa.Column("looked_at", sa.Double, nullable=False),
)
alerts = sa.Table(
    "alerts",
    metadata,
    sa.Column("key", sa.String, primary_key=True),
    sa.Column("alert", sa.JSON, nullable=False),
    sa.Column("stands", sa.Boolean, nullable=False),
    sa.Column("untold", sa.Integer, nullable=False),
    sa.Column("said", sa.JSON, nullable=False),
)
alert_outbox = sa.Table(
    "alert_outbox",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("notifier", sa.String, nullable=False, index=True),
    sa.Column("alert", sa.JSON, nullable=False),
)

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

    def __init__(self, url: str, *, clock: Callable[[], float] | None = None) -> None:
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

    def insert(self, table: sa.Table) -> Any:
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
        statement = self.insert(facts).values(name=name, value=value)
        with self.transaction() as connection:
            connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["name"], set_={"value": statement.excluded.value}
                )
            )

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
