"""Fresh processes, and what they took."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from pipeline_assets_tests import REPOSITORY

SHOWN_OF_STDERR = 2000
LOOK_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class Finished:
    """A process that ended well: wall time from its start to its end, and its largest memory.

    The memory is that of the process and all that it started, at the moment when they had most
    together; pages that they share count once.
    """

    seconds: float
    peak_bytes: int
    output: str


def run_python(arguments: Sequence[str], folder: Path) -> Finished:
    """Run a Python of this environment in `folder`, on a data root of its own there.

    The settings are the defaults: neither `PIPELINE_…` variables nor a `pipeline.toml` reach it.
    Raises `RuntimeError` with the end of its stderr where it fails.
    """
    names = [name for name in os.environ if not name.startswith(("PIPELINE_", "DAGSTER_"))]
    environment = {
        **{name: os.environ[name] for name in names},
        "PIPELINE_DATA": str(folder / "data"),
        "PYTHONPATH": str(REPOSITORY),
    }
    with TemporaryFile() as out, TemporaryFile() as errors:
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=folder, env=environment, stdout=out, stderr=errors
        )
        peak_bytes = 0
        while process.poll() is None:
            peak_bytes = max(peak_bytes, _tree_bytes(process.pid))
            with suppress(subprocess.TimeoutExpired):
                process.wait(LOOK_EVERY_S)
        seconds = time.perf_counter() - started
        if process.returncode != 0:
            raise RuntimeError(
                f"{' '.join(arguments)} ended with {process.returncode}: "
                f"{_text(errors)[-SHOWN_OF_STDERR:]}"
            )
        return Finished(seconds, peak_bytes, _text(out))


def cpu_seconds(pid: int) -> float:
    """What a process and its descendants have used, those that it has waited for included."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        below = _children(pid)
    except (OSError, ProcessLookupError):
        return 0.0
    ticks = sum(int(number) for number in stat[11:15])
    return ticks / os.sysconf("SC_CLK_TCK") + sum(cpu_seconds(child) for child in below)


def _children(pid: int) -> list[int]:
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]


def _tree_bytes(pid: int) -> int:
    """The proportional set size of a process and its descendants; 0 where it is gone."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        below = _children(pid)
    except (OSError, ProcessLookupError):
        return 0
    pss_kb = next((line.split()[1] for line in rollup.splitlines() if line[:4] == "Pss:"), "0")
    return int(pss_kb) * 1024 + sum(_tree_bytes(child) for child in below)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
