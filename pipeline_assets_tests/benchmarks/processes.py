"""Fresh processes, and what they took."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

SHOWN_OF_STDERR = 2000
_RSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True, slots=True)
class Finished:
    """A process that ended well: wall time from its start to its end, and its largest memory."""

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
    }
    with TemporaryFile() as out, TemporaryFile() as errors:
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=folder, env=environment, stdout=out, stderr=errors
        )
        # Of this child alone, where RUSAGE_CHILDREN would give the largest of all so far.
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise RuntimeError(
                f"{' '.join(arguments)} ended with {process.returncode}: "
                f"{_text(errors)[-SHOWN_OF_STDERR:]}"
            )
        return Finished(seconds, usage.ru_maxrss * _RSS_UNIT_BYTES, _text(out))


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
