"""Where Dagster's own state goes, and that its first start is safe."""

import multiprocessing
import os
import shutil
import sqlite3
import threading
from contextlib import closing
from multiprocessing.synchronize import Barrier
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import dagster as dg
import pytest
from sqlalchemy import QueuePool

from pipeline_assets.automation.storage import dagster_root, ensure_storage, storage_url
from pipeline_assets.errors import SettingsError, StorageError
from pipeline_assets.settings import Settings, load_settings
from pipeline_assets_tests import REPOSITORY
from pipeline_assets_tests.lengths import HANG_S
from pipeline_assets_tests.postgres import Postgres, Stoppable

DAGSTER_YAML = REPOSITORY / "dagster.yaml"
STARTERS = 8


@pytest.fixture(params=["sqlite", "postgresql"])
def home(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DAGSTER_HOME with our dagster.yaml and nothing else; the data root is elsewhere."""
    url = ""
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        url = server.schema_url()
    return made_home(tmp_path, monkeypatch, url)


def made_home(folder: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> Path:
    """A home whose storage is in the database of `url`."""
    home = folder / "home"
    home.mkdir()
    shutil.copy(DAGSTER_YAML, home)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.setenv("PIPELINE_DATA", str(folder / "data"))
    monkeypatch.setenv("PIPELINE_DAGSTER_STORAGE_URL", url)
    return home


def with_url(url: str) -> Settings:
    """Settings that name this database for Dagster."""
    return cast("Settings", SimpleNamespace(dagster_storage_url=url))


def never(folder: Path) -> None:
    """For a storage that must not be made."""
    pytest.fail(f"{folder} is made again")


@dg.asset
def talkative() -> None:
    """Something that leaves a log."""
    print("a line for the compute log")


def test_everything_is_written_under_the_data_root(home: Path, tmp_path: Path) -> None:
    """Runs, events and what steps print: nothing lands in DAGSTER_HOME."""
    with dg.DagsterInstance.get() as instance:
        assert dg.materialize([talkative], instance=instance).success
        assert instance.get_runs_count() == 1
    assert [path.name for path in home.iterdir()] == ["dagster.yaml"]
    logs = [path.read_text() for path in (tmp_path / "data/dagster/storage").rglob("*.out")]
    assert logs == ["a line for the compute log\n"]


def test_what_one_process_wrote_the_next_one_finds(home: Path) -> None:
    """The storage is kept, not made anew."""
    assert home.exists()
    with dg.DagsterInstance.get() as instance:
        dg.materialize([talkative], instance=instance)
    with dg.DagsterInstance.get() as instance:
        assert instance.get_latest_materialization_event(talkative.key) is not None


def open_instance(environment: dict[str, str], together: Barrier, answers: Any) -> None:
    """Open the instance at the same moment as the others; answer with its schema versions."""
    os.environ.update(environment)
    together.wait(HANG_S)
    with dg.DagsterInstance.get() as instance:
        storages = (instance.run_storage, instance.event_log_storage, instance.schedule_storage)
        answers.put([storage.alembic_version() for storage in storages if storage])


def test_eight_processes_may_open_an_empty_home_at_once(home: Path, tmp_path: Path) -> None:
    """All of them work, on an empty folder as on an empty database; there is one schema version."""
    environment = {
        "DAGSTER_HOME": str(home),
        "PIPELINE_DATA": str(tmp_path / "data"),
        "PIPELINE_DAGSTER_STORAGE_URL": os.environ["PIPELINE_DAGSTER_STORAGE_URL"],
    }
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pipeline_assets.automation.storage"])
    together, answers = context.Barrier(STARTERS), context.Queue()
    processes = [
        context.Process(target=open_instance, args=(environment, together, answers))
        for _ in range(STARTERS)
    ]
    for process in processes:
        process.start()
    versions = [answers.get(timeout=HANG_S) for _ in processes]
    for process in processes:
        process.join(HANG_S)
    assert [process.exitcode for process in processes] == [0] * STARTERS
    assert {version for answer in versions for version in answer} == {versions[0][0]}
    current, latest = versions[0][0]
    assert current == latest


def test_schedules_and_cursors_are_kept(home: Path) -> None:
    """The third storage, beside runs and events."""
    assert home.exists()
    with dg.DagsterInstance.get() as instance:
        assert instance.schedule_storage is not None
        assert list(instance.schedule_storage.all_instigator_state()) == []
        instance.daemon_cursor_storage.set_cursor_values({"where": "here"})
        assert instance.daemon_cursor_storage.get_cursor_values({"where"}) == {"where": "here"}


def test_a_restart_of_the_database_is_survived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_postgres: Stoppable
) -> None:
    """An open instance goes on, and one that is opened while the server is away waits for it."""
    made_home(tmp_path, monkeypatch, own_postgres.postgres.schema_url())
    opened: list[int] = []

    def open_now() -> None:
        with dg.DagsterInstance.get() as instance:
            opened.append(instance.get_runs_count())

    with dg.DagsterInstance.get() as instance:
        dg.materialize([talkative], instance=instance)
        own_postgres.stop()
        opening = threading.Thread(target=open_now)
        opening.start()
        own_postgres.start()
        opening.join(HANG_S)
        dg.materialize([talkative], instance=instance)
        assert instance.get_runs_count() == 2
    assert opened == [1]


def test_a_restart_of_the_database_costs_the_webserver_no_page(
    own_postgres: Stoppable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps connections open, where others open one for each query."""
    made_home(tmp_path, monkeypatch, own_postgres.postgres.schema_url())
    with dg.DagsterInstance.get() as instance:
        instance.optimize_for_webserver(
            statement_timeout=15_000, pool_recycle=3600, max_overflow=20
        )
        assert look_at_all(instance) == (0, [], [])
        own_postgres.stop()
        own_postgres.start()
        assert look_at_all(instance) == (0, [], [])


def look_at_all(instance: dg.DagsterInstance) -> tuple[int, list[Any], list[Any]]:
    """Something of each of the three storages: no runs, no schedules and sensors, no assets."""
    return (
        instance.get_runs_count(),
        list(instance.all_instigator_state()),
        list(instance.all_asset_keys()),
    )


def test_a_first_start_that_was_killed_is_made_anew(tmp_path: Path) -> None:
    """What it left half-done is never opened."""

    def killed(folder: Path) -> None:
        folder.mkdir()
        (folder / "half").touch()
        raise KeyboardInterrupt

    def complete(folder: Path) -> None:
        folder.mkdir()
        (folder / "whole").touch()

    with pytest.raises(KeyboardInterrupt):
        ensure_storage(tmp_path, killed)
    assert not (tmp_path / "sqlite").exists()
    ready = ensure_storage(tmp_path, complete)
    assert [path.name for path in ready.iterdir()] == ["whole"]


def test_a_complete_storage_is_not_made_again(tmp_path: Path) -> None:
    """Every start but the first leaves it alone."""
    ready = ensure_storage(tmp_path, lambda folder: folder.mkdir())
    assert ensure_storage(tmp_path, never) == ready


def test_a_data_root_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    """The path is named."""
    (tmp_path / "data").touch()
    with pytest.raises(StorageError, match=r"cannot write .*/data/dagster"):
        ensure_storage(tmp_path / "data" / "dagster", never)


def test_without_a_url_it_is_sqlite_under_the_data_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The embedded default; the path does not depend on where later commands run."""
    monkeypatch.chdir(tmp_path)
    settings = load_settings(data=Path("data"))
    assert storage_url(settings) == ""
    assert dagster_root(settings) == tmp_path / "data" / "dagster"


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg2"])
def test_a_postgresql_url_gets_the_driver_that_is_installed(scheme: str) -> None:
    """Plain postgresql:// would mean psycopg 3; the password stays as it is."""
    url = f"{scheme}://me:p%40ss@db:5432/dagster?connect_timeout=9"
    expected = "postgresql+psycopg2://me:p%40ss@db:5432/dagster?connect_timeout=9"
    assert storage_url(with_url(url)) == expected


def test_a_server_that_never_answers_is_not_waited_for_without_end() -> None:
    """Whatever else the URL says stays."""
    expected = "postgresql+psycopg2://db/dagster?connect_timeout=5&sslmode=require"
    assert storage_url(with_url("postgresql://db/dagster?sslmode=require")) == expected


def test_a_pool_tries_its_connections_once_however_often_the_storage_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres: Postgres
) -> None:
    """A listener more for each would slow every read of a process that opens it again and again."""
    made_home(tmp_path, monkeypatch, postgres.schema_url())
    for _time in range(3):
        with dg.DagsterInstance.get():
            pass
    said: list[str] = []

    def connect() -> Any:
        connection = sqlite3.connect(":memory:")
        connection.set_trace_callback(said.append)
        return connection

    with closing(QueuePool(connect).connect()):
        assert said.count("SELECT 1") == 1


@pytest.mark.parametrize(
    "url",
    ["mysql://me:secret@db/dagster", "sqlite:///dagster.db", "postgresql+psycopg://db/x", "db"],
)
def test_another_database_is_refused_without_showing_the_password(url: str) -> None:
    """The message names the setting and what is allowed."""
    with pytest.raises(SettingsError, match="PIPELINE_DAGSTER_STORAGE_URL") as caught:
        storage_url(with_url(url))
    assert "secret" not in str(caught.value)
    assert "postgresql://" in str(caught.value)
