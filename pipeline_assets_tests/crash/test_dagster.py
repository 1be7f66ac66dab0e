"""A run through Dagster that is asked to end, as Dagster's cancel and a Ctrl-C do it."""

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from pipeline_assets_tests.crash.run import HOUR, INTERRUPTED
from pipeline_assets_tests.crash.scene import Scene, until
from pipeline_assets_tests.crash.stage import MICRO_BATCH, SLOW_S
from pipeline_assets_tests.lengths import HANG_S

ROWS = 20 * MICRO_BATCH
COMMAND = Path(sys.executable).with_name("pipeline-assets")


def write_feed(scene: Scene) -> Path:
    """The items of the hour, as a feed has them."""
    feed = scene.folder / "feed.csv"
    with feed.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["item_id", "name", "kind", "event_time"])
        for n, item in enumerate(scene.items):
            writer.writerow([item, f"name {n}", "product", "2026-03-02T06:00:00Z"])
    return feed


def cancel(run: "subprocess.Popen[str]", instance: dg.DagsterInstance) -> str:
    """Do what Dagster's button does: note the wish, and interrupt the run's process."""
    (record,) = instance.get_runs(dg.RunsFilter(job_name="hour"))
    instance.report_run_canceling(record)
    run.send_signal(signal.SIGINT)
    return record.run_id


def test_a_canceled_run_ends_with_130_and_what_was_finished_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what to do, Dagster has it as canceled, and the next run does just the rest."""
    scene = Scene(tmp_path, ROWS, workers=2)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    settings = {**os.environ, **scene.settings, "PIPELINE_FEED": str(write_feed(scene))}
    with dg.DagsterInstance.get() as instance:
        with subprocess.Popen(
            [COMMAND, "run", "--hour", HOUR],
            cwd=tmp_path,
            env={**settings, SLOW_S: "0.2"},
            stderr=subprocess.PIPE,
            text=True,
        ) as run:
            until(lambda: len(scene.shards()) > 2, "durable work")
            run_id = cancel(run, instance)
            _out, said = run.communicate(timeout=HANG_S)
        ended = instance.get_run_by_id(run_id)
    assert run.returncode == INTERRUPTED, said
    assert f"interrupted in hour {HOUR}: what was finished stays; run it again" in said
    assert "Traceback" not in said
    assert ended is not None
    assert ended.status == dg.DagsterRunStatus.CANCELED
    assert scene.with_status("ok") == set(scene.called())
    assert scene.with_status("pending")
    scene.finish()
    assert scene.shouts() == scene.made()
    assert scene.redone() == 0
