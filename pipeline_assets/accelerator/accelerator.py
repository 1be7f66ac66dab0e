"""The accelerator: where the primary model runs, what is wrong with it, and faults on request.

On a machine that never had a GPU the primary model runs on the CPU and nothing is degraded. Once a
data root has seen a GPU, its absence under `auto` is `Unavailable`, never a silent change of plan.

Faults are injected at this seam, by `accelerator fail`, and live in the state database, so that
every process meets them; they are for drills and tests, and every message says so.
"""

import ctypes
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Literal, TypeVar

from pipeline_assets.accelerator.kernel import Kernel, run_kernel
from pipeline_assets.accelerator.nvml import GpuNumbers, Look, look
from pipeline_assets.errors import ResourceExhausted, Unavailable
from pipeline_assets.state.database import State

T = TypeVar("T")

FAULT = "accelerator.fault"
SEEN_GPU = "accelerator.seen_gpu"
SLOW_CALL_S = 1.0
SLOW_KERNEL_S = 0.5
"""The probe's kernel took 13 µs on a CPU, and 34 ms with torch on two busy cores. On what takes ten
times that, batches would be a crawl."""

ON_REQUEST = "(fault on request; `pipeline-assets accelerator heal` lifts it)"
CUDA_DRIVER = "libcuda.so.1"


class Fault(StrEnum):
    """What can be made to go wrong."""

    OOM = "oom"
    UNAVAILABLE = "unavailable"
    SLOW = "slow"


@dataclass(frozen=True, slots=True)
class InjectedFault:
    """A fault on request: it strikes once `after_rows` more rows were served.

    With `OOM`, batches of at most `fits` rows still succeed, and so do smaller batches until
    `after_rows` are served: memory fills up, it does not vanish.
    """

    kind: Fault
    after_rows: int = 0
    fits: int = 0


@dataclass(frozen=True, slots=True)
class DeviceHealth:
    """What a look at the accelerator found; the numbers of a GPU are as in `GpuNumbers`.

    `kernel_s` is how long the probe's kernel took, with the time that a fault on request cost.
    """

    device: str
    name: str
    healthy: bool
    reason: str | None
    fault: InjectedFault | None = None
    kernel_s: float | None = None
    uuid: str | None = None
    free_bytes: int | None = None
    total_bytes: int | None = None
    utilisation: float | None = None
    temperature_c: int | None = None
    ecc_uncorrected: int | None = None
    xids: tuple[int, ...] | None = None
    recovery: str | None = None
    missing: str | None = None


class Accelerator:
    """The device of the primary model, as `PIPELINE_ACCELERATOR` and the machine decide."""

    def __init__(
        self,
        state: State,
        setting: Literal["auto", "cuda", "cpu"],
        *,
        gpu_present: Callable[[], bool] | None = None,
        kernel: Callable[[str], Kernel] = run_kernel,
        numbers: Look = look,
        sleep: Callable[[float], None] = time.sleep,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._state, self._setting = state, setting
        self._gpu_present = gpu_present or _gpu_present
        self._kernel, self._numbers = kernel, numbers
        self._sleep, self._timer = sleep, timer

    def device(self) -> str:
        """Where the primary model runs, "cuda" or "cpu".

        Raises `Unavailable` where a GPU is wanted and there is none.
        """
        if self._setting == "cpu":
            return "cpu"
        if self._gpu_present():
            if not self._state.fact(SEEN_GPU):
                self._state.remember(SEEN_GPU, True)
            return "cuda"
        if self._setting == "cuda":
            raise Unavailable("PIPELINE_ACCELERATOR=cuda, but no CUDA device is visible")
        if self._state.fact(SEEN_GPU):
            raise Unavailable(
                "the GPU that this data root has used is not visible; mend it, or set "
                "PIPELINE_ACCELERATOR=cpu to run the primary model on the CPU from now on"
            )
        return "cpu"

    def run(self, rows: int, call: Callable[[], T]) -> T:
        """Make one call of `rows` rows on the accelerator.

        Raises `ResourceExhausted` or `Unavailable` for a fault on request; a real one comes from
        `call` as torch's own error, which `errors.classify` knows.
        """
        fault = self.fault()
        if fault is not None:
            self._suffer(fault, rows)
        return call()

    def fault(self) -> InjectedFault | None:
        """The fault on request, if there is one."""
        stored = self._state.fact(FAULT)
        return InjectedFault(**{**stored, "kind": Fault(stored["kind"])}) if stored else None

    def fail(self, fault: InjectedFault) -> None:
        """Ask for a fault."""
        self._state.remember(FAULT, asdict(fault))

    def heal(self) -> None:
        """Lift the fault on request. Real trouble is not ours to lift."""
        self._state.forget(FAULT)

    def health(self) -> DeviceHealth:
        """Look at the device, and put a tiny real kernel through it. Never raises for its sake."""
        fault = self.fault()
        device: str = self._setting
        try:
            device = self.device()
            waited_s = self._wait_for(fault)
            kernel = self._kernel(device)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the reason
            numbers = self._of_gpu(device, None)
            why = f"{type(error).__name__}: {error}"
            return DeviceHealth(device, "", False, why, fault, **asdict(numbers))
        numbers = self._of_gpu(device, kernel.uuid)
        kernel_s = waited_s + kernel.seconds
        reason = _ailment(numbers) or _slow(kernel_s, fault)
        return DeviceHealth(
            device, kernel.name, reason is None, reason, fault, kernel_s, **asdict(numbers)
        )

    def _wait_for(self, fault: InjectedFault | None) -> float:
        """Let a fault that is due strike, as it would any call; the seconds that it took."""
        started = self._timer()
        if fault is not None and not fault.after_rows:
            self._suffer(fault, fault.fits + 1)
        return self._timer() - started

    def _of_gpu(self, device: str, uuid: str | None) -> GpuNumbers:
        return GpuNumbers() if device == "cpu" else self._numbers(uuid)

    def _suffer(self, fault: InjectedFault, rows: int) -> None:
        if fault.after_rows >= rows:
            self.fail(replace(fault, after_rows=fault.after_rows - rows))
            return
        if fault.after_rows and fault.kind is not Fault.OOM:
            self.fail(replace(fault, after_rows=0))
        match fault.kind:
            case Fault.OOM if rows > max(fault.fits, fault.after_rows):
                raise ResourceExhausted(
                    f"the accelerator is out of memory for a batch of {rows} {ON_REQUEST}"
                )
            case Fault.UNAVAILABLE:
                raise Unavailable(f"the accelerator is not there {ON_REQUEST}")
            case Fault.SLOW:
                self._sleep(SLOW_CALL_S)
            case _:
                return


def _ailment(numbers: GpuNumbers) -> str | None:
    """What the driver has reported of the device itself, in words."""
    if numbers.needs_recovery:
        return f"the driver says that {numbers.uuid} needs recovery: {numbers.recovery}"
    if numbers.critical_xids:
        xids = ", ".join(f"Xid {xid}" for xid in numbers.critical_xids)
        return f"the driver reported {xids} on {numbers.uuid}; the kernel's log says more"
    return None


def _slow(kernel_s: float, fault: InjectedFault | None) -> str | None:
    if kernel_s < SLOW_KERNEL_S:
        return None
    requested = "" if fault is None else f" {ON_REQUEST}"
    return f"the probe's kernel took {kernel_s:.2f} s, and {SLOW_KERNEL_S:g} s is slow{requested}"


def _gpu_present() -> bool:
    try:
        ctypes.CDLL(CUDA_DRIVER)
    except OSError:
        return False  # what torch would find out as well, after two seconds and half a gigabyte
    import torch  # noqa: PLC0415

    return torch.cuda.is_available()
