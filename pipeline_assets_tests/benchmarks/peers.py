"""The others that our figures are held against, each in an environment of its own under `.bench`.

An environment is made once, from the requirements beside its script, and again when they change.
Nothing of ours needs a peer: where one cannot be had, its figure says why it is missing.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline_assets_tests import REPOSITORY

HERE = Path(__file__).parent
ENVIRONMENTS = REPOSITORY / ".bench"
INSTALL_S = 600.0
MEASURE_S = 600.0
GRACE_S = 60.0
SHOWN_CHARS = 500


class NotMeasuredError(Exception):
    """Why a peer has no figure."""


@dataclass(frozen=True, slots=True)
class Took:
    """What rows took: the wall clock, and the CPU of all processes."""

    rows: int
    seconds: float
    cpu_s: float

    @property
    def per_s(self) -> float:
        """Rows a second."""
        return self.rows / self.seconds


def pixeltable_rows_per_s(rows: int) -> float | str:
    """Rows a second that pixeltable inserts where 10 % fail, or `not measured: why`."""
    measured = _measured("pixeltable", str(rows))
    if isinstance(measured, str):
        return measured
    return float(measured["rows"] / measured["seconds"])


def img2dataset_took(urls: Sequence[str], *, resize: bool) -> Took | str:
    """What img2dataset took to store pictures, as they are or resized; or why it is not known."""
    return _took("img2dataset", urls, "resize" if resize else "raw")


def daft_took(urls: Sequence[str]) -> Took | str:
    """What Daft took to download pictures into Parquet; or why it is not known."""
    return _took("daft", urls)


def _took(peer: str, urls: Sequence[str], *arguments: str) -> Took | str:
    with TemporaryDirectory() as folder:
        path = Path(folder, "urls.txt")
        path.write_text("\n".join(urls))
        measured = _measured(peer, str(path), folder, *arguments)
    return measured if isinstance(measured, str) else Took(**measured)


def _measured(peer: str, *arguments: str) -> dict[str, Any] | str:
    """The last line that a peer's script prints, or `not measured: why`."""
    try:
        python, script = _environment(peer), HERE / f"peer_{peer}.py"
        printed = _run([python, script, *arguments], MEASURE_S).splitlines()
    except NotMeasuredError as error:
        return f"not measured: {error}"
    return dict(json.loads(printed[-1]))


def _environment(peer: str) -> Path:
    """The Python of a peer's environment, which is made where it is missing or was left half made.

    Raises `NotMeasuredError` where it cannot be, as without a network.
    """
    folder, requirements = ENVIRONMENTS / peer, HERE / f"peer_{peer}.txt"
    python, ready, wanted = folder / "bin" / "python", folder / ".ready", requirements.read_text()
    if not ready.exists() or ready.read_text() != wanted:
        uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}")
        if uv is None:
            raise NotMeasuredError(f"uv makes {folder}, and is not installed: make env")
        print(f"making {folder}, once", file=sys.stderr, flush=True)
        _run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, folder], INSTALL_S)
        _run([uv, "pip", "install", "--quiet", "--python", python, "-r", requirements], INSTALL_S)
        ready.write_text(wanted)
    return python


def _run(command: Sequence[str | Path], limit_s: float) -> str:
    """What a command prints. All that it started ends with it, also where it fails."""
    shown = " ".join(Path(part).name for part in command[:2])
    environment = {
        name: os.environ[name] for name in os.environ if name.partition("_")[0] != "PIXELTABLE"
    }
    process = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, errors = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        raise NotMeasuredError(f"{shown}: no end after {limit_s:.0f} s") from None
    finally:
        _end(process)
    if process.returncode != 0:
        raise NotMeasuredError(f"{shown}: {' '.join(errors.split())[-SHOWN_CHARS:]}")
    return out


def _end(process: "subprocess.Popen[str]") -> None:
    """Ask a process to end, so that it can clear up; then end what is left of its session."""
    process.terminate()  # without effect on one that has ended
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
