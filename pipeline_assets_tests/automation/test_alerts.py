"""The sensor that tells people: once each, in few words, and not a second time."""

import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pipeline_assets.accelerator.accelerator import DeviceHealth, Fault, InjectedFault
from pipeline_assets.alerting.rules import SUMMARY, Alert, Severity
from pipeline_assets.automation import dagster_events
from pipeline_assets.automation.alerts import NAME, SCHEDULE, _tick
from pipeline_assets.automation.dagster_events import PARTITION, WILL_RETRY, running_since
from pipeline_assets.definitions import defs
from pipeline_assets.resources import Resources, opened
from pipeline_assets.sample.shop import Shop
from pipeline_assets.stages import STAGES, accelerated_rungs
from pipeline_assets_tests import hours
from pipeline_assets_tests.alerting.fake_notifier import FakeNotifier
from pipeline_assets_tests.conftest import HOUR, HOUR_START, Clock, Goods

QUIET: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
ILL = DeviceHealth("cpu", "CPU", False, "out of memory")
WELL = DeviceHealth("cpu", "CPU", True, None)


@pytest.fixture
def instance(monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """A Dagster instance that is forgotten; one in memory knows no schedules, so none is on."""
    monkeypatch.setattr(dagster_events, "running_since", lambda _instance, _schedule: None)
    with dg.DagsterInstance.ephemeral() as made:
        yield made


class Sensor:
    """The sensor over resources, with the cursor that the daemon keeps for it."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.fake = FakeNotifier()
        self.since: float | None = None

    def tick(self, resources: Resources) -> list[Alert]:
        """One tick, and the messages that came of it."""
        resources.__dict__["notifiers"] = [self.fake]
        before = len(self.fake.sent)
        result = _tick(resources, self.instance, self.since)
        self.since = float(result.cursor or 0)
        return self.fake.sent[before:]

    def titles(self, resources: Resources) -> list[str]:
        """One tick, and the titles of its messages."""
        return [message.title for message in self.tick(resources)]


@pytest.fixture
def sensor(instance: dg.DagsterInstance, clock: Clock) -> Sensor:
    """The sensor, at a time of day that the runs of the test are of."""
    clock.at = datetime.now(clock.at.tzinfo)
    return Sensor(instance)


def run(
    instance: dg.DagsterInstance,
    hour: str,
    *,
    ok: bool,
    checks: bool | None = None,
    will_retry: bool = False,
) -> None:
    """A run of a job called `hour`, with a check on its way if that is wanted."""

    @dg.op
    def act() -> None:
        if not ok:
            raise dg.Failure(f"no room for {hour}")

    @dg.op
    def judge() -> Iterator[Any]:
        yield dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey("enriched_items"),
            check_name="drift",
            passed=bool(checks),
            severity=dg.AssetCheckSeverity.WARN,
            description="label is far from yesterday's",
            partition=hour,
        )
        yield dg.Output(None)

    @dg.job(name="hour")
    def job() -> None:
        if checks is not None:
            judge()
        act()

    job.execute_in_process(
        instance=instance,
        tags={PARTITION: hour, WILL_RETRY: str(will_retry).lower()},
        raise_on_error=False,
        run_config=QUIET,
    )


def test_nothing_wrong_is_nothing_said(sensor: Sensor, resources: Resources) -> None:
    """And the tick says that it looked."""
    run(sensor.instance, HOUR, ok=True)
    assert sensor.tick(resources) == []
    result = _tick(resources, sensor.instance, sensor.since)
    assert result.skip_reason is not None
    assert result.skip_reason.skip_message == ("0 conditions stand, 0 new messages; fake took 0")


def test_a_failed_run_is_said_once_and_once_that_a_later_one_succeeded(
    sensor: Sensor, resources: Resources
) -> None:
    """However often it is tried in vain in between."""
    run(sensor.instance, HOUR, ok=False)
    [message] = sensor.tick(resources)
    assert message.key == f"run:hour/{HOUR}"
    assert message.title == f"the run of hour for {HOUR} failed"
    assert f"act: no room for {HOUR}" in message.happened
    assert f"`pipeline-assets run --hour {HOUR}`" in message.todo
    assert sensor.tick(resources) == []
    run(sensor.instance, HOUR, ok=False)
    assert sensor.tick(resources) == []
    run(sensor.instance, HOUR, ok=True)
    assert sensor.titles(resources) == [f"over: the run of hour for {HOUR} failed"]
    assert sensor.tick(resources) == []


def test_a_run_that_dagster_starts_again_is_not_said(sensor: Sensor, resources: Resources) -> None:
    """The last of them will be."""
    run(sensor.instance, HOUR, ok=False, will_retry=True)
    assert sensor.tick(resources) == []


def test_fifty_failed_runs_are_no_storm(sensor: Sensor, resources: Resources) -> None:
    """A few by themselves, the rest in one; each is in one of them."""
    names = [f"2026-03-{day:02}-{hour:02}" for day in (1, 2) for hour in range(25)]
    for name in names:
        run(sensor.instance, name, ok=False)
    sent = sensor.tick(resources)
    assert len(sent) == resources.settings.alerts_per_tick + 1
    assert sent[-1].key == SUMMARY
    assert sent[-1].title == "and 45 more: 45 failed runs"
    assert {key for message in sent for key in message.keys} == {
        f"run:hour/{name}" for name in names
    }
    assert sensor.tick(resources) == []


def test_a_failed_check_is_said_once_and_once_that_it_passes(
    sensor: Sensor, resources: Resources
) -> None:
    """Also where the run succeeded."""
    run(sensor.instance, HOUR, ok=True, checks=False)
    [message] = sensor.tick(resources)
    assert message.key == f"check:enriched_items.drift/{HOUR}"
    assert (message.severity, message.happened) == (
        Severity.WARNING,
        "label is far from yesterday's",
    )
    run(sensor.instance, HOUR, ok=True, checks=False)
    assert sensor.tick(resources) == []
    run(sensor.instance, HOUR, ok=True, checks=True)
    assert sensor.titles(resources) == [
        f"over: the check drift of enriched_items failed for {HOUR}"
    ]


def test_a_new_installation_does_not_hear_of_its_whole_past(
    sensor: Sensor, resources: Resources, clock: Clock
) -> None:
    """Of the last day."""
    run(sensor.instance, HOUR, ok=False)
    clock.advance(timedelta(days=2).total_seconds())
    assert sensor.tick(resources) == []


def test_a_notifier_that_fails_hears_of_it_with_the_next_tick(
    sensor: Sensor, resources: Resources
) -> None:
    """The tick goes on, and says what waits."""
    run(sensor.instance, HOUR, ok=False)
    sensor.fake.broken = True
    assert sensor.tick(resources) == []
    result = _tick(resources, sensor.instance, sensor.since)
    assert result.skip_reason is not None
    assert "fake took 0, 1 wait: it is broken on request" in str(result.skip_reason.skip_message)
    sensor.fake.broken = False
    assert len(sensor.tick(resources)) == 1


def test_an_outage_that_only_degrades_is_one_message_and_one_when_it_is_healed(
    tmp_path: Path, shop: Shop, goods: Goods, instance: dg.DagsterInstance
) -> None:
    """Though the device is ill, two breakers are open and the quality check of the hour fails."""
    data = tmp_path / "data"
    hours.write_goods(data, [goods.product(name, file_name=f"img-{name}") for name in "abcdef"])
    environment = {**hours.environment_of(data, shop.url), "PIPELINE_WORKERS": "0"}
    sensor = Sensor(instance)
    with hours.environment(environment, tmp_path), opened() as resources:
        resources.accelerator.fail(InjectedFault(Fault.UNAVAILABLE))
        resources.health.probe(lambda: ILL)
        [begun] = sensor.tick(resources)
        execute(instance, "hour")
        assert not quality_passed(instance)
        assert sensor.tick(resources) == []
        [standing] = resources.alerts.standing()
        assert "1 hours are under their quality" in standing.happened
        resources.accelerator.heal()
        for _ in range(resources.settings.healthy_probes):
            resources.health.probe(lambda: WELL)
        resources.breakers.probe_again(accelerated_rungs(resources.settings))
        assert sensor.tick(resources) == []
        options = {"config": {"only_improvable": True}}
        execute(instance, "heal", ops={stage.name: options for stage in STAGES})
        assert quality_passed(instance)
        [over] = sensor.tick(resources)
        assert sensor.tick(resources) == []
        assert resources.alerts.standing() == []
    assert (begun.key, begun.severity) == ("degraded:accelerator", Severity.WARNING)
    assert "out of memory" in begun.happened
    assert over.title == f"over: {begun.title}"


def execute(instance: dg.DagsterInstance, job: str, **config: Any) -> None:
    """A run of the hour that succeeds."""
    result = defs.resolve_job_def(job).execute_in_process(
        instance=instance,
        partition_key=HOUR,
        run_config={**QUIET, **config},
        raise_on_error=False,
    )
    assert result.success


def quality_passed(instance: dg.DagsterInstance) -> bool:
    """What the quality check of the last run said."""
    [record] = instance.get_run_records(limit=1)
    types = dg.DagsterEventType.ASSET_CHECK_EVALUATION
    events = instance.get_records_for_run(record.dagster_run.run_id, of_type=types).records
    return all(
        event.event_log_entry.asset_check_evaluation.passed  # type: ignore[union-attr]
        for event in events
        if event.event_log_entry.asset_check_evaluation.check_name == "quality"  # type: ignore[union-attr]
    )


def test_dagster_evaluates_the_sensor_and_the_log_is_told_by_default(
    tmp_path: Path,
    shop: Shop,
    instance: dg.DagsterInstance,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It asks for no run."""
    run(instance, HOUR, ok=False)
    environment = hours.environment_of(tmp_path / "data", shop.url)
    sensor = defs.get_repository_def().get_sensor_def(NAME)
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    with hours.environment(environment, tmp_path), caplog.at_level(logging.INFO):
        context = dg.build_sensor_context(instance=instance, definitions=defs)
        result = sensor(context)
    assert isinstance(result, dg.SensorResult)
    assert not result.run_requests
    assert result.skip_reason is not None
    assert "1 conditions stand, 1 new messages; log took 1" in str(result.skip_reason.skip_message)
    assert f"the run of hour for {HOUR} failed" in caplog.text


def test_an_hour_is_expected_while_the_schedule_is_on(
    sensor: Sensor, resources: Resources, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From when it was turned on."""
    clock.at = HOUR_START + timedelta(hours=2)
    assert sensor.tick(resources) == []
    turned_on = HOUR_START.timestamp()
    monkeypatch.setattr(dagster_events, "running_since", lambda _instance, _schedule: turned_on)
    assert sensor.titles(resources) == [f"the hour {HOUR} did not come"]


def test_a_schedule_is_on_from_when_somebody_turns_it_on_until_it_is_turned_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Dagster's own command does it."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    before = time.time()
    with dg.DagsterInstance.get() as kept:
        assert running_since(kept, SCHEDULE) is None
        turned("start")
        since = running_since(kept, SCHEDULE)
        assert since is not None
        assert before <= since <= time.time()
        turned("stop")
        assert running_since(kept, SCHEDULE) is None


def turned(what: str) -> None:
    """The schedule, on or off."""
    module = ["-m", "pipeline_assets.definitions"]
    subprocess.run(
        [sys.executable, "-m", "dagster", "schedule", what, SCHEDULE, *module], check=True
    )
