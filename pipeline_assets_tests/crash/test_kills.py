"""Runs that are killed: what they had finished is there, and is not done again."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from pipeline_assets_tests.crash.scene import Running, Scene, scene_of
from pipeline_assets_tests.crash.stage import MICRO_BATCH, SLOW_S
from pipeline_assets_tests.lengths import IS_LONG

ROWS, SEED = 10_000, 7
A_CALL_S = 0.02


def victim(run: Running, scene: Scene, draw: random.Random) -> int:
    """The supervisor, or more often one of its workers that has called the rung."""
    return draw.choice([run.pid, *sorted(scene.callers().intersection(run.workers())) * 2])


@pytest.mark.parametrize(("workers", "kills"), [(0, 50 if IS_LONG else 15), (2, 15)])
def test_kills_lose_no_row_and_redo_only_what_was_in_flight(
    tmp_path: Path, workers: int, kills: int
) -> None:
    """At random moments, each after new durable work; a run whose worker is killed goes on."""
    scene, draw = scene_of(tmp_path, ROWS, workers), random.Random(SEED)
    run, in_flight = scene.start(**{SLOW_S: str(A_CALL_S)}), 0
    for _ in range(kills):
        scene.wait_for_shards(1, run)
        time.sleep(draw.uniform(0, A_CALL_S))  # a random moment of a call
        chosen = victim(run, scene, draw)
        if chosen == run.pid:
            run.kill()
            in_flight += MICRO_BATCH * max(1, workers)
            run = scene.start(**{SLOW_S: str(A_CALL_S)})
        else:
            os.kill(chosen, signal.SIGKILL)
            in_flight += MICRO_BATCH
        assert scene.redone() <= in_flight
    assert run.ended() == 0, scene.said()
    assert scene.shouts() == scene.made()
    assert scene.redone() <= in_flight
    assert not scene.shards()
