"""Progress: said now and then, shown always."""

import logging

import pytest

from pipeline_assets.assets.progress import Progress, watched_by


def test_progress_is_said_now_and_then_and_not_for_each_batch(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Every five seconds, with all rows so far and how fast they are finished."""
    times = iter([0.0, 1.0, 5.0, 6.0])
    log = logging.getLogger("progress")
    with caplog.at_level(logging.INFO, logger="progress"):
        progress = Progress(log, "fetched", 400, timer=lambda: next(times))
        progress(100)
        progress(50)
        progress(25)
    said = [record.getMessage() for record in caplog.records]
    assert said == ["fetched: 150 of 400 rows finished, 30 rows/s"]


def test_a_watcher_sees_every_step_of_every_stage() -> None:
    """And nothing any more once it looks away."""
    seen: list[tuple[str, int, int]] = []
    with watched_by(lambda *step: seen.append(step)):
        progress = Progress(logging.getLogger("progress"), "fetched", 4)
        progress(1)
        progress(3)
    progress(1)
    assert seen == [("fetched", 1, 4), ("fetched", 4, 4)]
