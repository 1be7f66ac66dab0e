"""Runs that are killed, or refused by the disk, at the steps to the published table.

`make test-long` takes every single one.
"""

import re
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from pipeline_assets.core.environment import RungStats
from pipeline_assets.engine.engine import materialize
from pipeline_assets.engine.orders import Listener, Order
from pipeline_assets.resources import opened
from pipeline_assets.store.tables import ROW_GROUP_ROWS
from pipeline_assets_tests.crash.run import FAILED, HOUR
from pipeline_assets_tests.crash.scene import Scene, scene_of
from pipeline_assets_tests.crash.stage import MICRO_BATCH, STAGE, VERSION
from pipeline_assets_tests.lengths import IS_LONG

ROWS = ROW_GROUP_ROWS + MICRO_BATCH
NEW = {VERSION: "2"}
ERRORS = {
    **dict.fromkeys(["fsync", "fdatasync"], "EIO"),
    **dict.fromkeys(["write", "pwrite64"], "ENOSPC"),
    **dict.fromkeys(["rename", "renameat"], "EIO"),
}
STEPS = [*ERRORS, "ftruncate", "unlink", "unlinkat"]
STEP = re.compile(r"^(?P<process>\d+) +(?P<call>\w+)\((?P<arguments>.*)")
FINISHED = 0
CLEAR = re.compile(
    r"^cannot write \S+: "
    r"(No space left on device|Input/output error|database or disk is full|disk I/O error)"
    r"\. Committed rows are safe"
)

Step = tuple[str, int]
"""A system call, and which of its kind."""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """A published table, and a newer one of which just the last micro-batch is to be made."""
    scene = scene_of(tmp_path_factory.mktemp("prepared"), ROWS)
    scene.finish()
    finished = 0

    def progress(rows: int, _rungs: Mapping[str, RungStats]) -> None:
        nonlocal finished
        finished += rows
        if finished == ROW_GROUP_ROWS:
            raise KeyboardInterrupt

    order, stage = Order(STAGE.name, HOUR, "unfinished"), replace(STAGE, micro_batch=2048)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**scene.settings, **NEW}.items():
            patch.setenv(name, value)
        with opened() as resources, pytest.raises(KeyboardInterrupt):
            materialize(order, resources, Listener(finished=progress), stage)
    scene.calls.unlink()
    return scene


def copied(scene: Scene, folder: Path) -> Scene:
    """The same, to be worked on."""
    shutil.copytree(scene.folder, folder, ignore=shutil.ignore_patterns("said"))
    return replace(scene, folder=folder)


@pytest.fixture(scope="module")
def steps(prepared: Scene, tmp_path_factory: pytest.TempPathFactory) -> list[Step]:
    """What changes the data root in a run that finishes the newer table, in order."""
    scene = copied(prepared, tmp_path_factory.mktemp("traced") / "scene")
    trace = scene.folder / "trace"
    calls = ",".join(f"?{call}" for call in STEPS)
    run = scene.start(f"--trace={calls}", "--decode-fds", f"--output={trace}", **NEW)
    assert run.ended() == FINISHED, scene.said()
    seen, found = Counter[str](), []
    for step in filter(None, map(STEP.match, trace.read_text().splitlines())):
        if int(step["process"]) == run.pid:  # each thread has a count of its own
            seen[step["call"]] += 1
            if f"{scene.data}/" in step["arguments"] and "state.db-shm" not in step["arguments"]:
                found.append((step["call"], seen[step["call"]]))
    return found if IS_LONG else some_of(found)


def some_of(steps: list[Step]) -> list[Step]:
    """Every sixth, and of each call the first and the last: each takes a second or two."""
    chosen = {*steps[::6], *dict(steps).items(), *dict(reversed(steps)).items()}
    return [step for step in steps if step in chosen]


@contextmanager
def read_all_the_while(scene: Scene) -> Iterator[None]:
    """Somebody reads the table again and again, and must find the old one or the new one."""
    done = Event()

    def read() -> None:
        while not done.is_set():
            assert scene.shouts() in (scene.made(1), scene.made(2))

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        try:
            yield
        finally:
            done.set()
        reading.result()


def with_fault(prepared: Scene, folder: Path, fault: str) -> tuple[int, str]:
    """The end of a run with a fault on its way, and what it said; the next goes on from there."""
    scene = copied(prepared, folder)
    with read_all_the_while(scene):
        code = scene.start("--output=/dev/null", f"--inject={fault}", **NEW).ended()
        said = scene.said() if (folder / "said").exists() else ""
        scene.finish(**NEW)
    assert scene.shouts() == scene.made(2)
    assert scene.redone() <= MICRO_BATCH
    left = [path for path in scene.data.rglob("*.tmp") if "rung_calls" not in path.parts]
    assert not left  # the calls of no run are written when the next has some
    shutil.rmtree(folder)
    return code, said


def each(
    steps: list[Step], faulty: Callable[[Step], tuple[int, str]]
) -> Mapping[Step, tuple[int, str]]:
    """What came of a fault at each step, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(steps, pool.map(faulty, steps), strict=True))


def test_killed_at_any_step_to_it_the_table_is_never_torn(
    prepared: Scene, steps: list[Step], tmp_path: Path
) -> None:
    """A reader always finds the old table or the new one; the next run publishes the new one."""

    def killed(step: Step) -> tuple[int, str]:
        call, number = step
        fault = f"{call}:signal=KILL:when={number}"
        return with_fault(prepared, tmp_path / f"{call}-{number}", fault)

    assert {call for call, _ in steps} >= {"write", "fsync", "unlink"}
    ends = each(steps, killed)
    assert {step: code for step, (code, _) in ends.items()} == dict.fromkeys(steps, -signal.SIGKILL)


def test_a_disk_that_refuses_any_step_to_it_ends_the_run_with_a_clear_line(
    prepared: Scene, steps: list[Step], tmp_path: Path
) -> None:
    """What was committed stays; the database survives some refusals without a word."""

    def refused(step: Step) -> tuple[int, str]:
        call, number = step
        fault = f"{call}:error={ERRORS[call]}:when={number}"
        return with_fault(prepared, tmp_path / f"{call}-{number}", fault)

    ends = each([step for step in steps if step[0] in ERRORS], refused)
    for (call, number), (code, said) in ends.items():
        assert code == FAILED or (code == FINISHED and call in ("fdatasync", "pwrite64")), said
        assert "Traceback" not in said
        if code == FAILED:
            assert CLEAR.search(said.splitlines()[-1]), (call, number, said)
