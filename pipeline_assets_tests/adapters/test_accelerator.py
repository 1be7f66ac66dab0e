"""The accelerator's seam: where the model runs, and faults on request."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest

from pipeline_assets.adapters.accelerator import SLOW_CALL_S, Accelerator, Fault, InjectedFault
from pipeline_assets.adapters.state import State
from pipeline_assets.errors import ResourceExhausted, RowError, Unavailable

Setting = Literal["auto", "cuda", "cpu"]


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    """An empty state database."""
    opened = State(f"sqlite:///{tmp_path / 'state.db'}")
    yield opened
    opened.close()


def accelerator(state: State, setting: Setting = "cpu", *, gpu: bool = False) -> Accelerator:
    """An accelerator on a machine with or without a GPU."""
    return Accelerator(state, setting, gpu_present=lambda: gpu)


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
    assert (health.device, health.healthy, health.reason) == ("cpu", True, None)


@pytest.mark.parametrize(
    ("fault", "healthy"),
    [
        (InjectedFault(Fault.OOM), False),
        (InjectedFault(Fault.UNAVAILABLE), False),
        (InjectedFault(Fault.SLOW), True),
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
