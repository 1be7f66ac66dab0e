"""Worker processes: what one that dies costs, who is blamed for it, and what reaches the run."""

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from pipeline_assets.commands.dead_letters import LetterFilter, dead_letters, decide
from pipeline_assets.core.breaker import Mode
from pipeline_assets.core.names import DEAD_LETTERS, ENRICHED
from pipeline_assets.core.plan import Planned, Reason, Standing, Verdict
from pipeline_assets.engine.engine import materialize, plan_hour
from pipeline_assets.engine.orders import Listener, Order, Report
from pipeline_assets.engine.workers import Workers, WorkersDied, _Worker
from pipeline_assets.errors import LeaseLost, StorageError
from pipeline_assets.ingest.items import materialize_items
from pipeline_assets.monitoring.derived import derive
from pipeline_assets.resources import Resources
from pipeline_assets.settings import load_settings
from pipeline_assets.stages import stage_tables, store
from pipeline_assets_tests.conftest import HOUR, HOUR_START
from pipeline_assets_tests.engine import stillborn_stage, worker_stage

EVENT_TIME = "2026-03-02T06:05:00Z"
STAGE = worker_stage.STAGE
TIMES = ("duration_ms", "updated_at")


def telling(told: list[int]) -> Listener:
    """A listener that notes how many rows are finished."""
    return Listener(finished=lambda rows, _rungs: told.append(rows))


@dataclass(frozen=True)
class Scene:
    """A data root whose items do to their worker what their name says."""

    resources: Resources

    def run(self, run_id: str = "run", listener: Listener | None = None) -> Report:
        """Bring the stage up to date."""
        return materialize(Order(STAGE.name, HOUR, run_id), self.resources, listener)

    def rows(self) -> dict[str, dict[str, Any]]:
        """The rows of the table by item."""
        found = self.resources.tables.read(STAGE.name, HOUR).to_pylist()
        return {row["item_id"]: row for row in found}

    def calls(self, rung: str = "loud") -> list[list[str]]:
        """The items of each call of a rung."""
        return [items for name, items in worker_stage.calls(self.resources.data) if name == rung]

    def times_called(self, rung: str = "loud") -> Counter[str]:
        """How often each item was in a call of a rung."""
        return Counter(item for items in self.calls(rung) for item in items)


@contextmanager
def scene(
    data: Path, names: Sequence[str], workers: int, module: Any = worker_stage
) -> Iterator[Scene]:
    """Items i00, i01 and so on with these names. Clocks are real: workers have no other."""
    data.mkdir()
    with (data / "feed.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["item_id", "name", "kind", "event_time"])
        for number, name in enumerate(names):
            writer.writerow([f"i{number:02d}", name, "product", EVENT_TIME])
    settings = load_settings(
        data=data,
        feed=str(data / "feed.csv"),
        start=HOUR_START,
        workers=workers,
        stages=(module.__name__,),
    )
    resources = Resources(settings)
    materialize_items(resources, HOUR, "run")
    yield Scene(resources)
    resources.close()


Staged = Callable[..., Scene]


@pytest.fixture
def staged(tmp_path: Path) -> Iterator[Staged]:
    """Opens a scene."""
    with ExitStack() as stack:

        def stage(names: Sequence[str], workers: int, module: Any = worker_stage) -> Scene:
            number = len(list(tmp_path.iterdir()))
            data = tmp_path / f"data-{number}"
            return stack.enter_context(scene(data, names, workers, module))

        yield stage


NEIGHBOURS = ["tea", "cup", "pot", "jar", "mug", "jug", "tin", "box"]
KILLERS = {"i02": "exit", "i05": "segfault"}


@dataclass(frozen=True)
class Crashed:
    """An hour with two rows that kill their workers, and what came of it."""

    scene: Scene
    report: Report


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crashed]:
    """Run once; read by several tests."""
    names = [KILLERS.get(f"i{n:02d}", name) for n, name in enumerate(NEIGHBOURS)]
    with scene(tmp_path_factory.mktemp("crashed") / "data", names, workers=2) as opened:
        yield Crashed(opened, opened.run())


@pytest.mark.usefixtures("crashed")
def test_workers_are_where_their_supervisor_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those that were started for another order: the data root may be named from there."""
    monkeypatch.chdir(tmp_path)
    with scene(Path("here"), NEIGHBOURS, workers=2) as opened:
        opened.run()
        assert [row["status"] for row in opened.rows().values()] == ["ok"] * len(NEIGHBOURS)


def test_a_row_that_kills_its_worker_is_a_dead_letter_and_its_neighbours_are_done(
    crashed: Crashed,
) -> None:
    """By the primary rung, and without a further attempt; the row says what its worker died of."""
    rows = crashed.scene.rows()
    for item, row in rows.items():
        if item not in KILLERS:
            assert (row["status"], row["rung"], row["attempts"]) == ("ok", "loud", 1)
    for item, cause in (("i02", "it ended with 9"), ("i05", "killed by SIGSEGV")):
        row = rows[item]
        assert (row["status"], row["error_kind"], row["retryable"]) == (
            "failed",
            "worker_crash",
            False,
        )
        assert (row["attempts"], row["retry_at"], row["quality"]) == (3, None, pytest.approx(0.1))
        assert f"killed its worker 3 times while alone in a call: {cause}" in row["error"]


def test_it_was_alone_three_times_and_no_fallback_was_given_it(crashed: Crashed) -> None:
    """Once more in the batch that raised the suspicion; what it did once is not risked again."""
    for item in KILLERS:
        assert crashed.scene.calls().count([item]) == 3
        assert crashed.scene.times_called()[item] == 4
    assert crashed.scene.times_called("quiet") == {}


def test_deaths_are_counted_and_no_row_is_counted_twice(crashed: Crashed) -> None:
    """Two batches that died, and three deaths of each row alone."""
    assert crashed.report.worker_deaths == 2 + 3 * len(KILLERS)
    assert (crashed.report.rows, crashed.report.published) == (len(NEIGHBOURS), True)


def test_nobody_tries_a_dead_letter_again_before_a_person_says_so(crashed: Crashed) -> None:
    """Then it is planned again, and only it."""
    resources, order = crashed.scene.resources, Order(STAGE.name, HOUR, "later")
    assert {decision for _work, decision in plan_hour(order, resources)} == {Standing.CURRENT}
    tables = resources.tables
    tables.write(ENRICHED, HOUR, store.STAGE.schema.empty_table())
    letters_now = derive(tables, DEAD_LETTERS, HOUR, 0.8, stage_tables(resources.settings))
    tables.write(DEAD_LETTERS, HOUR, letters_now)
    letters = dead_letters(resources, LetterFilter(reason="worker_crash"))
    assert {letter["item_id"] for letter in letters} == set(KILLERS)
    assert decide(resources, Verdict.REQUEUE, LetterFilter(items=("i02",)), "mended")["rows"] == 1
    planned = {
        work.id[0]: decision.reason
        for work, decision in plan_hour(order, resources)
        if isinstance(decision, Planned)
    }
    assert planned == {"i02": Reason.REQUEUED}


def test_a_worker_that_dies_once_costs_no_row_and_blames_none(staged: Staged) -> None:
    """The kernel took its memory: its batch is called again, what was finished is not."""
    opened = staged(["tea", "cup", "pot", "jar", "mug", "die once", "tin", "box"], workers=1)
    report = opened.run()
    assert report.worker_deaths == 1
    assert {row["error_kind"] for row in opened.rows().values()} == {None}
    assert {row["attempts"] for row in opened.rows().values()} == {1}
    assert opened.times_called() == {
        **dict.fromkeys([f"i{n:02d}" for n in range(4)], 1),
        **dict.fromkeys([f"i{n:02d}" for n in range(4, 8)], 2),
    }


def test_a_lost_context_ends_its_worker_and_the_batch_is_done_by_the_next(staged: Staged) -> None:
    """Here it would fail for ever; nobody falls back for it, and no row is done twice."""
    opened = staged(["tea", "cup", "lose the context once", "jar", "mug"], workers=1)
    report = opened.run()
    assert report.worker_deaths == 1
    rows = opened.rows()
    assert {(row["rung"], row["error_kind"], row["attempts"]) for row in rows.values()} == {
        ("loud", None, 1)
    }
    made = opened.times_called() - Counter(["i00", "i01", "i02", "i03"])
    assert made == dict.fromkeys(rows, 1)


def test_a_lost_context_in_the_runs_own_process_is_answered_by_the_fallback(staged: Staged) -> None:
    """Nobody could replace it."""
    opened = staged(["tea", "lose the context"], workers=0)
    report = opened.run()
    assert report.worker_deaths == 0
    for row in opened.rows().values():
        assert (row["rung"], row["error_kind"], row["retryable"]) == ("quiet", "unavailable", True)
        assert worker_stage.ILLEGAL_ACCESS in row["error"]


def test_a_rung_that_kills_whatever_it_is_given_is_left_alone(staged: Staged) -> None:
    """Each batch that dies is a failure of the rung: its breaker opens, the fallback ends the hour.

    No row is blamed.
    """
    opened = staged(["exit"] * 40, workers=1)
    report = opened.run()
    assert report.worker_deaths == 5
    assert opened.resources.breakers.load("shouted.loud").mode is Mode.OPEN
    assert {(row["rung"], row["error_kind"]) for row in opened.rows().values()} == {
        ("quiet", "circuit_open")
    }


def test_workers_that_die_at_their_start_end_the_run_with_the_reason(staged: Staged) -> None:
    """No row is to blame, and no worker would do better."""
    opened = staged(["tea", "cup"], 1, stillborn_stage)
    with pytest.raises(
        WorkersDied, match=rf"shouted of {HOUR}: 3 workers in a row died .* ended with 7\. See"
    ):
        opened.run()
    assert not opened.resources.tables.exists(STAGE.name, HOUR)
    with opened.resources.leases.acquire(f"{STAGE.name}/{HOUR}"):
        """Nobody holds it any more."""


def test_a_row_that_kills_before_it_is_called_for_is_found_too(staged: Staged) -> None:
    """What a rung does to look for kept results is its own code as well."""
    opened = staged(["tea", "cup", "pot", "jar", "die before the call", "mug"], workers=1)
    opened.run()
    assert {item: row["error_kind"] for item, row in opened.rows().items() if row["error"]} == {
        "i04": "worker_crash"
    }
    assert opened.times_called() == dict.fromkeys(["i00", "i01", "i02", "i03", "i05"], 1)


@pytest.mark.parametrize("name", ["hang", "hang before the call"])
def test_a_row_over_which_a_call_hangs_falls_back_and_its_neighbours_do_not(
    staged: Staged, name: str
) -> None:
    """It is a timeout of that rung, which may be tried again; nobody waits for ever."""
    opened = staged(["tea", name, "pot", "jar", "mug"], workers=1)
    report = opened.run()
    rows = opened.rows()
    assert {item: row["rung"] for item, row in rows.items()} == {
        item: "quiet" if item == "i01" else "loud" for item in rows
    }
    hung = rows["i01"]
    assert (hung["status"], hung["error_kind"], hung["retryable"]) == ("ok", "timeout", True)
    assert "no answer within 1 s (call_deadline_s)" in hung["error"]
    assert report.rungs["loud"].errors["timeout"] >= 1
    assert opened.resources.breakers.load("shouted.loud").mode is Mode.CLOSED


def test_a_rung_that_hangs_whatever_it_is_given_is_left_alone(staged: Staged) -> None:
    """Its breaker opens, and the rest takes the fallback without a call."""
    opened = staged(["hang"] * 40, workers=1)
    opened.run()
    assert {row["rung"] for row in opened.rows().values()} == {"quiet"}
    assert len(opened.calls("loud")) <= 8
    assert opened.resources.breakers.load("shouted.loud").mode is Mode.OPEN


def test_a_worker_that_died_while_it_was_idle_is_not_hired() -> None:
    """Somebody's hand or the kernel's, hours ago: no sign that the next would die, too."""
    workers = Workers(2)
    dead = [_Worker.started() for _ in range(2)]
    for worker in dead:
        worker.process.kill()
        worker.process.wait()
        workers.back(worker)
    hired = workers.hire()
    assert hired.process.poll() is None
    hired.end(at_once=True)


def test_a_stop_while_workers_are_starting_is_a_stop(staged: Staged) -> None:
    """They end by the signal, before they can be polite: that is no failure of theirs."""
    opened, looks = staged(["tea"] * 12, workers=3), count()
    report = opened.run(listener=Listener(stopped=lambda: next(looks) > 0))
    assert report.interrupted
    assert {row["status"] for row in opened.rows().values()} == {"pending"}


def test_an_error_that_is_no_rows_reaches_the_run_as_it_is(staged: Staged) -> None:
    """With type and attributes, and where in the worker it came from; what was finished stays."""
    opened = staged(["tea", "cup", "pot", "jar", "full disk"], workers=1)
    with pytest.raises(StorageError) as caught:
        opened.run()
    full = worker_stage.FULL
    assert str(caught.value) == str(full)
    assert (caught.value.path, caught.value.reason) == (full.path, full.reason)
    assert "worker_stage.py" in "".join(caught.value.__notes__)
    (opened.resources.data / "calls").unlink()
    with pytest.raises(StorageError):
        opened.run()
    assert opened.calls() == [["i04"]]


def test_a_worker_whose_run_was_taken_over_keeps_nothing(staged: Staged) -> None:
    """The run hears of it as it would of its own."""
    opened = staged(["be taken over"], workers=1)
    with pytest.raises(LeaseLost) as caught:
        opened.run()
    lost = caught.value
    assert (lost.name, lost.token, lost.current) == (f"shouted/{HOUR}", 1, 2)
    assert not list((opened.resources.work / STAGE.name).rglob("*.arrow"))


def test_what_a_worker_logs_is_heard_by_the_run(
    staged: Staged, caplog: pytest.LogCaptureFixture
) -> None:
    """Under the same logger, in the same words; not what the run itself would not be told."""
    opened = staged(["tea", "speak"], workers=1)
    opened.run()
    (said,) = [record for record in caplog.records if record.name == worker_stage.__name__]
    assert (said.levelname, said.getMessage()) == ("WARNING", "spoken by a worker")


def test_two_workers_make_the_same_rows_as_none(staged: Staged) -> None:
    """In the same order; whoever made them, and whenever."""
    names = [*NEIGHBOURS * 3, "refused"]
    alone, shared = staged(names, 0), staged(names, 2)
    reports = [alone.run(), shared.run()]
    assert [report.rows for report in reports] == [25, 25]
    assert reports[0].planned == reports[1].planned
    tables = [
        each.resources.tables.read(STAGE.name, HOUR).drop_columns(TIMES) for each in (alone, shared)
    ]
    assert tables[0].equals(tables[1])
    assert alone.rows()["i24"]["rung"] == "quiet"
    assert {name: (stats.rows, stats.made) for name, stats in reports[0].rungs.items()} == {
        name: (stats.rows, stats.made) for name, stats in reports[1].rungs.items()
    }


def test_a_finished_hour_starts_no_worker(staged: Staged) -> None:
    """And a second run reports each row as it stands, and progress for each."""
    opened, told = staged(NEIGHBOURS, workers=1), list[int]()
    listener = telling(told)
    opened.run(listener=listener)
    assert sum(told) == len(NEIGHBOURS)
    told.clear()
    report = opened.run("second", listener)
    assert report.standing == {Standing.CURRENT: len(NEIGHBOURS)}
    assert (report.rows, sum(told), report.published) == (len(NEIGHBOURS),) * 2 + (False,)


def test_a_small_hour_in_which_every_call_kills_ends_on_the_fallback(staged: Staged) -> None:
    """Five deaths that are no single row's open the breaker, and no row is given up for it."""
    opened = staged(["exit"] * 6, workers=1)
    report = opened.run()
    rows = opened.rows().values()
    assert {(row["status"], row["rung"]) for row in rows} == {("ok", "quiet")}
    assert report.worker_deaths == 5


def test_what_a_worker_called_before_it_died_is_counted_and_told_once(staged: Staged) -> None:
    """The call that it died in, too: reliability figures would be too good without it."""
    told: list[int] = []
    opened = staged(["tea", "cup", "pot", "jar", "die once", "mug"], workers=1)
    report = opened.run(listener=telling(told))
    loud = report.rungs["loud"]
    assert (loud.made, loud.errors) == (6, Counter(worker_crash=2))
    assert loud.calls == len(opened.calls())
    assert sum(told) == 6
