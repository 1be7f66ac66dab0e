"""Runs that are asked to end: nothing that was finished is lost, and nothing is done twice."""

import signal
from pathlib import Path

import pytest

from pipeline_assets_tests.crash.run import INTERRUPTED
from pipeline_assets_tests.crash.scene import scene_of, until
from pipeline_assets_tests.crash.stage import SLOW_S

ROWS = 2000
SLOW, ENDLESS = {SLOW_S: "0.03"}, {SLOW_S: "600"}
EXIT = {signal.SIGTERM: -signal.SIGTERM, signal.SIGINT: INTERRUPTED}


@pytest.mark.parametrize(
    ("workers", "number", "all_of_it"),
    [
        (0, signal.SIGTERM, False),
        (0, signal.SIGINT, False),
        (2, signal.SIGTERM, False),
        (2, signal.SIGTERM, True),
        (2, signal.SIGINT, True),
    ],
)
def test_a_polite_end_publishes_what_is_finished_and_the_next_run_does_the_rest(
    tmp_path: Path, workers: int, number: signal.Signals, *, all_of_it: bool
) -> None:
    """The micro-batches in hand are finished, and the rest is pending."""
    scene = scene_of(tmp_path, ROWS, workers)
    run = scene.start(**SLOW)
    scene.wait_for_shards(4, run)
    run.signal(number, all_of_it=all_of_it)
    assert run.ended() == EXIT[number], scene.said()
    assert f"{number.name}: finishing what is in hand" in scene.said()
    finished = set(scene.called())
    assert 0 < len(finished) < ROWS
    assert scene.with_status("ok") == finished
    assert scene.with_status("pending") == set(scene.items) - finished
    assert not scene.shards()
    scene.finish()
    assert scene.shouts() == scene.made()
    assert scene.redone() == 0


@pytest.mark.parametrize("workers", [0, 2])
def test_asked_twice_it_ends_at_once(tmp_path: Path, workers: int) -> None:
    """Whatever it waits for; what was durable is not done again."""
    scene = scene_of(tmp_path, ROWS, workers)
    run = scene.start(**SLOW)
    scene.wait_for_shards(4, run)
    run.kill()
    durable = len(scene.shards())
    run = scene.start(**ENDLESS)
    called = scene.callers()
    until(lambda: scene.callers() - called, "call", run)
    run.signal(signal.SIGTERM)
    until(lambda: "once more ends at once" in scene.said(), "word of the stop", run)
    run.signal(signal.SIGTERM)
    assert run.ended() == -signal.SIGTERM
    assert len(scene.shards()) == durable


def test_a_stop_while_the_workers_start_is_no_crash_of_theirs(tmp_path: Path) -> None:
    """All of them end before they have called anything, however many they are."""
    scene = scene_of(tmp_path, ROWS, workers=4)
    run = scene.start()
    until(lambda: len(run.workers()) == 4, "workers", run)
    run.signal(signal.SIGTERM, all_of_it=True)
    assert run.ended() == -signal.SIGTERM, scene.said()
    assert scene.with_status("pending") == set(scene.items)
    scene.finish()
    assert scene.redone() == 0
