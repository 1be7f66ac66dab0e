"""`accelerator status | fail | heal`."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from pipeline_assets.accelerator.accelerator import Fault, InjectedFault
from pipeline_assets.resources import Resources
from pipeline_assets.stages import accelerated_rungs


def status(resources: Resources) -> dict[str, Any]:
    """What a look at the accelerator finds now, and what the probes up to now have come to.

    The look counts for nothing: only probes at the sensor's even pace are evidence.
    """
    memory = resources.health.memory()
    state = memory.state
    return {
        **asdict(resources.accelerator.health()),
        "state": "healthy" if state.healthy else "unhealthy",
        "state_reason": state.reason,
        "since": _time(state.since),
        "epoch": state.epoch,
        "good_probes_in_a_row": state.streak,
        "good_probes_needed": resources.health.healthy_probes,
        "probed_at": _time(memory.probed_at),
    }


def fail(resources: Resources, fault: Fault, after_rows: int, fits: int) -> dict[str, Any]:
    """Inject a fault; it stays until `heal`."""
    injected = InjectedFault(fault, after_rows=after_rows, fits=fits)
    resources.accelerator.fail(injected)
    return asdict(injected)


def heal(resources: Resources) -> dict[str, Any]:
    """Lift the injected fault, and let the waiting breakers probe at once.

    The state is left alone: it becomes healthy by good probes, not by word.
    """
    resources.accelerator.heal()
    probing = resources.breakers.probe_again(accelerated_rungs(resources.settings))
    return {**status(resources), "half_open": probing}


def _time(seconds: float) -> datetime | None:
    """Zero is never."""
    return datetime.fromtimestamp(seconds, UTC) if seconds else None
