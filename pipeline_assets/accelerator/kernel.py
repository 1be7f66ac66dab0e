"""A tiny real kernel: a product of two matrices, put through the device that is to be trusted.

On a GPU it runs in a process of its own with a deadline. A device that hangs would otherwise take
its caller along; an error that costs the CUDA context would fail every later probe of the same
process, on a device that is long well again; and a context would hold its memory between probes.

Usage: python -m pipeline_assets.accelerator.kernel DEVICE
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline_assets.errors import Unavailable

SIDE = 64
DEADLINE_S = 45.0
"""Of a tick's 60 s. With torch on two busy cores the process took 2 to 7 s."""
REAPED_WITHIN_S = 1.0
"""A process that waits for a dead driver cannot even be killed, and is left behind."""

CPU_NAME = "CPU (no GPU in use)"
NONSENSE = "a matrix product came out wrong: the device computes nonsense"


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel that came out right: on which device, and how long it took, once warm."""

    name: str
    seconds: float
    uuid: str | None = None


def run_kernel(device: str) -> Kernel:
    """Put the kernel through a device, "cpu" or "cuda".

    Raises `Unavailable` where it does not come out right.
    """
    if device == "cpu":
        ones = np.ones((SIDE, SIDE), np.float32)
        return Kernel(CPU_NAME, _timed(lambda: float((ones @ ones).sum())))
    return in_child([sys.executable, "-m", __name__, device], DEADLINE_S)


def in_child(command: Sequence[str], deadline_s: float) -> Kernel:
    """What a child process says of its kernel.

    Raises `Unavailable` with what it says, how it ended, or that it did not.
    """
    child = subprocess.Popen(  # noqa: S603 - our own interpreter and module
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        said, _ = child.communicate(timeout=deadline_s)
    except subprocess.TimeoutExpired:
        child.kill()
        with suppress(subprocess.TimeoutExpired):
            child.communicate(timeout=REAPED_WITHIN_S)
        raise Unavailable(
            f"the probe's kernel had no result after {deadline_s:g} s: the device or its driver "
            "hangs, or this machine is overloaded"
        ) from None
    if child.returncode != 0:
        raise Unavailable(f"the process of the probe's kernel ended with code {child.returncode}")
    return _read(said)


def _read(said: bytes) -> Kernel:
    try:
        told = json.loads(said)
    except ValueError:
        raise Unavailable(f"what the probe's kernel said could not be read: {said!r}") from None
    if "error" in told:
        raise Unavailable(told["error"])
    return Kernel(**told)


def _timed(product: Any) -> float:
    """Seconds of the second product: the first one loads libraries."""
    product()
    started = time.perf_counter()
    if product() != SIDE**3:
        raise Unavailable(NONSENSE)
    return time.perf_counter() - started


def _with_torch(device: str) -> Kernel:
    import torch  # noqa: PLC0415 - two seconds that only a child process spends

    ones = torch.ones(SIDE, SIDE, device=device)
    seconds = _timed(lambda: float((ones @ ones).sum()))
    if device == "cpu":
        return Kernel(CPU_NAME, seconds)
    found = torch.cuda.get_device_properties(ones.device)
    return Kernel(found.name, seconds, f"GPU-{found.uuid}")


def main(device: str) -> None:
    """Run the kernel with torch, as the models do, and say as JSON what became of it."""
    try:
        told: dict[str, Any] = asdict(_with_torch(device))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the reason
        first_line = str(error).partition("\n")[0]
        told = {"error": f"{type(error).__name__}: {first_line}"}
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
