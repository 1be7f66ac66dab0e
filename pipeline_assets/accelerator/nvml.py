"""What the driver says of a GPU: memory, utilisation, temperature, ECC and Xid errors, by NVML.

Nothing here raises: what cannot be had is None, and `missing` says why nothing could. Asking NVML
makes no CUDA context, so it holds no memory of the device and survives the loss of one.

Xid errors are events, which the driver tells only to those who listen: a process hears of those
since its previous look, and there is no list of past ones but the kernel's log, which takes
privileges to read. So they are complete where sensors are evaluated by a code server that lives on;
a daemon that starts a code server of its own replaces it each minute, and misses what comes between
the last look of one and the first of the next; a command that looks once hears of none. What an
error leaves behind does not depend on who listened: the count of memory errors, and the recovery
that the driver calls for.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")

APPLICATION_XIDS = frozenset({13, 31, 43, 45, 68, 109})
"""Xids that a program brings upon itself, a page fault or its own end: the device is well.
NVIDIA's Kubernetes device plugin leaves the same ones out."""

RECOVERIES = ("none", "reset", "reboot", "drain P2P", "drain and reset")
"""What the driver calls for, by NVML's numbers; a later number is shown as it is."""
USABLE_UNTIL_DRAINED = frozenset({"none", "drain P2P", "drain and reset"})

XIDS_A_LOOK = 64
"""A storm of events must not keep a look from ending."""


@dataclass(frozen=True, slots=True)
class GpuNumbers:
    """What NVML says; `utilisation` is the share of time with a kernel running, 0..1.

    `ecc_uncorrected` counts since the driver was loaded; `xids` are those since the last look.
    """

    uuid: str | None = None
    free_bytes: int | None = None
    total_bytes: int | None = None
    utilisation: float | None = None
    temperature_c: int | None = None
    ecc_uncorrected: int | None = None
    xids: tuple[int, ...] | None = None
    recovery: str | None = None
    missing: str | None = None

    @property
    def needs_recovery(self) -> bool:
        """Whether the driver says that the device is of no use before it is reset."""
        return self.recovery is not None and self.recovery not in USABLE_UNTIL_DRAINED

    @property
    def critical_xids(self) -> tuple[int, ...]:
        """Those that speak of the device and not of a program."""
        return tuple(xid for xid in self.xids or () if xid not in APPLICATION_XIDS)


Look = Callable[[str | None], GpuNumbers]
"""(the GPU's uuid; None: the one looked at before, else the only one) → its numbers."""


def _library() -> Any:
    import pynvml  # noqa: PLC0415 - only those with a GPU need it

    return pynvml


class Nvml:
    """One process's connection to NVML, made at the first look and made anew when it breaks."""

    def __init__(self, library: Callable[[], Any] = _library) -> None:
        self._load = library
        self._lib: Any = None
        self._uuid: str | None = None
        self._events: Any = None

    def look(self, uuid: str | None) -> GpuNumbers:
        """The numbers of a GPU."""
        try:
            if self._lib is None:
                self._connect()
            device, found = self._device(uuid)
            return self._numbers(device, found)
        except Exception as error:  # noqa: BLE001 - whatever NVML is short of, it is the reason
            self._disconnect()
            return GpuNumbers(missing=f"{type(error).__name__}: {error}")

    def _connect(self) -> None:
        library = self._load()
        library.nvmlInit()
        self._lib = library

    def _disconnect(self) -> None:
        """After a driver's restart old handles are dead for good; events are lost with them."""
        library, self._lib, self._events = self._lib, None, None
        if library is not None:
            self._or_none(library, library.nvmlShutdown)

    def _device(self, uuid: str | None) -> tuple[Any, str]:
        wanted = uuid or self._uuid
        if wanted is None:
            count = self._lib.nvmlDeviceGetCount()
            if count != 1:
                raise LookupError(f"{count} GPUs, and none is known to be ours")
            device = self._lib.nvmlDeviceGetHandleByIndex(0)
        else:
            device = self._lib.nvmlDeviceGetHandleByUUID(wanted)
        found = str(self._lib.nvmlDeviceGetUUID(device))
        if found != self._uuid:
            self._uuid, self._events = found, None
        return device, found

    def _numbers(self, device: Any, uuid: str) -> GpuNumbers:
        lib = self._lib
        memory = self._or_none(lib, lib.nvmlDeviceGetMemoryInfo, device)
        rates = self._or_none(lib, lib.nvmlDeviceGetUtilizationRates, device)
        return GpuNumbers(
            uuid,
            free_bytes=None if memory is None else int(memory.free),
            total_bytes=None if memory is None else int(memory.total),
            utilisation=None if rates is None else rates.gpu / 100,
            temperature_c=self._or_none(
                lib, lib.nvmlDeviceGetTemperature, device, lib.NVML_TEMPERATURE_GPU
            ),
            ecc_uncorrected=self._or_none(
                lib,
                lib.nvmlDeviceGetTotalEccErrors,
                device,
                lib.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
                lib.NVML_VOLATILE_ECC,
            ),
            xids=self._or_none(lib, self._xids, device),
            recovery=self._recovery(device),
        )

    def _recovery(self, device: Any) -> str | None:
        asked = [self._lib.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION]
        values = self._or_none(self._lib, self._lib.nvmlDeviceGetFieldValues, device, asked)
        if values is None or values[0].nvmlReturn != self._lib.NVML_SUCCESS:
            return None
        number = int(values[0].value.uiVal)
        return RECOVERIES[number] if number < len(RECOVERIES) else str(number)

    def _xids(self, device: Any) -> tuple[int, ...]:
        lib = self._lib
        if self._events is None:
            events = lib.nvmlEventSetCreate()
            lib.nvmlDeviceRegisterEvents(device, lib.nvmlEventTypeXidCriticalError, events)
            self._events = events
        xids: list[int] = []
        while len(xids) < XIDS_A_LOOK:
            try:
                xids.append(int(lib.nvmlEventSetWait_v2(self._events, 0).eventData))
            except lib.NVMLError_Timeout:  # none is waiting
                break
        return tuple(xids)

    @staticmethod
    def _or_none(library: Any, ask: Callable[..., Any], *arguments: Any) -> Any:
        """Small cards have no ECC, parts of a card no utilisation: the rest is still worth it."""
        try:
            return ask(*arguments)
        except library.NVMLError:
            return None


@cache
def of_this_process() -> Nvml:
    """The connection that hears of every event since the first look of the process."""
    return Nvml()


def look(uuid: str | None) -> GpuNumbers:
    """The numbers of a GPU, through the connection of this process."""
    return of_this_process().look(uuid)
