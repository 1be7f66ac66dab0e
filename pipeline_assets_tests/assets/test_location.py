"""What ends a step in passing is tried again; the rest fails as it is."""

import dagster as dg
import pytest
import sqlalchemy as sa

from pipeline_assets.assets import location
from pipeline_assets.assets.location import Location
from pipeline_assets.errors import LeaseHeld, StorageError
from pipeline_assets.settings import load_settings
from pipeline_assets_tests.assets.conftest import Hour
from pipeline_assets_tests.hours import failure

LOCATION = Location(load_settings(), of_environment=True)
HELD = LeaseHeld("fetched/h", "elsewhere:7", 42.0)
RUN_OUT = LeaseHeld("fetched/h", "elsewhere:7", 0.0)


def lost(*, connection_invalidated: bool) -> sa.exc.OperationalError:
    """An error of the state database."""
    return sa.exc.OperationalError(
        "SELECT 1", {}, Exception("gone"), connection_invalidated=connection_invalidated
    )


@pytest.mark.parametrize(
    ("error", "wait_s"),
    [(HELD, 43.0), (lost(connection_invalidated=True), location.AFTER_A_LOST_CONNECTION_S)],
    ids=["lease", "database"],
)
def test_what_passes_asks_for_another_try(good: Hour, error: Exception, wait_s: float) -> None:
    """After the lease of a writer that died elsewhere, or once the database is back."""
    assert good.data.exists()
    with pytest.raises(dg.RetryRequested) as caught, LOCATION.opened():
        raise error
    assert caught.value.seconds_to_wait == wait_s
    assert caught.value.max_retries == location.TRIES_AGAIN
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    "error",
    [lost(connection_invalidated=False), StorageError("/data", "disk full"), ValueError("a bug")],
    ids=["locked", "disk", "bug"],
)
def test_what_stays_wrong_is_not_tried_again(good: Hour, error: Exception) -> None:
    """It is raised as it is."""
    assert good.data.exists()
    with pytest.raises(type(error)) as caught, LOCATION.opened():
        raise error
    assert caught.value is error


@pytest.fixture
def _leases_run_out_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(location, "AFTER_A_LEASE_S", 0.0)


@pytest.mark.usefixtures("good", "_leases_run_out_at_once")
def test_a_step_waits_for_a_lease_and_then_does_its_work() -> None:
    """In the same run."""
    tries = iter([RUN_OUT, None])

    @dg.asset
    def held_once() -> None:
        with LOCATION.opened():
            if (error := next(tries)) is not None:
                raise error

    assert dg.materialize([held_once]).success
    assert next(tries, "no more") == "no more"


@pytest.mark.usefixtures("good", "_leases_run_out_at_once")
def test_a_lease_that_is_never_let_go_is_named_in_the_end() -> None:
    """Who holds it, and what to do."""

    @dg.asset
    def held() -> None:
        with LOCATION.opened():
            raise RUN_OUT

    result = dg.materialize([held], raise_on_error=False)
    assert not result.success
    assert "elsewhere:7" in failure(result)
