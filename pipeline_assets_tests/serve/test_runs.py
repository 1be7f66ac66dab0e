"""What scrapes are told of Dagster's runs, whatever its database does."""

import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from threading import Event

import pytest
import yaml
from dagster_postgres.utils import DagsterPostgresException

from pipeline_assets.automation.dagster_events import JobRuns
from pipeline_assets.serve import runs as module
from pipeline_assets.serve.runs import Runs

FOUND = [JobRuns("hour", "success", 2, 3.0)]


@dataclass
class Dagster:
    """Says the same of every time, raises what it is told to, and counts who opens it."""

    opened: int = 0
    error: Exception | None = None
    answers: Event = field(default_factory=Event)
    closed: Event = field(default_factory=Event)

    @contextmanager
    def instance(self) -> Iterator[object]:
        """Open it."""
        self.opened += 1
        yield self
        self.closed.set()

    def runs_by_job(self, _instance: object, _since: float) -> list[JobRuns]:
        """Answer, once it may."""
        assert self.answers.wait(10)
        if self.error is not None:
            raise self.error
        return FOUND


@pytest.fixture
def dagster(monkeypatch: pytest.MonkeyPatch) -> Dagster:
    """A database that answers."""
    made = Dagster()
    made.answers.set()
    monkeypatch.setattr(module, "instance", made.instance)
    monkeypatch.setattr(module, "runs_by_job", made.runs_by_job)
    return made


def test_the_instance_is_opened_once_and_closed_with_the_service(dagster: Dagster) -> None:
    """Not by each scrape, of which there are thousands a day."""
    with closing(Runs()) as runs:
        assert dagster.opened == 0
        assert [runs.since(0.0) for _time in range(3)] == [FOUND] * 3
        assert dagster.opened == 1
        assert not dagster.closed.is_set()
    assert dagster.closed.wait(10)


@pytest.mark.parametrize(
    "error",
    [
        DagsterPostgresException("too many retries for DB connection"),
        yaml.YAMLError("dagster.yaml"),
        OSError(111, "refused"),
        ZeroDivisionError("a bug"),
    ],
)
def test_whatever_is_wrong_is_logged_and_the_instance_opened_anew(
    dagster: Dagster, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    """There is nothing to say for now, and then there is again."""
    dagster.error = error
    with closing(Runs()) as runs, caplog.at_level(logging.WARNING):
        assert runs.since(0.0) == []
        assert dagster.closed.is_set()
        dagster.error = None
        assert runs.since(0.0) == FOUND
    assert dagster.opened == 2
    assert f"say nothing of runs: {type(error).__name__}: {error}" in caplog.text


def test_a_database_that_never_answers_holds_no_scrape(
    dagster: Dagster, caplog: pytest.LogCaptureFixture
) -> None:
    """The first waits its time; whoever comes while it is asked does not wait at all."""
    dagster.answers.clear()
    runs = Runs(patience_s=0.01)
    assert runs.since(0.0) == []
    assert "did not answer within 0.01 s" in caplog.text
    assert runs.since(0.0) == []
    assert "asks still" in caplog.text
    assert dagster.opened == 1
    dagster.answers.set()
    runs.close()
    assert dagster.closed.wait(10)
