"""Runs that are killed while their work goes to a bucket: what was finished is not done again."""

import os
import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline_assets.store.s3_storage import S3Storage
from pipeline_assets.store.s3_urls import S3Url
from pipeline_assets.store.storage import Storage
from pipeline_assets.store.tables import Tables
from pipeline_assets_tests.crash.run import HOUR
from pipeline_assets_tests.crash.scene import Scene
from pipeline_assets_tests.crash.stage import MICRO_BATCH, SLOW_S, STAGE
from pipeline_assets_tests.s3 import S3Server

ROWS, KILLS, SEED = 2_000, 4, 7
A_CALL_S = 0.05


@dataclass(frozen=True, kw_only=True)
class InBucket(Scene):
    """The same, with its data in a bucket and its state database beside it."""

    server: S3Server
    root: S3Url

    @property
    def storage(self) -> Storage:
        """The data root."""
        return S3Storage(self.root, self.folder / "scratch")

    @property
    def tables(self) -> Tables:
        """Its tables."""
        return Tables(self.storage.below("tables"))

    @property
    def settings(self) -> dict[str, str]:
        """The environment of its runs."""
        ours = {
            "PIPELINE_DATA": str(self.root),
            "PIPELINE_STATE_URL": f"sqlite:///{self.folder / 'state.db'}",
            "PIPELINE_CACHE_DIR": str(self.folder / "cache"),
        }
        return {**Scene.settings.fget(self), **ours, **self.server.environment}  # type: ignore[attr-defined]

    def shards(self) -> set[str]:
        """The durable micro-batches that are not in the table yet."""
        work = self.storage.below("work")
        below = f"{STAGE.name}/hour={HOUR}"
        return {*work.names(below, "*.arrow"), *work.names(below, "*/*.arrow")}


@pytest.fixture(params=[0, 2])
def scene(request: pytest.FixtureRequest, s3: S3Server, tmp_path: Path) -> InBucket:
    """An hour of items in a bucket, worked on in the run's process or by workers."""
    made = InBucket(tmp_path, ROWS, request.param, server=s3, root=s3.root())
    made.write_items()
    return made


def test_kills_lose_no_row_and_redo_only_what_was_in_flight(scene: InBucket) -> None:
    """At random moments, each after new durable work."""
    draw, slow = random.Random(SEED), {SLOW_S: str(A_CALL_S)}
    run = scene.start(**slow)
    for kills in range(1, KILLS + 1):
        scene.wait_for_shards(2, run)
        time.sleep(draw.uniform(0, A_CALL_S))  # a random moment of a call or a PUT
        run.kill()
        assert scene.redone() <= kills * MICRO_BATCH * max(1, scene.workers)
        run = scene.start(**slow)
    assert run.ended() == 0, scene.said()
    assert scene.shouts() == scene.made()
    assert scene.redone() <= KILLS * MICRO_BATCH * max(1, scene.workers)
    assert not scene.shards()
    calls = scene.called()
    scene.finish()
    assert scene.called() == calls


def test_a_run_that_is_asked_to_stop_redoes_nothing(scene: InBucket) -> None:
    """It finishes its micro-batches, and publishes what there is."""
    run = scene.start(**{SLOW_S: str(A_CALL_S)})
    scene.wait_for_shards(3, run)
    os.kill(run.pid, signal.SIGTERM)
    run.ended()
    assert scene.with_status("pending")
    scene.finish()
    assert scene.redone() == 0
    assert scene.shouts() == scene.made()
