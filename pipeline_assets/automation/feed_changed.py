"""The sensor that asks for closed hours whose feed has rows that their table has not."""

from datetime import timedelta
from typing import TYPE_CHECKING

import dagster as dg

from pipeline_assets.assets.opening import opened
from pipeline_assets.automation.healing import ASKED_BY, QUEUE, REQUEST
from pipeline_assets.core.hours import hour_name
from pipeline_assets.errors import NoFeed
from pipeline_assets.feed.changes import FeedHour, RunState, Standing, after_run, asked

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import (
        UnresolvedAssetJobDefinition as AssetJob,
    )

    from pipeline_assets.resources import Resources

NAME = "feed_changed"
EVERY_S = 60
PATIENCE_S = 5.0
"""How long a tick waits for a changed feed to be read: some 300,000 rows. A larger one is met by a
later tick; one after the other is what the daemon does with ticks, so a longer wait delays all."""

AFTER_THE_HOUR = timedelta(minutes=15)
"""The schedule asks for an hour first; its run has ten minutes to begin."""

PRIORITY = "-1"
"""Behind the hour that has just closed."""


def feed_changed_sensor(job: "AssetJob") -> dg.SensorDefinition:
    """Asks for runs of the job of a whole hour, which work on new and changed rows only."""

    @dg.sensor(
        name=NAME,
        description="Closed hours whose feed has late, corrected or never built items.",
        job=job,
        minimum_interval_seconds=EVERY_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        with opened() as resources:
            return _tick(resources, context.instance, context.cursor)

    return sensor


def _tick(
    resources: "Resources", instance: dg.DagsterInstance, cursor: str | None
) -> dg.SensorResult:
    from pipeline_assets.ingest.changes import compared  # noqa: PLC0415 - loads adapters

    if not resources.settings.feed:
        return dg.SensorResult(skip_reason=dg.SkipReason("no feed is set (PIPELINE_FEED)"))
    _learn(resources, instance)
    try:
        seen = resources.feed.peek()
    except NoFeed as error:
        return dg.SensorResult(skip_reason=dg.SkipReason(error.reason))
    if seen is not None and seen == cursor:
        return _asked(resources, "the feed is as it was", cursor)
    found = compared(resources.settings, PATIENCE_S)
    if found is None:
        return _asked(resources, "the feed has changed and is being read", cursor)
    said = (
        f"the feed has {found.rows} rows in {found.hours} hours, "
        f"{found.changed} of them with new or changed rows"
        + (f"; {found.unread} files cannot be read" if found.unread else "")
    )
    # A file that cannot be read now may be read later, although its time does not change.
    return _asked(resources, said, None if found.unread else found.version)


def _learn(resources: "Resources", instance: dg.DagsterInstance) -> None:
    """What became of the runs that were asked for."""
    store = resources.feed_hours
    now = store.now()
    waited = store.standing(Standing.ASKED)
    after = [after_run(hour, _run_state(instance, hour), now) for hour in waited]
    store.keep(new for new, old in zip(after, waited, strict=True) if new != old)


def _run_state(instance: dg.DagsterInstance, hour: FeedHour) -> RunState | None:
    runs = instance.get_runs(dg.RunsFilter(tags={REQUEST: hour.run_key}))
    if not runs:
        return None
    if any(run.is_success for run in runs):
        return RunState.SUCCEEDED
    return RunState.FAILED if all(run.is_finished for run in runs) else RunState.UNDER_WAY


def _asked(resources: "Resources", said: str, cursor: str | None) -> dg.SensorResult:
    """Ask for some of the hours that wait, newest first, and say what was seen."""
    from pipeline_assets.ingest.changes import is_built  # noqa: PLC0415 - loads adapters

    store, settings = resources.feed_hours, resources.settings
    now = store.now()
    in_flight = len(store.standing(Standing.ASKED))
    room = min(settings.feed_per_tick, settings.feed_in_flight - in_flight)
    waiting = store.standing(Standing.WAITING, before=hour_name(resources.clock() - AFTER_THE_HOUR))
    requests: list[FeedHour] = []
    settled: list[FeedHour] = []
    for hour in waiting:
        if len(requests) >= room:
            break
        if is_built(resources, hour.hour, hour.digest):  # by the schedule, say
            settled.append(FeedHour(hour.hour, hour.digest, Standing.SETTLED, since=now))
        else:
            requests.append(asked(hour, now))
    store.keep([*settled, *requests])
    left = len(waiting) - len(settled) - len(requests)
    given_up = len(store.standing(Standing.GIVEN_UP))
    sentence = (
        f"{said}; {len(requests)} asked for, {in_flight} in flight, {left} closed hours wait"
        + (f", {given_up} given up after failed runs" if given_up else "")
    )
    return dg.SensorResult(
        run_requests=[_run_request(hour) for hour in requests],
        skip_reason=None if requests else dg.SkipReason(sentence),
        cursor=cursor,
    )


def _run_request(hour: FeedHour) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=hour.run_key,
        partition_key=hour.hour,
        tags={ASKED_BY: NAME, REQUEST: hour.run_key, QUEUE: PRIORITY},
    )
