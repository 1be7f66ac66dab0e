"""What a test run leaves behind, by runs of its own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline_assets.store.processes import is_gone
from pipeline_assets_tests import REPOSITORY, leftovers

TEST = """
import pathlib, subprocess, time
def test_starts_a_process() -> None:
    left = subprocess.Popen(["sleep", "3600"], start_new_session=True, stdout=subprocess.DEVNULL)
    pathlib.Path("left").write_text(str(left.pid))
    {then}
"""


SOON = f"""
from {leftovers.__name__.rpartition(".")[0]} import leftovers
leftovers.GONE_WITHIN_S = 0.1
"""


def run_of(folder: Path, then: str) -> subprocess.Popen[str]:
    """A test run that starts a process, and ends or waits."""
    (folder / "test_it.py").write_text(TEST.format(then=then))
    (folder / "conftest.py").write_text(SOON)
    clean = {name: value for name, value in os.environ.items() if name != leftovers.MARK}
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", "-n", "1", "-p", leftovers.__name__, "test_it.py"],
        cwd=folder,
        env={**clean, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def started(folder: Path) -> int:
    """The process that it started, as soon as it has."""
    while not (folder / "left").exists() or not (folder / "left").read_text():
        time.sleep(0.01)
    return int((folder / "left").read_text())


def test_a_run_that_leaves_a_process_behind_is_failed_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says which; it is there no more."""
    monkeypatch.chdir(tmp_path)
    run = run_of(tmp_path, "assert True")
    said, _ = run.communicate()
    assert run.returncode == pytest.ExitCode.TESTS_FAILED, said
    assert f"left behind and killed: process {started(tmp_path)}: sleep 3600" in said
    assert is_gone(started(tmp_path))


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_ended_leaves_nothing(tmp_path: Path, end: signal.Signals) -> None:
    """Neither where somebody interrupts it, nor where it cannot say a word."""
    run = run_of(tmp_path, "time.sleep(3600)")
    left = started(tmp_path)
    os.killpg(run.pid, end)
    run.communicate()
    while not is_gone(left):
        time.sleep(0.01)
