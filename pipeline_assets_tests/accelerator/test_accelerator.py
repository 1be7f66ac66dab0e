"""The accelerator's seam: where the model runs, and faults on request."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest

from pipeline_assets.accelerator.accelerator import (
    SLOW_CALL_S,
    SLOW_KERNEL_S,
    Accelerator,
    DeviceHealth,
    Fault,
    InjectedFault,
)
from pipeline_assets.accelerator.kernel import CPU_NAME, Kernel
from pipeline_assets.accelerator.nvml import Nvml
from pipeline_assets.errors import ResourceExhausted, RowError, Unavailable
from pipeline_assets.state.database import State
from pipeline_assets_tests.accelerator.fake_nvml import FakeLibrary

Setting = Literal["auto", "cuda", "cpu"]


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    """An empty state database."""
    opened = State(f"sqlite:///{tmp_path / 'state.db'}")
    yield opened
    opened.close()


class Timer:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now_s

    def sleep(self, seconds: float) -> None:
        """Be later at once."""
        self.now_s += seconds


def accelerator(state: State, setting: Setting = "cpu", *, gpu: bool = False) -> Accelerator:
    """An accelerator on a machine with or without a GPU."""
    timer = Timer()
    return Accelerator(state, setting, gpu_present=lambda: gpu, sleep=timer.sleep, timer=timer)


class Gpu:
    """A machine with a GPU, whose driver and kernel do what a test says."""

    def __init__(self, state: State) -> None:
        self.library = FakeLibrary()
        self.kernel = Kernel("Fake 80GB", 0.001, self.library.uuid)
        self.error: Exception | None = None
        self.accelerator = Accelerator(
            state,
            "auto",
            gpu_present=lambda: True,
            kernel=self._run,
            numbers=Nvml(lambda: self.library).look,
        )

    def health(self) -> DeviceHealth:
        """What a look at it finds."""
        return self.accelerator.health()

    def _run(self, device: str) -> Kernel:
        assert device == "cuda"
        if self.error is not None:
            raise self.error
        return self.kernel


@pytest.fixture
def gpu(state: State) -> Gpu:
    """A GPU that is well."""
    return Gpu(state)


def served(device: Accelerator, batches: list[int]) -> list[int | type[RowError]]:
    """What came of a call for each batch: its rows, or the error's type."""
    outcomes: list[int | type[RowError]] = []
    for rows in batches:
        call: Callable[[], int] = lambda rows=rows: rows  # type: ignore[misc]  # noqa: E731
        try:
            outcomes.append(device.run(rows, call))
        except RowError as error:
            outcomes.append(type(error))
    return outcomes


@pytest.mark.parametrize(
    ("setting", "gpu", "device"),
    [("cpu", True, "cpu"), ("cpu", False, "cpu"), ("auto", False, "cpu"), ("auto", True, "cuda"),
     ("cuda", True, "cuda")],
)  # fmt: skip
def test_setting_and_machine_decide_where_the_model_runs(
    state: State, setting: Setting, gpu: bool, device: str
) -> None:
    """A machine that never had a GPU is not degraded."""
    assert accelerator(state, setting, gpu=gpu).device() == device


def test_cuda_without_a_gpu_is_unavailable(state: State) -> None:
    """It was asked for by name."""
    with pytest.raises(Unavailable, match="PIPELINE_ACCELERATOR=cuda"):
        accelerator(state, "cuda").device()


def test_a_gpu_that_was_seen_is_missed(state: State) -> None:
    """Never a silent change of plan; the message says how to make it a loud one."""
    accelerator(state, "auto", gpu=True).device()
    with pytest.raises(Unavailable, match="PIPELINE_ACCELERATOR=cpu"):
        accelerator(state, "auto").device()
    assert accelerator(state, "cpu").device() == "cpu"


def test_memory_fills_up_and_does_not_vanish(state: State) -> None:
    """Smaller batches go through until the rows are served; then none does."""
    device = accelerator(state)
    device.fail(InjectedFault(Fault.OOM, after_rows=10))
    oom = ResourceExhausted
    assert served(device, [8, 4, 2, 1, 1]) == [8, oom, 2, oom, oom]


def test_batches_that_fit_still_go_through(state: State) -> None:
    """The rule of halving can be shown at any size."""
    device = accelerator(state)
    device.fail(InjectedFault(Fault.OOM, fits=4))
    assert served(device, [8, 5, 4, 1]) == [ResourceExhausted, ResourceExhausted, 4, 1]


def test_unavailable_comes_after_so_many_rows_and_stays(state: State) -> None:
    """Whatever the size of the batch."""
    device = accelerator(state)
    device.fail(InjectedFault(Fault.UNAVAILABLE, after_rows=3))
    assert served(device, [2, 2, 1]) == [2, Unavailable, Unavailable]


def test_slow_calls_are_slow_and_right(state: State) -> None:
    """The time passes on an injected sleep."""
    slept: list[float] = []
    device = Accelerator(state, "cpu", sleep=slept.append)
    device.fail(InjectedFault(Fault.SLOW))
    assert served(device, [5]) == [5]
    assert slept == [SLOW_CALL_S]


def test_a_fault_meets_every_process_until_it_is_healed(state: State) -> None:
    """It lives in the state database."""
    accelerator(state).fail(InjectedFault(Fault.OOM))
    elsewhere = accelerator(state)
    assert served(elsewhere, [1]) == [ResourceExhausted]
    elsewhere.heal()
    assert served(accelerator(state), [1]) == [1]
    assert elsewhere.fault() is None


def test_a_healthy_device_has_computed_something(state: State) -> None:
    """A real kernel, not a mere look at the driver."""
    health = accelerator(state).health()
    assert (health.device, health.name, health.healthy) == ("cpu", CPU_NAME, True)
    assert (health.reason, health.missing) == (None, None)
    assert health.kernel_s is not None


@pytest.mark.parametrize(
    ("fault", "healthy"),
    [
        (InjectedFault(Fault.OOM), False),
        (InjectedFault(Fault.UNAVAILABLE), False),
        (InjectedFault(Fault.SLOW), False),
        (InjectedFault(Fault.SLOW, after_rows=1), True),
        (InjectedFault(Fault.OOM, after_rows=5), True),
    ],
)
def test_health_shows_the_fault_on_request(
    state: State, fault: InjectedFault, healthy: bool
) -> None:
    """As ill as its calls are, and it says that it was asked for; looking changes nothing."""
    device = accelerator(state)
    device.fail(fault)
    health = device.health()
    assert health.healthy is healthy
    assert healthy or "fault on request" in (health.reason or "")
    assert health.fault == device.fault() == fault


def test_a_missing_gpu_is_unhealthy_and_says_why(state: State) -> None:
    """Looking never raises."""
    health = accelerator(state, "cuda").health()
    assert not health.healthy
    assert "no CUDA device" in (health.reason or "")


def test_a_slow_probe_is_unhealthy_with_the_time_it_took(state: State) -> None:
    """A fault on request costs the probe what it costs each call."""
    device = accelerator(state)
    device.fail(InjectedFault(Fault.SLOW))
    health = device.health()
    assert health.kernel_s is not None
    assert health.kernel_s == pytest.approx(SLOW_CALL_S, abs=SLOW_KERNEL_S)
    assert f"took {health.kernel_s:.2f} s" in (health.reason or "")


@pytest.mark.parametrize(
    ("kernel_s", "healthy"),
    [(0.0, True), (SLOW_KERNEL_S - 0.001, True), (SLOW_KERNEL_S, False), (30.0, False)],
)
def test_a_kernel_is_slow_from_the_limit_on(gpu: Gpu, kernel_s: float, healthy: bool) -> None:
    """The limit is inclusive; nobody asked for this one."""
    gpu.kernel = Kernel("Fake 80GB", kernel_s, gpu.library.uuid)
    health = gpu.health()
    assert health.healthy is healthy
    assert "on request" not in (health.reason or "")


def test_a_heal_during_a_slow_probe_is_not_undone_by_it(state: State) -> None:
    """A probe never writes the fault that it read."""
    healer = accelerator(state)
    timer = Timer()

    def sleep(seconds: float) -> None:
        timer.sleep(seconds)
        healer.heal()

    device = Accelerator(state, "cpu", sleep=sleep, timer=timer)
    device.fail(InjectedFault(Fault.SLOW))
    assert not device.health().healthy
    assert device.fault() is None
    assert device.health().healthy


def test_a_gpus_health_has_the_drivers_numbers(gpu: Gpu) -> None:
    """Beside the kernel's own time."""
    health = gpu.health()
    assert health.kernel_s == pytest.approx(gpu.kernel.seconds, abs=SLOW_KERNEL_S)
    assert health == DeviceHealth(
        "cuda",
        "Fake 80GB",
        healthy=True,
        reason=None,
        kernel_s=health.kernel_s,
        uuid="GPU-fake",
        free_bytes=60 * 10**9,
        total_bytes=80 * 10**9,
        utilisation=0.25,
        temperature_c=41,
        ecc_uncorrected=0,
        xids=(),
        recovery="none",
    )


@pytest.mark.parametrize(("xid", "healthy"), [(31, True), (43, True), (48, False), (79, False)])
def test_an_xid_of_the_device_itself_is_unhealthy_at_the_next_look(
    gpu: Gpu, xid: int, healthy: bool
) -> None:
    """Even if the kernel came out right; and no longer at the look after that."""
    gpu.health()
    gpu.library.xid(xid)
    health = gpu.health()
    assert (health.healthy, health.xids) == (healthy, (xid,))
    assert healthy or f"Xid {xid}" in (health.reason or "")
    assert gpu.health().healthy


def test_a_kernel_that_fails_is_the_reason_and_the_drivers_numbers_are_there(gpu: Gpu) -> None:
    """They help to see why."""
    gpu.health()
    gpu.error = Unavailable("the device hangs")
    gpu.library.temperature_c = 97
    health = gpu.health()
    assert (health.healthy, health.reason) == (False, "Unavailable: the device hangs")
    assert (health.uuid, health.temperature_c, health.kernel_s) == ("GPU-fake", 97, None)


def test_a_gpu_without_nvml_is_judged_by_its_kernel(gpu: Gpu) -> None:
    """The numbers are missing, and it says why."""
    gpu.library.driver_loaded = False
    health = gpu.health()
    assert health.healthy
    assert (health.free_bytes, health.xids) == (None, None)
    assert health.missing == "NVMLError: Not Supported"


def test_a_gpu_that_needs_a_reset_is_unhealthy_until_it_had_one(gpu: Gpu) -> None:
    """Though its kernel may still come out right."""
    gpu.library.recovery = 1
    for _ in range(2):
        assert gpu.health().reason == "the driver says that GPU-fake needs recovery: reset"
    gpu.library.recovery = 0
    assert gpu.health().healthy
