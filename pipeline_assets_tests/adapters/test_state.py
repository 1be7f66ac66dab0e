"""The state database on a real SQLite file."""

import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipeline_assets.adapters.state import State, facts
from pipeline_assets.errors import SettingsError, StorageError
from pipeline_assets_tests.conftest import Clock


def url_of(folder: Path) -> str:
    """A database in a folder that need not be there."""
    return f"sqlite:///{folder / 'deep' / 'state.db'}"


def test_a_fact_is_remembered_across_openings(tmp_path: Path) -> None:
    """The folder and the tables are made on the first opening, and found on the second."""
    first = State(url_of(tmp_path))
    first.remember("seen", {"gpu": True, "hours": [1, 2]})
    first.close()
    second = State(url_of(tmp_path))
    assert second.fact("seen") == {"gpu": True, "hours": [1, 2]}
    second.close()


def test_a_fact_is_replaced_and_forgotten(tmp_path: Path) -> None:
    """The latest value counts; what was never remembered is None, and so is what was forgotten."""
    state = State(url_of(tmp_path))
    state.remember("n", 1)
    state.remember("n", 2)
    assert state.fact("n") == 2
    state.forget("n")
    state.forget("never known")
    assert state.fact("n") is None
    state.close()


def test_a_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    """All of it or none of it."""
    state = State(url_of(tmp_path))

    def half_of_it() -> None:
        with state.transaction() as connection:
            connection.execute(sa.insert(facts).values(name="half", value=1))
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        half_of_it()
    assert state.fact("half") is None
    state.close()


def test_threads_that_read_and_write_in_one_transaction_lose_no_update(tmp_path: Path) -> None:
    """The write lock is taken at once, so nobody reads what another is about to change."""
    state = State(url_of(tmp_path))
    state.remember("count", 0)

    def add_ten() -> None:
        for _ in range(10):
            with state.transaction() as connection:
                query = sa.select(facts.c.value).where(facts.c.name == "count")
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
    state.close()


def test_the_clock_can_be_replaced(tmp_path: Path) -> None:
    """Everything that waits can so be tested without waiting."""
    clock = Clock()
    state = State(url_of(tmp_path), clock=clock.seconds)
    with state.reading() as connection:
        before = state.now(connection)
        clock.advance(90)
        assert state.now(connection) - before == 90
    state.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("not a url", "not an SQLAlchemy URL"),
        ("nosuchdb://host/name", "not an SQLAlchemy URL"),
        ("sqlite:////proc/version", "cannot connect"),
    ],
)
def test_an_unusable_url_names_the_setting(url: str, said: str) -> None:
    """The message says which setting to change and why."""
    with pytest.raises(SettingsError, match="PIPELINE_STATE_URL") as caught:
        State(url)
    assert said in str(caught.value)


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    """A file in the way is said so."""
    (tmp_path / "deep").write_text("in the way")
    with pytest.raises(StorageError, match=r"state\.db"):
        State(url_of(tmp_path))


def test_no_password_is_shown(tmp_path: Path) -> None:
    """A URL with a secret in it is named without the secret."""
    with pytest.raises(SettingsError) as caught:
        State(f"nosuchdb://user:hunter2@host/{tmp_path.name}")
    assert "hunter2" not in str(caught.value)
