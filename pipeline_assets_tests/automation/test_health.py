"""The sensor that probes: what it tells, once, and what a recovery sets going."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pipeline_assets.accelerator.accelerator import DeviceHealth, Fault, InjectedFault
from pipeline_assets.accelerator.health import HealthState
from pipeline_assets.accelerator.health_store import ProbeResult
from pipeline_assets.assets.location import Location
from pipeline_assets.automation.health import PROBED_EVERY_S, RESOURCE, AcceleratorHealth
from pipeline_assets.core.breaker import Mode
from pipeline_assets.core.names import ACCELERATOR
from pipeline_assets.definitions import defs
from pipeline_assets.resources import Resources, opened
from pipeline_assets.settings import load_settings
from pipeline_assets.stages import accelerated_rungs
from pipeline_assets_tests import hours

NAME = "accelerator_health"
NEEDED = 2

LOCATION = Location(load_settings(), of_environment=True)


@pytest.fixture
def resources(tmp_path: Path) -> Iterator[Resources]:
    """A data root on the CPU, where two good probes are enough; the environment is set to it."""
    values = {
        "PIPELINE_DATA": str(tmp_path / "data"),
        "PIPELINE_ACCELERATOR": "cpu",
        "PIPELINE_HEALTHY_PROBES": str(NEEDED),
    }
    with hours.environment(values, tmp_path), opened() as found:
        yield found


class Daemon:
    """Ticks the sensor and does with its result what Dagster's daemon does."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance, self.cursor = instance, None  # type: tuple[dg.DagsterInstance, str | None]
        self.sensor = defs.resolve_sensor_def(NAME)

    def tick(self, **resources: Any) -> str:
        """Evaluate the sensor once; gives what the list of ticks shows."""
        result = self.evaluated(**resources)
        for event in result.asset_events:
            self.instance.report_runless_asset_event(event)
        self.cursor = result.cursor
        assert not result.run_requests
        return result.skip_message or ""

    def evaluated(self, **resources: Any) -> Any:
        """Evaluate the sensor, and die before anything is done with the result."""
        with dg.build_sensor_context(
            self.instance,
            self.cursor,
            resources={RESOURCE: AcceleratorHealth(LOCATION), **resources},
        ) as context:
            return self.sensor.evaluate_tick(context)

    def told(self) -> list[dict[str, Any]]:
        """The observations in the event log, oldest first, with their numbers."""
        found = self.instance.fetch_observations(dg.AssetKey(ACCELERATOR), 100, ascending=True)
        observations = [record.asset_observation for record in found.records]
        return [
            {name: value.value for name, value in each.metadata.items()}
            for each in observations
            if each is not None
        ]


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    """A daemon with an event log of its own."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield Daemon(instance)


def test_the_first_state_and_every_change_are_told_once(
    resources: Resources, daemon: Daemon
) -> None:
    """Ticks without news add nothing to the log; the list of ticks shows the state all the same."""
    assert daemon.tick() == "healthy, epoch 0"
    daemon.tick()
    resources.accelerator.fail(InjectedFault(Fault.UNAVAILABLE))
    assert daemon.tick().startswith("unhealthy, epoch 0: Unavailable: the accelerator is not there")
    daemon.tick()
    resources.accelerator.heal()
    assert daemon.tick().endswith("(good probes since: 1)")
    assert daemon.tick() == "healthy, epoch 1"
    daemon.tick()
    assert [(each["healthy"], each["epoch"]) for each in daemon.told()] == [
        (True, 0),
        (False, 0),
        (True, 1),
    ]


def test_an_observation_has_the_numbers_of_its_probe(resources: Resources, daemon: Daemon) -> None:
    """And says when a fault was asked for."""
    daemon.tick()
    resources.accelerator.fail(InjectedFault(Fault.SLOW))
    daemon.tick()
    first, ill = daemon.told()
    assert first["device"] == "cpu"
    assert first["kernel_s"] < 1
    assert not {"since", "reason", "free_bytes", "fault_on_request"} & set(first)
    assert (ill["fault_on_request"], ill["good_probes_in_a_row"]) == ("slow", 0)
    assert ill["kernel_s"] >= 1
    assert "is slow" in ill["reason"]
    assert ill["since"] == resources.health.current().since


def test_a_recovery_half_opens_the_breakers_of_the_accelerated_rungs(
    resources: Resources, daemon: Daemon
) -> None:
    """Not before it is one, and no others."""
    label, vector = accelerated_rungs(resources.settings)
    resources.breakers.open_for(label, 3600)
    resources.breakers.open_for("image_labels.cpu_clip", 3600)
    daemon.tick()
    resources.accelerator.fail(InjectedFault(Fault.OOM))
    daemon.tick()
    resources.accelerator.heal()
    daemon.tick()
    assert resources.breakers.load(label).mode is Mode.OPEN
    daemon.tick()
    modes = {name: state.mode for name, state in resources.breakers.all().items()}
    assert modes == {label: Mode.HALF_OPEN, "image_labels.cpu_clip": Mode.OPEN}
    assert daemon.told()[-1]["breakers_half_open"] == label
    resources.breakers.open_for(vector, 3600)
    daemon.tick()
    assert resources.breakers.load(vector).mode is Mode.OPEN


def test_a_change_that_a_killed_daemon_did_not_tell_is_told_by_the_next(
    resources: Resources, daemon: Daemon
) -> None:
    """The state is stored before anybody hears of it."""
    daemon.tick()
    resources.accelerator.fail(InjectedFault(Fault.OOM))
    daemon.evaluated()
    assert len(daemon.told()) == 1
    daemon.tick()
    assert [each["healthy"] for each in daemon.told()] == [True, False]


class Gpu(AcceleratorHealth):
    """The health of a GPU that a test makes up."""

    def probe(self) -> ProbeResult:
        """Always the same."""
        found = DeviceHealth(
            "cuda",
            "Fake 80GB",
            healthy=False,
            reason="the driver reported Xid 79",
            free_bytes=60 * 10**9,
            total_bytes=80 * 10**9,
            utilisation=0.25,
            temperature_c=41,
            ecc_uncorrected=0,
            xids=(79,),
        )
        ill = HealthState(False, 4, 1000.0, 0, found.reason)
        return ProbeResult(HealthState(True, 4, 500.0, 9), ill, found)


def test_the_resource_can_be_replaced_and_every_number_of_a_gpu_is_shown(daemon: Daemon) -> None:
    """The UI has types for them: a plot, a time, a list."""
    assert (
        daemon.tick(**{RESOURCE: Gpu(LOCATION)}) == "unhealthy, epoch 4: the driver reported Xid 79"
    )
    (ill,) = daemon.told()
    assert ill == {
        "healthy": False,
        "reason": "the driver reported Xid 79",
        "since": 1000.0,
        "epoch": 4,
        "good_probes_in_a_row": 0,
        "device": "cuda",
        "name": "Fake 80GB",
        "free_bytes": 60 * 10**9,
        "total_bytes": 80 * 10**9,
        "utilisation": 0.25,
        "temperature_c": 41,
        "ecc_uncorrected": 0,
        "xids": [79],
    }


def test_the_resource_gives_the_current_state(resources: Resources) -> None:
    """To whoever wants to know in a run or a sensor."""
    resources.accelerator.fail(InjectedFault(Fault.UNAVAILABLE))
    health = AcceleratorHealth(LOCATION)
    assert health.current() == HealthState()
    assert health.current() != health.probe().after == health.current()


def test_it_runs_from_the_start_twice_a_minute() -> None:
    """What heals relies on it, and it costs next to nothing."""
    sensor = defs.resolve_sensor_def(NAME)
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    assert sensor.minimum_interval_seconds == PROBED_EVERY_S


def test_the_accelerator_is_an_asset_that_nobody_materializes() -> None:
    """It is in no job, and its last observation is what the UI shows of it."""
    node = defs.get_repository_def().asset_graph.get(dg.AssetKey(ACCELERATOR))
    assert (node.is_external, node.is_materializable, node.group_name) == (True, False, "platform")
    for job in ("hour", "rejects"):
        assert node.key not in defs.resolve_job_def(job).asset_layer.selected_asset_keys
