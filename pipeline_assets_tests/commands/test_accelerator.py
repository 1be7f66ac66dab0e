"""`accelerator status | fail | heal`."""

from pipeline_assets.adapters.accelerator import Fault
from pipeline_assets.commands.accelerator import accelerated_rungs, fail, heal, status
from pipeline_assets.core.breaker import Mode
from pipeline_assets.resources import Resources


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
