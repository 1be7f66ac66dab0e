"""The state database, on a real SQLite file and on a real PostgreSQL server."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipeline_assets.errors import SettingsError, StorageError
from pipeline_assets.settings import load_settings
from pipeline_assets.state.copies import copies
from pipeline_assets.state.database import State, facts
from pipeline_assets_tests.conftest import Clock
from pipeline_assets_tests.postgres import Postgres


@pytest.fixture
def state(database_url: str) -> Iterator[State]:
    """An open, empty state database."""
    opened = State(database_url)
    yield opened
    opened.close()


def test_a_fact_is_remembered_across_openings(database_url: str) -> None:
    """The tables are made on the first opening, and found on the second."""
    first = State(database_url)
    first.remember("seen", {"gpu": True, "hours": [1, 2]})
    first.close()
    second = State(database_url)
    assert second.fact("seen") == {"gpu": True, "hours": [1, 2]}
    second.close()


def test_the_folder_of_a_file_is_made(tmp_path: Path) -> None:
    """A data root need not be there before it is used."""
    State(f"sqlite:///{tmp_path / 'deep' / 'state.db'}").close()
    assert (tmp_path / "deep" / "state.db").exists()


def test_many_who_open_an_empty_database_at_once_all_can(database_url: str) -> None:
    """One of them makes the tables, the others find them."""
    together = threading.Barrier(8)

    def open_and_remember(number: int) -> None:
        together.wait()
        opened = State(database_url)
        opened.remember(f"from {number}", number)
        opened.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(open_and_remember, range(8)))
    state = State(database_url)
    assert [state.fact(f"from {number}") for number in range(8)] == list(range(8))
    state.close()


def test_a_fact_is_replaced_and_forgotten(state: State) -> None:
    """The latest value counts; what was never remembered is None, and so is what was forgotten."""
    state.remember("n", 1)
    state.remember("n", 2)
    assert state.fact("n") == 2
    state.forget("n")
    state.forget("never known")
    assert state.fact("n") is None


def test_facts_are_found_by_how_their_names_begin(state: State) -> None:
    """To the letter: no sign stands for others."""
    for name in ("a_%:one", "a_%:two:three", "A_%:other", "ab:other"):
        state.remember(name, name[-3:])
    assert state.facts_under("a_%:") == {"one": "one", "two:three": "ree"}


def test_a_failed_transaction_leaves_nothing(state: State) -> None:
    """All of it or none of it."""

    def half_of_it() -> None:
        with state.transaction() as connection:
            connection.execute(sa.insert(facts).values(name="half", value=1))
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        half_of_it()
    assert state.fact("half") is None


def test_threads_that_read_and_write_in_one_transaction_lose_no_update(state: State) -> None:
    """Who reads with a lock reads what nobody else is about to change."""
    state.remember("count", 0)

    def add_ten() -> None:
        for _ in range(10):
            with state.transaction() as connection:
                query = sa.select(facts.c.value).where(facts.c.name == "count").with_for_update()
                seen = connection.execute(query).scalar_one()
                connection.execute(
                    sa.update(facts).where(facts.c.name == "count").values(value=seen + 1)
                )

    threads = [threading.Thread(target=add_ten) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert state.fact("count") == 40


def test_a_reader_waits_for_no_writer(state: State) -> None:
    """It sees what was there before."""
    state.remember("n", 1)
    with state.transaction() as connection:
        connection.execute(sa.update(facts).values(value=2))
        assert state.fact("n") == 1
    assert state.fact("n") == 2


def test_the_clock_can_be_replaced(database_url: str) -> None:
    """Everything that waits can so be tested without waiting."""
    clock = Clock()
    state = State(database_url, clock=clock.seconds)
    with state.reading() as connection:
        before = state.now(connection)
        clock.advance(90)
        assert state.now(connection) - before == 90
    state.close()


def test_a_servers_clock_goes_on_within_a_transaction(postgres: Postgres) -> None:
    """What waited for a lock is judged by the time after the wait; two hosts ask one clock."""
    state = State(postgres.schema_url())
    with state.transaction() as connection:
        before = state.now(connection)
        connection.execute(sa.text("SELECT pg_sleep(0.01)"))
        assert state.now(connection) - before >= 0.01
    state.close()


def test_a_connection_that_the_server_ended_is_replaced(postgres: Postgres) -> None:
    """A restart of the server between two calls fails neither."""
    state = State(postgres.schema_url())
    with state.reading() as connection:
        pid = connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
    engine = sa.create_engine(postgres.url)
    with engine.begin() as admin:
        admin.execute(sa.text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
    engine.dispose()
    state.remember("n", 1)
    assert state.fact("n") == 1
    state.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("not a url", "not an SQLAlchemy URL"),
        ("nosuchdb://host/name", "not an SQLAlchemy URL"),
        ("sqlite:////proc/version", "cannot connect"),
        ("postgresql+psycopg2://user:hunter2@/db?host=/nowhere", "cannot connect"),
    ],
)
def test_an_unusable_url_names_the_setting(
    url: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says which setting to change and why."""
    monkeypatch.setattr("pipeline_assets.state.database.RESTART_S", 0.0)
    with pytest.raises(SettingsError, match="PIPELINE_STATE_URL") as caught:
        State(url)
    assert said in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    """A file in the way is said so."""
    (tmp_path / "deep").write_text("in the way")
    with pytest.raises(StorageError, match=r"state\.db"):
        State(f"sqlite:///{tmp_path / 'deep' / 'state.db'}")


def test_no_password_is_shown(tmp_path: Path) -> None:
    """A URL with a secret in it is named without the secret."""
    with pytest.raises(SettingsError) as caught:
        State(f"nosuchdb://user:hunter2@host/{tmp_path.name}")
    assert "hunter2" not in str(caught.value)


def test_an_older_versions_tables_get_what_they_do_not_have(database_url: str) -> None:
    """Columns, null in the old rows, and indexes; twice does no harm."""
    added = {"etag", "last_modified", "validated_url"}
    State(database_url).close()
    engine = sa.create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP INDEX ix_copies_sha256"))
        for column in sorted(added):
            connection.execute(sa.text(f"ALTER TABLE copies DROP COLUMN {column}"))
        connection.execute(sa.text("INSERT INTO copies VALUES ('u', 'p', 0, 1, 'ab', NULL, 0)"))
    for _ in range(2):
        state = State(database_url)
        with state.reading() as connection:
            (row,) = connection.execute(sa.select(copies)).all()
        state.close()
    assert (row.url, row.etag, row.last_modified) == ("u", None, None)
    assert [index["name"] for index in sa.inspect(engine).get_indexes("copies")] == [
        "ix_copies_sha256"
    ]
    engine.dispose()


@pytest.mark.parametrize("name", ["what?mode=memory", "a%20b", "a#b", "a@b:c"])
def test_a_data_root_has_its_state_in_it(tmp_path: Path, name: str) -> None:
    """Whatever its name would mean in a URL."""
    state = State(load_settings(data=tmp_path / name, state_url="").database_url)
    state.remember("a", 1)
    state.close()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name / "state.db").exists()
