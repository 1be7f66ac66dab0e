"""Asking for hours: one kind of sensor, whatever the cause.

A sensor looks which hours a run could do something for, asks for a few of them, and learns on later
ticks what came of it. What was asked for is in the state database.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

import dagster as dg

from pipeline_assets.assets.location import Location
from pipeline_assets.healing.rules import (
    NotAsked,
    Priority,
    Request,
    RequestLimits,
    Round,
    WantedHour,
    choose,
    lost,
    settle,
    worst_first,
)

if TYPE_CHECKING:
    from pipeline_assets.automation.dagster_internals import AssetJob
    from pipeline_assets.resources import Resources
    from pipeline_assets.settings import Settings

ASKED_BY: Final = "pipeline_assets/asked_by"
REQUEST: Final = "pipeline_assets/request"
"""The run key once more: the tag that Dagster keeps it in has no public name."""
QUEUE: Final = "dagster/priority"
QUEUED_AS: Final = {Priority.INTERACTIVE: "0", Priority.BATCH: "-1", Priority.BACKGROUND: "-2"}
"""An hour's own run has 0: what is asked for is LOW, but where somebody waits for it."""

WILL_RETRY, RETRIED_AS = "dagster/will_retry", "dagster/auto_retry_run_id"
"""What Dagster marks a run with that it will start again, and has; the new one keeps our tags."""

LAUNCHED_WITHIN_S: Final = 600.0
"""A request without a run by then gets none: the daemon died between asking and launching."""
NAMED: Final = 3
"""How many given-up hours a tick names; it counts them all."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a tick sees before it asks: what to say of it, and what the next tick is to know.

    With `held_back` nothing is asked for.
    """

    said: str | None = None
    cursor: str | None = None
    held_back: bool = False


class Cause(ABC):
    """Why hours are asked for.

    `key` begins its run keys, `epoch_is` names what an epoch is, `nothing` that no hour is wanted.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    every_s: ClassVar[int]
    key: ClassVar[str]
    epoch_is: ClassVar[str]
    nothing: ClassVar[str]

    def look(self, resources: "Resources", cursor: str | None) -> Look:  # noqa: ARG002 - for others
        """What there is to say and to remember before hours are asked for."""
        return Look()

    @abstractmethod
    def wanted(self, resources: "Resources") -> Sequence[WantedHour]:
        """The hours that a run could do something for."""

    @abstractmethod
    def limits(self, settings: "Settings") -> RequestLimits:
        """How much is asked for at a time."""

    @abstractmethod
    def outcome(
        self, resources: "Resources", request: Request, runs: Sequence[dg.DagsterRun]
    ) -> tuple[int, int]:
        """For how many rows a run could still do something; how many the better rung was given."""

    def order(self, hour: WantedHour) -> tuple[float | str, ...]:
        """What hours are asked for first."""
        return worst_first(hour)

    def is_wanted(self, resources: "Resources", hour: WantedHour) -> bool:  # noqa: ARG002 - likewise
        """A last look at an hour that is about to be asked for."""
        return True

    def run_config(self, location: Location) -> dict[str, Any]:  # noqa: ARG002 - likewise
        """The configuration of its runs."""
        return {}


def asking_sensor(cause: Cause, location: Location, job: "AssetJob") -> dg.SensorDefinition:
    """The sensor that asks for runs of the job; on from the start."""

    @dg.sensor(
        name=cause.name,
        description=cause.description,
        job=job,
        minimum_interval_seconds=cause.every_s,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        with location.opened() as resources:
            return tick(cause, location, resources, context.instance, context.cursor)

    return sensor


def tick(
    cause: Cause,
    location: Location,
    resources: "Resources",
    instance: dg.DagsterInstance,
    cursor: str | None,
) -> dg.SensorResult:
    """Learn what came of earlier requests, look, and ask for some hours."""
    requests = resources.hour_requests(cause.name)
    now = requests.now()
    era, latest = requests.era(), requests.latest()
    ended = _ended(cause, resources, instance, latest, now, era)
    requests.keep(ended.values())
    latest |= ended
    look = cause.look(resources, cursor)
    if look.held_back:
        return _said(look.said or "", look.cursor)
    others = requests.of_other_causes()
    wanted = cause.wanted(resources)
    found = choose(
        [hour for hour in wanted if hour.hour not in others],
        latest,
        cause.limits(resources.settings),
        now,
        cause.order,
        lambda hour: cause.is_wanted(resources, hour),
    )
    # Before they are launched: a request that the daemon did not live to launch is made again.
    requests.keep(found.requests)
    in_flight = sum(each.outcome is None for each in latest.values())
    sentence = _sentence(cause, found, len(wanted), in_flight)
    config = cause.run_config(location)
    return _said(
        sentence if look.said is None else f"{look.said}; {sentence}",
        look.cursor,
        [_run_request(cause, each, found, era, config) for each in found.requests],
    )


def _ended(
    cause: Cause,
    resources: "Resources",
    instance: dg.DagsterInstance,
    latest: dict[str, Request],
    now: float,
    era: int,
) -> dict[str, Request]:
    """The requests in flight whose runs are at their end, or never came, with what came of them."""
    ended = {}
    for hour, request in latest.items():
        if request.outcome is not None:
            continue
        tags = {REQUEST: _run_key(cause, request, era)}
        runs = instance.get_runs(dg.RunsFilter(tags=tags))
        if runs and all(_at_end(run) for run in runs):
            ended[hour] = settle(request, *cause.outcome(resources, request, runs), now)
        elif not runs and now >= request.asked_at + LAUNCHED_WITHIN_S:
            ended[hour] = lost(request, now)
    return ended


def _at_end(run: dg.DagsterRun) -> bool:
    """Whether nothing more comes of a run; one whose process died is about to be started again."""
    about_to_be = run.tags.get(WILL_RETRY) == "true" and RETRIED_AS not in run.tags
    return run.is_finished and not about_to_be


def _run_key(cause: Cause, request: Request, era: int) -> str:
    """A key that is never used twice, not even by the successor of a lost state database."""
    return f"{cause.key}/{request.hour}/{request.epoch}/{request.number}/{era}"


def _run_request(
    cause: Cause, request: Request, found: Round, era: int, config: dict[str, Any]
) -> dg.RunRequest:
    key = _run_key(cause, request, era)
    return dg.RunRequest(
        run_key=key,
        partition_key=request.hour,
        run_config=config,
        tags={
            ASKED_BY: cause.name,
            REQUEST: key,
            QUEUE: QUEUED_AS[found.priorities[request.hour]],
        },
    )


def _sentence(cause: Cause, found: Round, wanted: int, in_flight: int) -> str:
    """What a tick did, and why not more."""
    if not wanted and not in_flight:
        return cause.nothing
    asked = len(found.requests)
    parts = [f"{asked} of {wanted} hours asked for", f"{in_flight + asked} in flight"]
    parts += [
        f"{count} {standing}"
        for standing, count in found.standing.items()
        if standing is not NotAsked.IN_FLIGHT
    ]
    given_up = [
        f"{each.hour}: given up after {each.in_vain} tries in this {cause.epoch_is}, "
        "its rows stay as they are"
        for each in found.given_up[:NAMED]
    ]
    return "; ".join([", ".join(parts), *given_up])


def _said(
    sentence: str, cursor: str | None, requests: Sequence[dg.RunRequest] = ()
) -> dg.SensorResult:
    """Without another cursor the sentence is it: a tick that asks has no other place for it."""
    skip = None if requests else dg.SkipReason(sentence)
    return dg.SensorResult(
        run_requests=list(requests), skip_reason=skip, cursor=sentence if cursor is None else cursor
    )
