"""Where Dagster keeps its own state: SQLite under the data root, or a PostgreSQL database.

`dagster.yaml` names the three classes below, so that one file serves both databases and nothing
is written beside it, wherever DAGSTER_HOME points.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, ClassVar

from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.utils import retry_pg_connection_fn
from sqlalchemy import NullPool, QueuePool, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DisconnectionError

# Dagster marks both as public and names them in its own dagster.yaml reference, but re-exports
# neither, and accepts only their subclasses; the tests open a real instance with them.
from pipeline_assets.automation.dagster_internals import (
    LocalArtifactStorage,
    LocalComputeLogManager,
)
from pipeline_assets.errors import SettingsError, StorageError
from pipeline_assets.logs import configure_services
from pipeline_assets.settings import ENV_PREFIX, Settings, load_settings
from pipeline_assets.store.files import locked

URL_FIELD = "dagster_storage_url"
DRIVER = "postgresql+psycopg2"  # plain postgresql:// means psycopg 3 since SQLAlchemy 2.1
ACCEPTED_DRIVERS = ("postgresql", DRIVER)
CONNECT_TIMEOUT, CONNECT_TIMEOUT_S = "connect_timeout", "5"
"""Without one, a server that accepts connections and never answers is waited for without end."""

FIRST_START_LOCK = 7_205_113_642  # a PostgreSQL advisory lock is known by its number alone


def dagster_root(settings: Settings) -> Path:
    """The folder of everything that Dagster writes on this host."""
    return (settings.folder / "dagster").absolute()


def storage_url(settings: Settings) -> str:
    """The PostgreSQL URL of Dagster's storage, with its driver and a timeout; empty: SQLite.

    Raises `SettingsError` for any other database.
    """
    url = settings.dagster_storage_url
    if not url:
        return ""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise _not_usable(url) from None
    if parsed.drivername not in ACCEPTED_DRIVERS:
        raise _not_usable(url)
    if CONNECT_TIMEOUT not in parsed.query:
        parsed = parsed.update_query_dict({CONNECT_TIMEOUT: CONNECT_TIMEOUT_S})
    return parsed.set(drivername=DRIVER).render_as_string(hide_password=False)


def _not_usable(url: str) -> SettingsError:
    allowed = "postgresql://user:password@host/database; or empty, for SQLite under the data root"
    return SettingsError((ENV_PREFIX + URL_FIELD).upper(), url, allowed)


def ensure_storage(root: Path, create: Callable[[Path], None]) -> Path:
    """The folder `root/sqlite` with a complete SQLite storage; `create(folder)` makes it, once.

    Several processes that let Dagster fill an empty folder at the same time can leave it with two
    schema heads, and one killed on the way leaves half a schema: both for good. So the first one
    builds aside, under a file lock, and renames: the folder is there only when it is complete.
    """
    ready = root / "sqlite"
    if ready.exists():
        return ready
    try:
        with locked(root / "first-start.lock"):
            if not ready.exists():
                aside = root / "sqlite.new"
                if aside.exists():
                    shutil.rmtree(aside)
                create(aside)
                aside.rename(ready)
    except OSError as error:
        raise StorageError(str(root), str(error)) from error
    return ready


@contextmanager
def _database_locked(url: str) -> Iterator[None]:
    """Hold back other processes that would fill an empty database at the same time.

    Dagster tries again after a collision, but not after every kind: without this, one of eight
    processes failed to start in one trial of three. A server that is being started again is waited
    for, some ten seconds, as everywhere in Dagster.
    """
    engine = create_engine(url, poolclass=NullPool)
    with closing(retry_pg_connection_fn(engine.connect)) as connection, connection.begin():
        connection.execute(
            text("SELECT pg_advisory_xact_lock(:number)"), {"number": FIRST_START_LOCK}
        )
        yield


def _tried_before_use(connection: Any, _record: Any, _given_out: Any) -> None:
    """Have the pool replace a connection that the server has dropped.

    The webserver keeps some open, and makes their pools where no argument of ours reaches: without
    this, the first pages after a restart of the server are errors.
    """
    try:
        with closing(connection.cursor()) as cursor:
            cursor.execute("SELECT 1")
        connection.rollback()  # psycopg2 has begun a transaction
    except connection.Error as error:
        raise DisconnectionError(str(error)) from error


class EnvironmentStorage(DagsterPostgresStorage):
    """Dagster's runs, events and schedules, in the database that the settings name.

    Its own configuration is empty, so that no password is in the instance description that
    Dagster hands to its child processes on their command line.
    """

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Nothing to configure: the settings decide."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Mapping[str, Any]) -> Any:  # noqa: ARG003 - Dagster's signature
        """A `DagsterPostgresStorage` or a `DagsterSqliteStorage`."""
        settings = load_settings()
        configure_services()  # the daemon and the webserver load little else
        if url := storage_url(settings):
            # Once a process, whatever number of instances it opens.
            if not event.contains(QueuePool, "checkout", _tried_before_use):
                event.listen(QueuePool, "checkout", _tried_before_use)
            with _database_locked(url):
                return DagsterPostgresStorage(url, inst_data=inst_data)
        folder = ensure_storage(
            dagster_root(settings), lambda aside: _open_sqlite(aside, inst_data).dispose()
        )
        return _open_sqlite(folder, inst_data)


def _open_sqlite(folder: Path, inst_data: Any) -> Any:
    # By the name that dagster.yaml would use: Dagster exports the class nowhere else.
    description = type(inst_data)(
        "dagster.core.storage.sqlite_storage",
        "DagsterSqliteStorage",
        json.dumps({"base_dir": str(folder)}),  # which is YAML as well
    )
    return description.rehydrate()


class _UnderDataRoot:
    """Something of Dagster's that is a folder under the data root rather than in DAGSTER_HOME."""

    folder: ClassVar[str]

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Nothing to configure: the settings decide."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Mapping[str, Any]) -> Any:  # noqa: ARG003 - Dagster's signature
        """The one for `{data}/dagster`."""
        make: Callable[..., Any] = cls  # which is one of Dagster's classes, too
        return make(str(dagster_root(load_settings()) / cls.folder), inst_data=inst_data)


class DataRootArtifacts(_UnderDataRoot, LocalArtifactStorage):
    """Local artifacts."""

    folder = ""


class DataRootComputeLogs(_UnderDataRoot, LocalComputeLogManager):
    """What steps print."""

    folder = "storage"
