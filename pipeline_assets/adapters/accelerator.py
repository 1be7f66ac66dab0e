"""The accelerator: where the primary model runs, what is wrong with it, and faults on request.

On a machine that never had a GPU the primary model runs on the CPU and nothing is degraded. Once a
data root has seen a GPU, its absence under `auto` is `Unavailable`, never a silent change of plan.

Faults are injected at this seam, by `accelerator fail`, and live in the state database, so that
every process meets them; they are for drills and tests, and every message says so.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Literal, TypeVar

from pipeline_assets.adapters.state import State
from pipeline_assets.errors import ResourceExhausted, Unavailable

T = TypeVar("T")

FAULT = "accelerator.fault"
SEEN_GPU = "accelerator.seen_gpu"
SLOW_CALL_S = 1.0


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
class Health:
    """What a look at the accelerator found."""

    device: str
    name: str
    healthy: bool
    reason: str | None
    free_bytes: int | None = None
    total_bytes: int | None = None
    fault: InjectedFault | None = None


class Accelerator:
    """The device of the primary model, as `PIPELINE_ACCELERATOR` and the machine decide."""

    def __init__(
        self,
        state: State,
        setting: Literal["auto", "cuda", "cpu"],
        *,
        gpu_present: Callable[[], bool] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._state, self._setting, self._sleep = state, setting, sleep
        self._gpu_present = gpu_present or _gpu_present

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

    def health(self) -> Health:
        """Look at the device, and put a tiny real kernel through it."""
        fault = self.fault()
        try:
            device = self.device()
            if fault is not None and not fault.after_rows and fault.kind is not Fault.SLOW:
                self._suffer(fault, fault.fits + 1)
            _probe(device)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the reason
            return Health(self._setting, "", False, f"{type(error).__name__}: {error}", fault=fault)
        name, free, total = _describe(device)
        return Health(device, name, True, None, free, total, fault)

    def _suffer(self, fault: InjectedFault, rows: int) -> None:
        if fault.after_rows >= rows:
            self.fail(replace(fault, after_rows=fault.after_rows - rows))
            return
        if fault.kind is not Fault.OOM:
            self.fail(replace(fault, after_rows=0))
        match fault.kind:
            case Fault.OOM if rows > max(fault.fits, fault.after_rows):
                raise ResourceExhausted(
                    f"the accelerator is out of memory for a batch of {rows} (fault on request; "
                    "`pipeline-assets accelerator heal` lifts it)"
                )
            case Fault.UNAVAILABLE:
                raise Unavailable(
                    "the accelerator is not there (fault on request; "
                    "`pipeline-assets accelerator heal` lifts it)"
                )
            case Fault.SLOW:
                self._sleep(SLOW_CALL_S)
            case _:
                return


def _gpu_present() -> bool:
    import torch  # noqa: PLC0415 - two seconds that loading the definitions must not cost

    return torch.cuda.is_available()


def _probe(device: str) -> None:
    import torch  # noqa: PLC0415

    ones = torch.ones(64, 64, device=device)
    if float((ones @ ones).sum()) != 64.0**3:
        raise Unavailable("a matrix product came out wrong: the device computes nonsense")


def _describe(device: str) -> tuple[str, int | None, int | None]:
    if device == "cpu":
        return "CPU (no GPU in use)", None, None
    import torch  # noqa: PLC0415

    free, total = torch.cuda.mem_get_info()
    return torch.cuda.get_device_name(), free, total
