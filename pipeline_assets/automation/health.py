"""The accelerator's health in Dagster: a resource, an asset that shows it, a sensor that probes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg

from pipeline_assets.assets.location import Location
from pipeline_assets.assets.shown import as_metadata
from pipeline_assets.assets.stages import ACCELERATOR_POOL, OWNERS
from pipeline_assets.core.names import ACCELERATOR

if TYPE_CHECKING:
    from pipeline_assets.accelerator.health import HealthState
    from pipeline_assets.accelerator.health_store import ProbeResult

RESOURCE = "accelerator_health"
PROBED_EVERY_S = 30
"""On a CPU a probe costs microseconds. On a GPU it is a process of its own, whose import of torch
takes 1.5 s of processor time; what CUDA takes to start comes on top, and was not measured."""


@dataclass(frozen=True)
class AcceleratorHealth:
    """The accelerator's health, as the settings and the state database of a location have it.

    Put another object of a subclass in its place, and the sensor goes by what that one says.
    """

    location: Location

    def current(self) -> "HealthState":
        """The state, as the probes up to now have left it."""
        with self.location.opened() as resources:
            return resources.health.current()

    def probe(self) -> "ProbeResult":
        """Probe the accelerator once, and store what that makes of the state."""
        with self.location.opened() as resources:
            return resources.health.probe(resources.accelerator.health)

    def half_open(self) -> list[str]:
        """Let the breakers of the accelerated rungs that wait probe at once; their names."""
        from pipeline_assets.stages import accelerated_rungs  # noqa: PLC0415

        with self.location.opened() as resources:
            return resources.breakers.probe_again(accelerated_rungs(resources.settings))


def accelerator_asset(location: Location) -> dg.AssetSpec:
    """The device itself: nobody materializes it, its changes of health are observed."""
    return dg.AssetSpec(
        location.key(ACCELERATOR),
        description="The device of the primary model: healthy or not, since when, with the "
        "numbers of the probe that found the change. Observed by the sensor accelerator_health.",
        group_name="platform",
        owners=OWNERS,
        kinds={"gpu"},
    )


def accelerator_sensor(location: Location) -> dg.SensorDefinition:
    """Probes the accelerator; an observation for each change, and the breakers of a recovery."""

    @dg.sensor(
        name="accelerator_health",
        minimum_interval_seconds=PROBED_EVERY_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Probes the accelerator. One bad probe makes it unhealthy, several good ones "
        "in a row healthy (PIPELINE_HEALTHY_PROBES); then the breakers of its rungs try again. "
        "It is on from the start, unlike the schedules: it launches no run and spends nothing, "
        "and whatever heals relies on it.",
    )
    def sensor(
        context: dg.SensorEvaluationContext, accelerator_health: dg.ResourceParam[AcceleratorHealth]
    ) -> dg.SensorResult:
        limit_pool(context.instance)
        probe = accelerator_health.probe()
        state = probe.after
        if context.cursor == state.name:
            return dg.SensorResult(skip_reason=_said(state))
        # By the cursor, not by the state before: what a killed daemon did not tell, the next tells.
        half_open = accelerator_health.half_open() if state.recovered else []
        observed = dg.AssetObservation(
            location.key(ACCELERATOR), metadata=_metadata(probe, half_open)
        )
        return dg.SensorResult(skip_reason=_said(state), cursor=state.name, asset_events=[observed])

    return sensor


def limit_pool(instance: dg.DagsterInstance) -> None:
    """Have the queue know the pool's default limit before the first runs that need it.

    Dagster's queue learns of a pool from those, and lets as many of them start as wait at the time.
    """
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        return
    if ACCELERATOR_POOL not in storage.get_concurrency_keys():
        storage.initialize_concurrency_limit_to_default(ACCELERATOR_POOL)


def _said(state: "HealthState") -> str:
    """What the list of ticks shows."""
    if state.reason is None:
        return state.name
    better = f" (good probes since: {state.streak})" if state.streak else ""
    return f"{state.name}: {state.reason}{better}"


def _metadata(probe: "ProbeResult", half_open: list[str]) -> dict[str, Any]:
    state, found = probe.after, probe.found
    return as_metadata(
        {
            "healthy": state.healthy,
            "reason": state.reason,
            "since": dg.MetadataValue.timestamp(state.since) if state.since else None,
            "epoch": state.epoch,
            "good_probes_in_a_row": state.streak,
            "breakers_half_open": ", ".join(half_open) or None,
            "device": found.device,
            "name": found.name or None,
            "fault_on_request": None if found.fault is None else found.fault.kind.value,
            "kernel_s": found.kernel_s,
            "uuid": found.uuid,
            "free_bytes": found.free_bytes,
            "total_bytes": found.total_bytes,
            "utilisation": found.utilisation,
            "temperature_c": found.temperature_c,
            "ecc_uncorrected": found.ecc_uncorrected,
            "xids": None if found.xids is None else list(found.xids),
            "recovery": found.recovery,
            "numbers_missing": found.missing,
        }
    )
