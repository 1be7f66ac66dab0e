"""The sensor that tells people what they should know, and no more than that."""

from typing import TYPE_CHECKING

import dagster as dg

from pipeline_assets.assets.location import Location

if TYPE_CHECKING:
    from pipeline_assets.alerting.book import Delivered
    from pipeline_assets.alerting.watch import OutageWatch
    from pipeline_assets.resources import Resources

NAME = "alerts"
EVERY_S = 60
SCHEDULE = "hourly"
WATCH = "alerts.watch"
FIRST_LOOK_BACK_S = 86_400.0
"""A new installation hears of what failed today, not of its whole past."""


def alerts_sensor(location: Location) -> dg.SensorDefinition:
    """Looks at runs, checks, breakers, health, hours and objectives, and sends what is new."""

    @dg.sensor(
        name=NAME,
        description="Says once what stands and once that it is over, through PIPELINE_NOTIFY.",
        minimum_interval_seconds=EVERY_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        with location.opened() as resources:
            since = float(context.cursor) if context.cursor else None
            return _tick(resources, context.instance, since)

    return sensor


def _tick(
    resources: "Resources", instance: dg.DagsterInstance, since: float | None
) -> dg.SensorResult:
    from pipeline_assets.alerting import watch as rules  # noqa: PLC0415
    from pipeline_assets.automation import conditions  # noqa: PLC0415 - loads adapters
    from pipeline_assets.automation.dagster_events import ended_since, running_since  # noqa: PLC0415
    from pipeline_assets.ingest.changes import stale_feeds  # noqa: PLC0415

    book, notifiers = resources.alerts, resources.notifiers
    now = book.now()
    ended = ended_since(instance, now - FIRST_LOOK_BACK_S if since is None else since)
    causes = list(conditions.causes(resources))
    watch = rules.after_runs(_watch(resources), ended.runs)
    watch = rules.after_checks(watch, ended.evaluations)
    watch = rules.without_old(rules.after_causes(watch, causes, now), now)
    standing = [
        *rules.conditions(watch, causes),
        *conditions.open_breakers(resources),
        *conditions.missing_hours(resources, running_since(instance, SCHEDULE)),
        *conditions.missed_objectives(resources),
        *stale_feeds(resources),
    ]
    resources.state.remember(WATCH, watch.stored())
    messages = book.look(standing, notifiers)
    delivered = book.deliver(notifiers, resources.settings.alerts_per_tick)
    return dg.SensorResult(
        skip_reason=dg.SkipReason(_said(len(standing), messages, delivered)),
        cursor=str(ended.until),
    )


def _watch(resources: "Resources") -> "OutageWatch":
    from pipeline_assets.alerting.watch import OutageWatch  # noqa: PLC0415

    stored = resources.state.fact(WATCH)
    return OutageWatch() if stored is None else OutageWatch.loaded(stored)


def _said(standing: int, messages: int, delivered: "list[Delivered]") -> str:
    parts = [f"{standing} conditions stand, {messages} new messages"]
    for each in delivered:
        sent = f"{each.notifier} took {each.taken}"
        if each.refused is not None:
            sent += f", {each.waiting} wait: {each.refused}"
        parts.append(sent)
    return "; ".join(parts)
