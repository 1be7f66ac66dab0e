"""NVML's Python library on a machine with one GPU, faked."""

from types import SimpleNamespace
from typing import TypeVar

T = TypeVar("T")


class FakeLibrary:
    """A fake for tests: the library `pynvml` on a machine with one GPU, whose numbers a test sets.

    A number that is None is one that this GPU does not have. Each Xid is told once, and only to
    those who listened when it came.
    """

    NVML_SUCCESS = 0
    NVML_FI_DEV_GET_GPU_RECOVERY_ACTION = 230
    NVML_TEMPERATURE_GPU = 0
    NVML_MEMORY_ERROR_TYPE_UNCORRECTED = 1
    NVML_VOLATILE_ECC = 0
    nvmlEventTypeXidCriticalError = 8  # noqa: N815 - the library's name

    class NVMLError(Exception):
        """Of which every error of the library is one."""

    class NVMLError_Timeout(NVMLError):  # noqa: N801 - the library's name
        """No event is waiting."""

    def __init__(self, uuid: str = "GPU-fake") -> None:
        self.uuid = uuid
        self.devices = 1
        self.free_bytes: int | None = 60 * 10**9
        self.busy_percent: int | None = 25
        self.temperature_c: int | None = 41
        self.ecc_uncorrected: int | None = 0
        self.recovery: int | None = 0
        self.driver_loaded = True
        self.connections = 0
        self._waiting: list[list[int]] = []

    def xid(self, number: int) -> None:
        """An error that the driver tells to everybody who listens."""
        for each in self._waiting:
            each.append(number)

    def nvmlInit(self) -> None:  # noqa: N802 - the library's names, from here on
        """Connect to the driver."""
        self._has(self.driver_loaded or None)
        self.connections += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        """Disconnect, and listen no more."""
        self._waiting.clear()

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        """How many GPUs there are."""
        return self.devices

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:  # noqa: N802
        """The GPU at a place."""
        return f"handle of {self.uuid} at {index}"

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        """The GPU of a name."""
        self._has(uuid if self.driver_loaded and uuid == self.uuid else None)
        return f"handle of {uuid}"

    def nvmlDeviceGetUUID(self, _device: str) -> str:  # noqa: N802
        """The name of a GPU."""
        return self.uuid

    def nvmlDeviceGetMemoryInfo(self, _device: str) -> SimpleNamespace:  # noqa: N802
        """Of 80 GB."""
        return SimpleNamespace(free=self._has(self.free_bytes), total=80 * 10**9)

    def nvmlDeviceGetUtilizationRates(self, _device: str) -> SimpleNamespace:  # noqa: N802
        """In percent."""
        return SimpleNamespace(gpu=self._has(self.busy_percent))

    def nvmlDeviceGetTemperature(self, _device: str, _sensor: int) -> int:  # noqa: N802
        """In degrees Celsius."""
        return self._has(self.temperature_c)

    def nvmlDeviceGetTotalEccErrors(self, _device: str, _kind: int, _since: int) -> int:  # noqa: N802
        """Uncorrected ones, since the driver was loaded."""
        return self._has(self.ecc_uncorrected)

    def nvmlDeviceGetFieldValues(self, _device: str, fields: list[int]) -> list[SimpleNamespace]:  # noqa: N802
        """The recovery that it needs; an older driver knows no such field, and says so for it."""
        assert fields == [self.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION]
        unknown = self.recovery is None
        value = SimpleNamespace(uiVal=self.recovery or 0)
        return [SimpleNamespace(nvmlReturn=3 if unknown else self.NVML_SUCCESS, value=value)]

    def nvmlEventSetCreate(self) -> list[int]:  # noqa: N802
        """What was told and is not read."""
        return []

    def nvmlDeviceRegisterEvents(self, _device: str, _kinds: int, events: list[int]) -> None:  # noqa: N802
        """Listen from now on."""
        self._waiting.append(events)

    def nvmlEventSetWait_v2(self, events: list[int], _ms: int) -> SimpleNamespace:  # noqa: N802
        """The oldest event that waits."""
        if not events:
            raise self.NVMLError_Timeout
        return SimpleNamespace(eventData=events.pop(0))

    def _has(self, value: T | None) -> T:
        if value is None:
            raise self.NVMLError("Not Supported")
        return value
