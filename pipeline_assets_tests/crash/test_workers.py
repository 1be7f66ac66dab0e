"""Rows that kill: what a live supervisor saw counts, and what none saw does not."""

import os
import signal
from pathlib import Path

from pipeline_assets_tests.crash.scene import scene_of
from pipeline_assets_tests.crash.stage import KILLER, MICRO_BATCH, PARENT

ITEM = f"i{MICRO_BATCH + 10:05d}"


def test_a_row_that_kills_is_a_dead_letter_though_its_worker_leaves_a_child(tmp_path: Path) -> None:
    """The child holds the dead worker's connection open, and lives on; the neighbours finish."""
    scene = scene_of(tmp_path, 2 * MICRO_BATCH, workers=1)
    try:
        scene.finish(**{KILLER: ITEM, PARENT: ITEM})
        assert scene.with_status("failed") == {ITEM}
        assert scene.with_status("ok") == set(scene.items) - {ITEM}
        cause = "it killed its worker 3 times while alone in a call: killed by SIGKILL"
        assert cause in scene.why(ITEM)
    finally:
        children = scene.children()
        for child in children:
            os.kill(child, signal.SIGKILL)
    assert len(children) >= 3


def test_a_killed_run_proves_nothing_about_its_rows(tmp_path: Path) -> None:
    """However often it was killed in a call of just one row, nobody alive has seen of what."""
    scene = scene_of(tmp_path, 1)
    for _ in range(4):
        assert scene.start(**{KILLER: "i00000"}).ended() == -signal.SIGKILL
    assert scene.called() == {"i00000": 4}
    scene.finish()
    assert scene.shouts() == scene.made()
