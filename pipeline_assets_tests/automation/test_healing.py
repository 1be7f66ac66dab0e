"""The sensors that heal: what they ask for, when they stop, and that it truly heals."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg
import pyarrow as pa
import pytest
import sqlalchemy as sa

from pipeline_assets.accelerator.accelerator import DeviceHealth
from pipeline_assets.automation.asking import (
    ASKED_BY,
    LAUNCHED_WITHIN_S,
    QUEUE,
    Cause,
)
from pipeline_assets.automation.healing import HEAL, RETRY
from pipeline_assets.core.names import ENRICHED
from pipeline_assets.definitions import defs
from pipeline_assets.healing.hours import hours as hours_index
from pipeline_assets.healing.rules import Priority
from pipeline_assets.resources import Resources, opened
from pipeline_assets.sample.shop import Shop
from pipeline_assets.stages import STAGES, accelerated_rungs
from pipeline_assets.state.database import State
from pipeline_assets.store.tables import Tables
from pipeline_assets_tests import hours
from pipeline_assets_tests.assets.conftest import Copied, Hour
from pipeline_assets_tests.conftest import HOUR, NEXT_HOUR, Goods

WELL = DeviceHealth("cpu", "CPU", True, None)
ILL = DeviceHealth("cpu", "CPU", False, "out of memory")
LONGER_THAN_A_BREAKER_WAITS_S = 1000.0
THIRD_HOUR = "2026-03-02-08"


class Now:
    """The database's clock, which a test can put forward."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        """Seconds since the epoch."""
        return time.time() + self.ahead_s


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> Now:
    """The clock of every database that is opened; leases, breakers and sensors go by it."""
    clock = Now()
    monkeypatch.setattr(State, "now", lambda _state, _connection: clock())
    return clock


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """A Dagster instance that is forgotten."""
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def empty(tmp_path: Path, shop: Shop) -> Iterator[Path]:
    """A data root with nothing in it; the environment is set to it."""
    data = tmp_path / "data"
    with in_this_process(data, shop):
        yield data


def in_this_process(data: Path, shop: Shop) -> Any:
    """The environment of a data root, without workers: they have another clock."""
    environment = {**hours.environment_of(data, shop.url), "PIPELINE_WORKERS": "0"}
    return hours.environment(environment, data.parent)


def tick(instance: dg.DagsterInstance, cause: Cause = HEAL) -> dg.SensorResult:
    """One tick of a sensor, as the daemon evaluates it."""
    context = dg.build_sensor_context(instance=instance, definitions=defs)
    result = defs.get_repository_def().get_sensor_def(cause.name)(context)
    assert isinstance(result, dg.SensorResult)
    return result


def said(result: dg.SensorResult) -> str:
    """What a tick said."""
    if result.skip_reason is not None:
        assert result.skip_reason.skip_message == result.cursor
    return result.cursor or ""


def keys(result: dg.SensorResult) -> list[str]:
    """Sensor's short name, hour, epoch and number of each run that was asked for."""
    return [(each.run_key or "").rpartition("/")[0] for each in result.run_requests or ()]


def run(instance: dg.DagsterInstance, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
    """Launch what was asked for, as the daemon does, and wait for it."""
    result = defs.resolve_job_def("heal").execute_in_process(
        instance=instance,
        partition_key=request.partition_key,
        run_config={
            **request.run_config,
            "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
        },
        tags=request.tags,
        raise_on_error=False,
    )
    assert result.success
    return result


def asked_and_run(instance: dg.DagsterInstance, cause: Cause = HEAL) -> list[str]:
    """A tick, and the runs it asked for."""
    result = tick(instance, cause)
    for request in result.run_requests or ():
        run(instance, request)
    return keys(result)


def falls_ill(resources: Resources) -> None:
    """A probe finds it so."""
    resources.health.probe(lambda: ILL)


def recovers(resources: Resources) -> None:
    """Enough good probes, and the breakers half-open."""
    for _ in range(resources.settings.healthy_probes):
        resources.health.probe(lambda: WELL)
    resources.breakers.probe_again(accelerated_rungs(resources.settings))


def summary(rows: int, due: datetime, *, accelerated: bool, priority: Priority) -> pa.Table:
    """The summary of an hour with so many rows that may be better from `due` on."""
    group = {
        "stage": "image_labels" if accelerated else "fetched",
        "rows": rows,
        "quality_mean": 0.7,
        "improvable": rows,
        "improvable_accelerated": rows if accelerated else 0,
        "next_retry_at": due,
        **{each.value: rows if each is priority else 0 for each in Priority},
    }
    return pa.Table.from_pylist([group, {**group, "stage": ENRICHED, "improvable": 0}])


Line = Callable[..., None]


@pytest.fixture
def line(empty: Path) -> Line:
    """Puts an hour into the index, degraded in one way or the other."""
    assert not empty.exists()

    def put(
        hour: str,
        *,
        due_in_s: float = -1.0,
        accelerated: bool = True,
        priority: Priority = Priority.BATCH,
    ) -> None:
        due = datetime.now(UTC) + timedelta(seconds=due_in_s)
        with opened() as resources:
            resources.hours.keep(hour, summary(5, due, accelerated=accelerated, priority=priority))

    return put


def test_an_outage_heals_by_itself(
    degraded_root: Hour, copied: Copied, shop: Shop, instance: dg.DagsterInstance
) -> None:
    """Just the degraded hour is asked for, once, and then there is nothing left to ask for."""
    copy = copied(degraded_root)
    with in_this_process(copy.data, shop), opened() as resources:
        due = datetime.now(UTC)
        good = summary(0, due, accelerated=True, priority=Priority.BATCH)
        resources.hours.keep(NEXT_HOUR, good)
        falls_ill(resources)
        while_ill = tick(instance)
        assert keys(while_ill) == []
        assert "the accelerator is not healthy since" in said(while_ill)
        assert said(while_ill).endswith("out of memory")
        resources.accelerator.heal()
        recovers(resources)
        result = tick(instance)
        assert keys(result) == [f"heal/{HOUR}/1/1"]
        assert said(result) == "1 of 1 hours asked for, 1 in flight"
        assert keys(tick(instance)) == []
        [request] = result.run_requests or ()
        run(instance, request)
        assert said(tick(instance)) == "nothing improvable"
        [degraded_line, _] = resources.hours.all()
        assert (degraded_line.improvable, degraded_line.items) == (0, len(copy.rows("items")))
    assert not any(row["retryable"] for name in hours_stages() for row in copy.rows(name).values())
    recovered = hours.table(copy.data, "recovery")
    assert recovered
    assert all(row["healed_at"] > row["healthy_at"] > row["degraded_at"] for row in recovered)
    assert {row["met"] for row in recovered} == {True}


def test_an_hour_of_before_the_index_is_asked_for(
    degraded_root: Hour, copied: Copied, shop: Shop, instance: dg.DagsterInstance
) -> None:
    """Nobody has to run it first."""
    copy = copied(degraded_root)
    with in_this_process(copy.data, shop), opened() as resources:
        with resources.state.transaction() as connection:
            connection.execute(sa.delete(hours_index))
        recovers(resources)
        assert keys(tick(instance)) == [f"heal/{HOUR}/0/1"]
        [line] = resources.hours.all()
        assert line.improvable_accelerated > 0


def hours_stages() -> list[str]:
    """The stages of the package."""
    return [stage.name for stage in STAGES]


def test_a_fault_that_persists_is_given_up_until_the_next_epoch(
    degraded_root: Hour, copied: Copied, shop: Shop, instance: dg.DagsterInstance, now: Now
) -> None:
    """The number advances up to the cap, and the hour is named."""
    copy = copied(degraded_root)
    with in_this_process(copy.data, shop), opened() as resources:
        asked = []
        for _ in range(5):
            now.ahead_s += LONGER_THAN_A_BREAKER_WAITS_S
            asked += asked_and_run(instance)
        assert asked == [f"heal/{HOUR}/0/{number}" for number in (1, 2, 3)]
        now.ahead_s += LONGER_THAN_A_BREAKER_WAITS_S
        assert said(tick(instance)) == (
            f"0 of 1 hours asked for, 0 in flight, 1 given up; {HOUR}: "
            "given up after 3 tries in this stretch of good health, its rows stay as they are"
        )
        falls_ill(resources)
        resources.accelerator.heal()
        recovers(resources)
        assert asked_and_run(instance) == [f"heal/{HOUR}/1/1"]
        assert said(tick(instance)) == "nothing improvable"


def test_nothing_is_asked_for_while_a_breaker_lets_no_call_through(
    line: Line, instance: dg.DagsterInstance
) -> None:
    """A request would be in vain; the tick says which."""
    line(HOUR)
    with opened() as resources:
        resources.breakers.open_for("image_labels.accelerator_clip", 600)
    result = tick(instance)
    assert keys(result) == []
    assert "no call is let through to image_labels.accelerator_clip" in said(result)


def test_no_more_hours_are_asked_for_than_the_settings_allow(
    line: Line, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, and at a time."""
    monkeypatch.setenv("PIPELINE_HEAL_PER_TICK", "2")
    monkeypatch.setenv("PIPELINE_HEAL_IN_FLIGHT", "3")
    for hour in range(6):
        line(f"2026-03-02-{hour:02}")
    assert [len(keys(tick(instance))) for _ in range(3)] == [2, 1, 0]
    assert said(tick(instance)) == "0 of 6 hours asked for, 3 in flight, 3 left for a later tick"


def test_the_most_urgent_are_asked_for_first_and_queued_first(
    line: Line, instance: dg.DagsterInstance
) -> None:
    """Each run says who asked for it, and that it may touch only what can be better."""
    line("2026-03-02-01", priority=Priority.BACKGROUND)
    line("2026-03-02-02", priority=Priority.BATCH)
    line("2026-03-02-03", priority=Priority.INTERACTIVE)
    requests = tick(instance).run_requests or ()
    assert [(each.partition_key, each.tags[QUEUE]) for each in requests] == [
        ("2026-03-02-03", "0"),
        ("2026-03-02-02", "-1"),
        ("2026-03-02-01", "-2"),
    ]
    for each in requests:
        assert each.tags[ASKED_BY] == "heal_low_quality_partitions"
        assert set(each.run_config["ops"]) == set(hours_stages())
        assert all(
            op == {"config": {"only_improvable": True}} for op in each.run_config["ops"].values()
        )


def test_a_request_that_was_never_launched_is_made_again_under_its_key(
    line: Line, instance: dg.DagsterInstance, now: Now
) -> None:
    """The daemon died before; if it did not, the key keeps a second run out."""
    line(HOUR)
    assert keys(tick(instance)) == [f"heal/{HOUR}/0/1"]
    now.ahead_s += LAUNCHED_WITHIN_S - 1
    assert keys(tick(instance)) == []
    now.ahead_s += 2
    assert keys(tick(instance)) == [f"heal/{HOUR}/0/1"]
    assert "1 in flight" in said(tick(instance))


def test_a_run_that_died_is_in_flight_until_the_one_in_its_place_has_ended(
    line: Line, instance: dg.DagsterInstance
) -> None:
    """Dagster starts it again by itself; the hour is not asked for twice."""
    line(HOUR)
    [request] = tick(instance).run_requests or ()

    def ended(run_id: str, **marks: str) -> dg.DagsterRun:
        tags = {**request.tags, **{f"dagster/{name}": value for name, value in marks.items()}}
        status = dg.DagsterRunStatus.FAILURE
        return instance.add_run(dg.DagsterRun("heal", run_id, status=status, tags=tags))

    died = ended(str(uuid4()), will_retry="true")
    assert "1 in flight" in said(tick(instance))
    again = ended(str(uuid4()), will_retry="false")
    instance.add_run_tags(died.run_id, {"dagster/auto_retry_run_id": again.run_id})
    assert "1 pause after a request in vain" in said(tick(instance))


def test_a_run_key_is_not_used_again_by_a_new_database(
    line: Line, empty: Path, instance: dg.DagsterInstance, now: Now
) -> None:
    """Dagster would take the second for the first, and start nothing."""
    seen = set()
    for _ in range(2):
        now.ahead_s += 10
        with opened() as resources:
            resources.state.remember("born", now())
        line(HOUR)
        seen |= {each.run_key for each in tick(instance).run_requests or ()}
        for path in empty.glob("state.db*"):
            path.unlink()
    assert len(seen) == 2


def test_what_is_due_is_tried_again_and_what_is_not_waits(
    line: Line, instance: dg.DagsterInstance, now: Now
) -> None:
    """Though the accelerator is ill: it has nothing to do with it."""
    line(HOUR, accelerated=False, due_in_s=-1)
    line(NEXT_HOUR, accelerated=False, due_in_s=3600)
    line(THIRD_HOUR, accelerated=True)
    with opened() as resources:
        falls_ill(resources)
    result = tick(instance, RETRY)
    assert keys(result) == [f"retry/{HOUR}/0/1"]
    assert said(result) == "1 of 2 hours asked for, 1 in flight, 1 wait for their retry_at"
    now.ahead_s += 3601
    assert f"retry/{NEXT_HOUR}/0/1" in keys(tick(instance, RETRY))


def test_an_hour_is_not_asked_for_by_both_sensors_at_once(
    line: Line, instance: dg.DagsterInstance
) -> None:
    """The second would only wait for the first."""
    line(HOUR)
    tick(instance)
    line(HOUR, accelerated=False)
    assert keys(tick(instance, RETRY)) == []


def test_a_shop_that_is_back_gets_its_items_healed(
    empty: Path, goods: Goods, instance: dg.DagsterInstance, now: Now
) -> None:
    """The next try is made when it is due, and then there is nothing to ask for."""
    item = goods.product("a", image_fault="503x4")
    lost = goods.product("b", image_fault="404")
    hours.write_goods(empty, [item, lost])
    assert hours.materialized().success
    before = hours.rows(empty, "fetched")
    assert before["a/image"]["retryable"]
    assert not before["b/image"]["retryable"]
    asked = []
    for _ in range(3):
        now.ahead_s += LONGER_THAN_A_BREAKER_WAITS_S
        asked += asked_and_run(instance, RETRY)
    assert asked[0] == f"retry/{HOUR}/0/1"
    after = hours.rows(empty, "fetched")
    assert after["a/image"]["status"] == "ok"
    assert after["b/image"] == before["b/image"]
    assert said(tick(instance, RETRY)) == "nothing improvable"
    [healed] = hours.table(empty, "recovery")
    assert (healed["item_id"], healed["priority"]) == ("a", "batch")
    assert healed["healed_at"] > healed["degraded_at"]


def test_nothing_improvable_is_said_so(empty: Path, instance: dg.DagsterInstance) -> None:
    """Also before the first hour."""
    assert not empty.exists()
    assert {said(tick(instance, cause)) for cause in (HEAL, RETRY)} == {"nothing improvable"}


@pytest.mark.parametrize(("name", "every_s"), [(HEAL.name, 30), (RETRY.name, 60)])
def test_the_sensors_are_on_from_the_start(name: str, every_s: int) -> None:
    """Nobody has to turn on what heals by itself."""
    sensor = defs.get_repository_def().get_sensor_def(name)
    assert sensor.minimum_interval_seconds == every_s
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    assert sensor.job_name == "heal"


def test_the_job_leaves_the_feed_alone() -> None:
    """It has everything from `fetched` on."""
    whole, heal = (
        {key.to_user_string() for key in defs.resolve_job_def(name).asset_layer.selected_asset_keys}
        for name in ("hour", "heal")
    )
    assert whole - heal == {"items"}
    assert heal <= whole


def test_a_tick_reads_no_table_of_an_hour(
    line: Line, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has a minute for all hours there ever were."""
    line(HOUR)

    def forbidden(*_arguments: object, **_options: object) -> None:
        raise AssertionError("a tick read a table")

    monkeypatch.setattr(Tables, "read", forbidden)
    assert [len(keys(tick(instance, cause))) for cause in (HEAL, RETRY)] == [1, 0]
