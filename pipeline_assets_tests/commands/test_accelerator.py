"""`accelerator status | fail | heal`."""

from pipeline_assets.accelerator.accelerator import Fault
from pipeline_assets.accelerator.health import HEALTHY_PROBES
from pipeline_assets.commands.accelerator import fail, heal, status
from pipeline_assets.core.breaker import Mode
from pipeline_assets.resources import Resources
from pipeline_assets.stages import accelerated_rungs
from pipeline_assets_tests.conftest import Clock


def test_a_fault_shows_in_the_status_until_it_is_healed(resources: Resources) -> None:
    """The same seam that the models run through."""
    assert status(resources)["healthy"] is True
    assert fail(resources, Fault.OOM, 0, 0) == {"kind": "oom", "after_rows": 0, "fits": 0}
    ill = status(resources)
    assert ill["healthy"] is False
    assert ill["fault"]["kind"] == "oom"
    assert heal(resources)["healthy"] is True
    assert resources.accelerator.fault() is None


def test_healing_lets_the_waiting_breakers_probe_at_once(resources: Resources) -> None:
    """Those of its rungs that wait, and no others."""
    label, vector = accelerated_rungs(resources.settings)
    resources.breakers.force(label, Mode.OPEN)
    resources.breakers.force("image_labels.cpu_clip", Mode.OPEN)
    resources.breakers.force(vector, Mode.FORCED_OPEN)
    assert heal(resources)["half_open"] == [label]
    assert resources.breakers.load(label).mode is Mode.HALF_OPEN
    assert resources.breakers.load("image_labels.cpu_clip").mode is Mode.OPEN
    assert resources.breakers.load(vector).mode is Mode.FORCED_OPEN


def test_status_shows_what_the_probes_have_come_to(resources: Resources, clock: Clock) -> None:
    """Beside what a look finds now."""
    before = status(resources)
    assert (before["state"], before["epoch"], before["since"]) == ("healthy", 0, None)
    assert (before["good_probes_needed"], before["probed_at"]) == (HEALTHY_PROBES, None)
    fail(resources, Fault.UNAVAILABLE, 0, 0)
    resources.health.probe(resources.accelerator.health)
    began = clock.at
    clock.advance(30)
    resources.accelerator.heal()
    resources.health.probe(resources.accelerator.health)
    after = status(resources)
    assert after["healthy"]
    assert (after["state"], after["since"]) == ("unhealthy", began)
    assert "not there" in after["state_reason"]
    assert (after["good_probes_in_a_row"], after["probed_at"]) == (1, clock.at)


def test_neither_a_fault_nor_its_end_nor_a_look_changes_the_state(resources: Resources) -> None:
    """Health is what probes have shown, at an even pace."""
    fail(resources, Fault.OOM, 0, 0)
    status(resources)
    assert resources.health.current().healthy
    resources.health.probe(resources.accelerator.health)
    for _ in range(HEALTHY_PROBES + 1):
        heal(resources)
    assert not resources.health.current().healthy
    assert resources.health.current().streak == 0
