"""The state database is stopped and started again under its users."""

import threading

import pytest
import sqlalchemy as sa

from pipeline_assets.errors import SettingsError
from pipeline_assets.state import database as module
from pipeline_assets.state.database import State
from pipeline_assets_tests.postgres import Stoppable


@pytest.fixture
def state(own_postgres: Stoppable) -> State:
    """A state database that answers."""
    return State(own_postgres.postgres.schema_url())


def restart(server: Stoppable) -> None:
    """Be away for a moment."""
    server.stop()
    server.start()


def test_what_comes_after_a_restart_does_not_notice_it(
    own_postgres: Stoppable, state: State
) -> None:
    """The pool's connections are tried before they are given out."""
    state.remember("before", 1)
    restart(own_postgres)
    assert state.fact("before") == 1
    state.remember("after", 2)
    assert state.fact("after") == 2
    state.close()


def test_a_transaction_in_flight_fails_as_lost_and_changes_nothing(
    own_postgres: Stoppable, state: State
) -> None:
    """Which has Dagster try the step again; the next transaction works."""
    state.remember("fact", "old")
    statement = sa.update(module.facts).values(value="new")

    def change() -> None:
        with state.transaction() as connection:
            connection.execute(statement)
            restart(own_postgres)

    with pytest.raises(sa.exc.DBAPIError) as caught:
        change()
    assert caught.value.connection_invalidated
    assert state.fact("fact") == "old"
    with state.transaction() as connection:
        connection.execute(statement)
    assert state.fact("fact") == "new"
    state.close()


def test_a_server_that_is_being_started_is_waited_for(
    own_postgres: Stoppable, state: State
) -> None:
    """Whoever asks meanwhile has the answer a little later."""
    state.remember("fact", 1)
    own_postgres.stop()
    answers: list[object] = []
    asking = threading.Thread(target=lambda: answers.append(state.fact("fact")))
    asking.start()
    own_postgres.start()
    asking.join()
    assert answers == [1]
    state.close()


def test_a_server_that_does_not_come_back_is_a_setting_to_look_at(
    own_postgres: Stoppable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the URL's setting and what the driver said."""
    monkeypatch.setattr(module, "RESTART_S", 0.0)
    url = own_postgres.postgres.schema_url()
    own_postgres.stop()
    with pytest.raises(SettingsError, match=r"PIPELINE_STATE_URL.*cannot connect"):
        State(url)


def test_a_database_that_is_not_there_is_not_waited_for(own_postgres: Stoppable) -> None:
    """A wrong name will not be right in a moment."""
    url = own_postgres.postgres.url.set(database="nowhere")
    with pytest.raises(SettingsError, match="does not exist"):
        State(url.render_as_string())
