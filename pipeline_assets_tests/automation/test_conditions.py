"""What stands in the platform's own state: breakers, health, hours, objectives."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from pipeline_assets.accelerator.accelerator import DeviceHealth
from pipeline_assets.automation.conditions import (
    LOOK_BACK_HOURS,
    UNUSED_S,
    causes,
    missed_objectives,
    missing_hours,
    open_breakers,
)
from pipeline_assets.core.breaker import BreakerRule, Mode
from pipeline_assets.core.names import ENRICHED, RECOVERY
from pipeline_assets.errors import Overloaded
from pipeline_assets.healing.rules import Priority
from pipeline_assets.monitoring.recovery import SCHEMA
from pipeline_assets.resources import Resources
from pipeline_assets.state.breakers import BreakerGate, BreakerPermit
from pipeline_assets_tests.conftest import HOUR, HOUR_START, Clock

RULE = BreakerRule(failures=1, wait_s=60)
PRIMARY, CPU = "image_labels.accelerator_clip", "image_labels.cpu_clip"
ILL = DeviceHealth("cuda", "", False, "out of memory")
WELL = DeviceHealth("cuda", "GPU", True, None)


def failed(gate: BreakerGate, rung: str, host: str = "") -> None:
    """One call that fails, and opens the breaker."""
    permit = gate.permit(rung, host)
    assert isinstance(permit, BreakerPermit)
    permit.failure(Overloaded("503"), 0.0)


def test_a_sound_platform_has_no_conditions(resources: Resources) -> None:
    """Silence."""
    assert not [*causes(resources), *open_breakers(resources), *missed_objectives(resources)]


def test_the_accelerators_breakers_and_its_health_are_causes_of_one_condition(
    resources: Resources, clock: Clock
) -> None:
    """Not conditions of their own."""
    failed(resources.breakers.gate(RULE), PRIMARY)
    opened_at = clock.seconds()
    clock.advance(30)
    resources.health.probe(lambda: ILL)
    assert list(open_breakers(resources)) == []
    ill, broken = causes(resources)
    assert "out of memory" in ill.said
    assert PRIMARY in broken.said
    assert (ill.since, broken.since) == (clock.seconds(), opened_at)


def test_once_the_accelerator_is_well_its_half_open_breakers_are_no_cause(
    resources: Resources,
) -> None:
    """They wait for a call, and nothing is wrong with that."""
    failed(resources.breakers.gate(RULE), PRIMARY)
    resources.breakers.probe_again((PRIMARY,))
    permit = resources.breakers.gate(RULE).permit(PRIMARY, "")
    assert isinstance(permit, BreakerPermit)
    assert list(causes(resources)) == []


def test_another_rungs_breaker_is_a_condition_while_it_refuses_or_probes(
    resources: Resources, clock: Clock
) -> None:
    """Until a call closes it, or nobody has called for long."""
    gate = resources.breakers.gate(RULE)
    failed(gate, CPU)
    opened_at = clock.seconds()
    clock.advance(61)
    permit = gate.permit(CPU, "")
    assert isinstance(permit, BreakerPermit)
    [alert] = open_breakers(resources)
    assert (alert.key, alert.since) == (f"breaker:{CPU}", opened_at)
    assert f"`pipeline-assets breakers events {CPU}`" in alert.todo
    clock.advance(UNUSED_S)
    assert list(open_breakers(resources)) == []


def test_an_open_breaker_that_nobody_calls_any_more_is_no_condition(
    resources: Resources, clock: Clock
) -> None:
    """It says nothing about today."""
    failed(resources.breakers.gate(RULE), CPU)
    clock.advance(60 + UNUSED_S - 1)
    assert len(list(open_breakers(resources))) == 1
    clock.advance(1)
    assert list(open_breakers(resources)) == []


def test_a_breaker_that_a_person_opened_stands_until_it_is_reset(
    resources: Resources, clock: Clock
) -> None:
    """Somebody may have forgotten it."""
    resources.breakers.force(CPU, Mode.FORCED_OPEN)
    clock.advance(1e6)
    [alert] = open_breakers(resources)
    assert "by a person" in alert.happened
    resources.breakers.reset(CPU)
    assert list(open_breakers(resources)) == []


def test_many_hosts_are_one_condition(resources: Resources) -> None:
    """It names some and counts all."""
    for number in range(40):
        failed(resources.breakers.gate(RULE), "fetched.http", f"host-{number:02}")
    [alert] = open_breakers(resources)
    assert alert.key == "breaker:fetched.http@"
    assert alert.happened.startswith("40 hosts are left alone for now: host-00, host-01,")


@pytest.mark.parametrize(
    ("now", "missing"),
    [
        ("2026-03-02T07:44:59", []),
        ("2026-03-02T07:45:00", ["2026-03-02-06"]),
        ("2026-03-02T09:45:00", ["2026-03-02-06", "2026-03-02-07", "2026-03-02-08"]),
    ],
)
def test_an_hour_did_not_come_when_it_is_not_there_three_quarters_after_its_end(
    resources: Resources, clock: Clock, now: str, missing: list[str]
) -> None:
    """From the first one that closed after the schedule was turned on."""
    clock.at = datetime.fromisoformat(now).replace(tzinfo=UTC)
    turned_on = (HOUR_START + timedelta(minutes=20)).timestamp()
    found = list(missing_hours(resources, turned_on))
    assert [alert.key for alert in found] == [f"hour:{hour}" for hour in missing]
    assert list(missing_hours(resources, None)) == []
    for alert, hour in zip(found, missing, strict=True):
        assert f"`pipeline-assets run --hour {hour}`" in alert.todo
        resources.tables.write(ENRICHED, hour, pa.table({"item_id": pa.array([], pa.string())}))
    assert list(missing_hours(resources, turned_on)) == []


def test_an_hour_that_was_said_to_be_missing_stands_until_it_is_there(
    resources: Resources, clock: Clock
) -> None:
    """Though others are not asked after when a week has passed: somebody may have removed them."""
    turned_on = HOUR_START.timestamp()
    clock.at = HOUR_START + timedelta(hours=2)
    resources.alerts.look(list(missing_hours(resources, turned_on)), [])
    clock.advance(timedelta(days=10).total_seconds())
    found = [alert.key for alert in missing_hours(resources, turned_on)]
    assert found[:2] == [f"hour:{HOUR}", "hour:2026-03-05-07"]
    assert len(found) == LOOK_BACK_HOURS + 1


def recovered(resources: Resources, *rows: dict[str, object]) -> None:
    """An hour's times to recovery, and its line in the index of hours."""
    table = pa.Table.from_pylist(list(rows), schema=SCHEMA)
    resources.tables.write(RECOVERY, HOUR, table)
    group = {
        "stage": "items",
        "rows": len(rows),
        "quality_mean": 1.0,
        "improvable": 0,
        "improvable_accelerated": 0,
        "next_retry_at": None,
        **{each.value: 0 for each in Priority},
    }
    resources.hours.keep(HOUR, pa.Table.from_pylist([group]))


def item(
    item_id: str, clock: Clock, healed_after_s: float | None, objective_s: float = 600
) -> dict[str, object]:
    """An item that was degraded now, and healed so long after, if it was."""
    healed = None if healed_after_s is None else clock.at + timedelta(seconds=healed_after_s)
    return {
        "item_id": item_id,
        "priority": "batch",
        "degraded_at": clock.at,
        "healed_at": healed,
        "seconds": healed_after_s,
        "objective_s": objective_s,
        "met": None if healed_after_s is None else healed_after_s <= objective_s,
    }


def test_items_that_healed_too_late_or_wait_for_too_long_are_one_condition_a_class(
    resources: Resources, clock: Clock
) -> None:
    """It counts them, and names their hours."""
    due = clock.seconds() + 600
    rows = [item("late", clock, 700), item("met", clock, 500), item("waits", clock, None)]
    recovered(resources, *rows, item("in time", clock, None, 5000))
    clock.advance(601)
    [alert] = missed_objectives(resources)
    assert (alert.key, alert.since) == ("objective:batch", due)
    assert alert.happened.startswith("2 items of 1 hours took longer")
    assert "1 of them still wait" in alert.happened
    assert HOUR in alert.happened


def test_no_objective_is_missed_while_the_accelerator_is_ill(
    resources: Resources, clock: Clock
) -> None:
    """The time counts from when it is healthy again."""
    recovered(resources, item("waits", clock, None))
    resources.health.probe(lambda: ILL)
    clock.advance(1e4)
    assert list(missed_objectives(resources)) == []
    for _ in range(resources.settings.healthy_probes):
        resources.health.probe(lambda: WELL)
    clock.advance(599)
    assert list(missed_objectives(resources)) == []
    clock.advance(2)
    assert len(list(missed_objectives(resources))) == 1
