"""Healing by itself: a job that touches what may be better now, and two sensors that ask for it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from pipeline_assets.assets.monitoring import WATCHED
from pipeline_assets.assets.opening import opened
from pipeline_assets.checks.freshness import KEY as FRESHNESS
from pipeline_assets.core.hours import hour_name
from pipeline_assets.core.names import RECOVERY, RELIABILITY, SEARCH_INDEX
from pipeline_assets.healing.hours import Cause
from pipeline_assets.healing.rules import (
    Limits,
    Priority,
    Request,
    Round,
    Standing,
    choose,
    settle,
)
from pipeline_assets.monitoring.derived import DERIVED
from pipeline_assets.stages import all_stages
from pipeline_assets.store.rung_calls import read_calls
from pipeline_assets.upkeep.recovery import BORN

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import (
        UnresolvedAssetJobDefinition as AssetJob,
    )

    from pipeline_assets.resources import Resources
    from pipeline_assets.settings import Settings

ASKED_BY = "pipeline_assets/asked_by"
REQUEST = "pipeline_assets/request"
"""The run key once more: the tag that Dagster keeps it in has no public name."""
QUEUE = "dagster/priority"
QUEUED_AS = {Priority.INTERACTIVE: "0", Priority.BATCH: "-1", Priority.BACKGROUND: "-2"}
"""An hour's own run has 0: healing is LOW, but where somebody waits for it."""

WILL_RETRY, RETRIED_AS = "dagster/will_retry", "dagster/auto_retry_run_id"
"""What Dagster marks a run with that it will start again, and has; the new one keeps our tags."""

LAUNCHED_WITHIN_S = 600.0
"""A request without a run by then gets none: the daemon died between asking and launching."""
NAMED = 3
"""How many given-up hours a tick names; it counts them all."""


@dataclass(frozen=True, slots=True)
class Asker:
    """A sensor: which rows it asks for, how often it looks, and what its run keys begin with."""

    name: str
    description: str
    cause: Cause
    every_s: int
    key: str


HEAL = Asker(
    "heal_low_quality_partitions",
    "When the accelerator is healthy: the worst hours with rows that it could make better.",
    Cause.ACCELERATED,
    30,
    "heal",
)
RETRY = Asker(
    "retry_due",
    "Hours with rows that failed in passing and may be tried again, the most urgent first.",
    Cause.OTHER,
    60,
    "retry",
)
ASKERS = (HEAL, RETRY)


def heal_job(settings: "Settings") -> "AssetJob":
    """An hour from `fetched` on; its feed is not read again."""
    stages = [stage.name for stage in all_stages(settings)]
    after = [*DERIVED, RECOVERY, RELIABILITY, *WATCHED, SEARCH_INDEX]
    return dg.define_asset_job(
        "heal",
        selection=dg.AssetSelection.assets(*stages, *after) - dg.AssetSelection.checks(FRESHNESS),
        executor_def=dg.in_process_executor,
        description="The rows of an hour that may be better now, and what follows from them.",
    )


def heal_sensor(asker: Asker, job: "AssetJob") -> dg.SensorDefinition:
    """The sensor that asks for runs of the job; on from the start, since it heals by itself."""

    @dg.sensor(
        name=asker.name,
        description=asker.description,
        job=job,
        minimum_interval_seconds=asker.every_s,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        with opened() as resources:
            return _tick(asker, resources, context.instance)

    return sensor


def _tick(asker: Asker, resources: "Resources", instance: dg.DagsterInstance) -> dg.SensorResult:
    from pipeline_assets.monitoring.known_hours import learn_hours  # noqa: PLC0415 - loads adapters

    now = resources.heal_requests.now()
    learn_hours(resources)
    _learn(asker, resources, instance, now)
    held_back = _held_back(asker, resources)
    if held_back is not None:
        return _said(held_back)
    settings = resources.settings
    others = resources.heal_requests.in_flight_of_others(asker.name)
    degraded = resources.hours.degraded(asker.cause, hour_name(settings.start))
    latest = resources.heal_requests.latest(asker.name)
    found = choose(
        [hour for hour in degraded if hour.hour not in others],
        latest,
        _limits(asker, settings),
        _epoch(asker, resources),
        now,
    )
    # Before they are launched: a request that the daemon did not live to launch ends in vain, and
    # its run key is not used again.
    resources.heal_requests.keep(asker.name, found.requests)
    born = int(resources.state.fact(BORN) or 0)
    options = _only_improvable(settings)
    return _said(
        _sentence(found, len(degraded), sum(each.outcome is None for each in latest.values())),
        [_run_request(asker, each, found, born, options) for each in found.requests],
    )


def _limits(asker: Asker, settings: "Settings") -> Limits:
    """A row that is not the accelerator's says itself when it is tried, and how often."""
    tries = settings.heal_tries if asker.cause is Cause.ACCELERATED else None
    return Limits(settings.heal_per_tick, settings.heal_in_flight, tries)


def _epoch(asker: Asker, resources: "Resources") -> int:
    return resources.health.current().epoch if asker.cause is Cause.ACCELERATED else 0


def _held_back(asker: Asker, resources: "Resources") -> str | None:
    """Why nothing is asked for at all."""
    if asker.cause is not Cause.ACCELERATED:
        return None
    health = resources.health.current()
    if not health.healthy:
        since = datetime.fromtimestamp(health.since, UTC)
        return f"the accelerator is not healthy since {since:%Y-%m-%dT%H:%M:%SZ}: {health.reason}"
    if refusing := list(_refusing(resources)):
        return f"the accelerator is healthy, but no call is let through to {', '.join(refusing)}"
    return None


def _refusing(resources: "Resources") -> Iterator[str]:
    """The accelerated rungs whose breaker waits: a request would be in vain."""
    for stage in all_stages(resources.settings):
        gate = resources.breakers.gate(stage.breaker)
        names = [f"{stage.name}.{rung.name}" for rung in stage.rungs if rung.accelerated]
        yield from (name for name in names if not gate.available(name))


def _learn(asker: Asker, resources: "Resources", instance: dg.DagsterInstance, now: float) -> None:
    """What became of the requests whose runs are at their end."""
    born = int(resources.state.fact(BORN) or 0)
    ended = []
    for request in resources.heal_requests.in_flight(asker.name):
        tags = {REQUEST: _run_key(asker, request, born)}
        runs = instance.get_runs(dg.RunsFilter(tags=tags))
        lost = not runs and now >= request.asked_at + LAUNCHED_WITHIN_S
        if lost or (runs and all(_at_end(run) for run in runs)):
            rows = resources.hours.improvable(asker.cause, request.hour)
            given = _given(asker, resources, request.hour, [run.run_id for run in runs])
            ended.append(settle(request, rows, given, now))
    resources.heal_requests.keep(asker.name, ended)


def _at_end(run: dg.DagsterRun) -> bool:
    """Whether nothing more comes of a run; one whose process died is about to be started again."""
    about_to_be = run.tags.get(WILL_RETRY) == "true" and RETRIED_AS not in run.tags
    return run.is_finished and not about_to_be


def _given(asker: Asker, resources: "Resources", hour: str, run_ids: Sequence[str]) -> int:
    """How many rows the runs gave to accelerated rungs, or found kept results of."""
    if asker.cause is not Cause.ACCELERATED:
        return 0
    accelerated = {
        (stage.name, rung.name)
        for stage in all_stages(resources.settings)
        for rung in stage.rungs
        if rung.accelerated
    }
    return sum(
        call["rows"] + call["recalled"]
        for call in read_calls(resources.tables, hour).to_pylist()
        if call["run_id"] in run_ids and (call["stage"], call["rung"]) in accelerated
    )


def _run_key(asker: Asker, request: Request, born: int) -> str:
    """A key that is never used twice, not even by the successor of a lost state database."""
    return f"{asker.key}/{request.hour}/{request.epoch}/{request.number}/{born}"


def _run_request(
    asker: Asker, request: Request, found: Round, born: int, options: dict[str, Any]
) -> dg.RunRequest:
    key = _run_key(asker, request, born)
    return dg.RunRequest(
        run_key=key,
        partition_key=request.hour,
        run_config=options,
        tags={
            ASKED_BY: asker.name,
            REQUEST: key,
            QUEUE: QUEUED_AS[found.priorities[request.hour]],
        },
    )


def _only_improvable(settings: "Settings") -> dict[str, Any]:
    options = {"config": {"only_improvable": True}}
    return {"ops": {stage.name: options for stage in all_stages(settings)}}


def _sentence(found: Round, degraded: int, in_flight: int) -> str:
    """What a tick did, and why not more."""
    if not degraded and not in_flight:
        return "nothing improvable"
    asked = len(found.requests)
    parts = [f"{asked} of {degraded} hours asked for", f"{in_flight + asked} in flight"]
    parts += [
        f"{count} {standing}"
        for standing, count in found.standing.items()
        if standing is not Standing.IN_FLIGHT
    ]
    given_up = [
        f"{each.hour}: given up after {each.in_vain} tries in epoch {each.epoch}, "
        "its rows stay as they are"
        for each in found.given_up[:NAMED]
    ]
    return "; ".join([", ".join(parts), *given_up])


def _said(sentence: str, requests: Sequence[dg.RunRequest] = ()) -> dg.SensorResult:
    """The sentence is the cursor too: a tick that asks for runs has no other place for it."""
    skip = None if requests else dg.SkipReason(sentence)
    return dg.SensorResult(run_requests=list(requests), skip_reason=skip, cursor=sentence)
