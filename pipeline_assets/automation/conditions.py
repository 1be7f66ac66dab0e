"""What stands in the platform's own state that somebody should know: breakers, health, hours."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from pipeline_assets.alerting.rules import Alert, Severity, moment
from pipeline_assets.alerting.watch import OutageCause
from pipeline_assets.core.breaker import BreakerState, Mode
from pipeline_assets.core.hours import HOUR, full_hour, hour_end, hour_name
from pipeline_assets.core.names import ENRICHED, RECOVERY
from pipeline_assets.resources import Resources
from pipeline_assets.stages import accelerated_rungs
from pipeline_assets.state.breakers import SAID_TO_BE_WELL
from pipeline_assets.store.tables import Tables

UNUSED_S = 3600.0
"""An open breaker that nobody has called for so long after its wait says nothing about today."""

LATE_AFTER = timedelta(minutes=45)
"""After the end of an hour: forty minutes for its run."""

LOOK_BACK_HOURS = 168
RECENT_S = 86_400.0
MOST_HOURS = 200
"""Hours whose times to recovery are read in a tick, those that changed last."""

NAMED = 5


def causes(resources: Resources) -> Iterator[OutageCause]:
    """Why the accelerator's rungs do not do their work, if they do not."""
    health = resources.health.current()
    if not health.healthy:
        yield OutageCause(
            f"The accelerator is not healthy since {moment(health.since)}: {health.reason}.",
            health.since,
        )
    accelerated = accelerated_rungs(resources.settings)
    for name, state in _open(resources):
        if name.partition("@")[0] in accelerated:
            yield OutageCause(
                f"The breaker {name} is {state.mode}: {state.reason}.",
                _since(resources, name),
            )


def open_breakers(resources: Resources) -> Iterator[Alert]:
    """The breakers that are none of the accelerator's: of a rung each, of all hosts together."""
    accelerated = accelerated_rungs(resources.settings)
    hosts: dict[str, list[tuple[str, BreakerState]]] = {}
    for name, state in _open(resources):
        rung, _, host = name.partition("@")
        if rung in accelerated:
            continue
        if host:
            hosts.setdefault(rung, []).append((host, state))
        else:
            yield _of_rung(resources, rung, state)
    for rung, scopes in hosts.items():
        yield _of_hosts(resources, rung, scopes)


def missing_hours(resources: Resources, expected_since: float | None) -> Iterator[Alert]:
    """The closed hours without enriched items; None: the schedule is off, and none is expected.

    Of the last week, so that hours that somebody removed later are not asked after; and those that
    were said to be missing, until they are there.
    """
    if expected_since is None:
        return
    said = {alert.key for alert in resources.alerts.standing()}
    missed = {key.removeprefix("hour:") for key in said if key.startswith("hour:")}
    for hour in sorted(missed | set(_expected(resources, expected_since))):
        if not resources.tables.exists(ENRICHED, hour):
            yield _missing(hour)


def _expected(resources: Resources, since: float) -> Iterator[str]:
    """The hours of the last week that should be there: from the first to close after `since` on."""
    last = full_hour(resources.clock() - LATE_AFTER - HOUR)
    begun = full_hour(datetime.fromtimestamp(since, UTC))
    hour = max(begun, resources.settings.start, last - timedelta(hours=LOOK_BACK_HOURS - 1))
    while hour <= last:
        yield hour_name(hour)
        hour += HOUR


def missed_objectives(resources: Resources) -> Iterator[Alert]:
    """The classes of items that were healed too late in the last day, or are not and should be."""
    now, health = resources.alerts.now(), resources.health.current()
    recent = [
        hour
        for hour in resources.hours.all()
        if hour.improvable or hour.updated_at > now - RECENT_S
    ]
    recent.sort(key=lambda hour: hour.updated_at, reverse=True)
    files = [
        resources.tables.url(RECOVERY, each.hour)
        for each in recent[:MOST_HOURS]
        if resources.tables.exists(RECOVERY, each.hour)
    ]
    if files:
        since = health.since if health.healthy else None
        yield from _late(resources.tables, files, now, since)


def _late(
    tables: Tables, files: list[str], now: float, healthy_since: float | None
) -> Iterator[Alert]:
    with tables.connect() as connection:
        connection.read_parquet(files, hive_partitioning=True).create_view("recovery")
        found = connection.execute(
            LATE, {"now": now, "healthy": healthy_since, "recent": now - RECENT_S}
        ).fetchall()
    for priority, objective_s, items, waiting, hours, since in found:
        named = ", ".join(hours[:NAMED]) + (" …" if len(hours) > NAMED else "")
        yield Alert(
            f"objective:{priority}",
            Severity.WARNING,
            f"{priority} items were not healed within {timedelta(seconds=objective_s)}",
            f"{items} items of {len(hours)} hours took longer, counted from a healthy accelerator; "
            f"{waiting} of them still wait. Hours: {named}.",
            "`pipeline-assets retry-queue` lists the rows that wait. Are the sensors and the "
            "daemon running, and is there room for runs? PIPELINE_OBJECTIVES says what is meant.",
            since,
        )


LATE = """
    SELECT priority, max(objective_s), count(*), count(*) FILTER (WHERE healed_at IS NULL),
           list_sort(list(DISTINCT hour::VARCHAR)),
           min(epoch(degraded_at) + objective_s)
    FROM recovery
    WHERE (met = false AND epoch(healed_at) > $recent)
       OR (healed_at IS NULL AND objective_s IS NOT NULL AND $healthy::DOUBLE IS NOT NULL
           AND greatest(epoch(degraded_at), $healthy::DOUBLE) + objective_s < $now)
    GROUP BY priority
    ORDER BY priority
"""


def _open(resources: Resources) -> Iterator[tuple[str, BreakerState]]:
    now = resources.breakers.now()
    for name, state in resources.breakers.all().items():
        if _refuses(state, now):
            yield name, state


def _refuses(state: BreakerState, now: float) -> bool:
    """Whether calls are refused, or probed with an outcome that is still open."""
    if state.mode is Mode.FORCED_OPEN:
        return True
    if state.mode is Mode.OPEN:
        return now < state.retry_at + UNUSED_S
    if state.mode is not Mode.HALF_OPEN or state.reason == SAID_TO_BE_WELL:
        return False
    return now < (state.last_progress or 0.0) + UNUSED_S


def _since(resources: Resources, name: str) -> float:
    """When a breaker left the closed state."""
    since = resources.breakers.now()
    for event in resources.breakers.events(name, MOST_HOURS):
        if event.name == name:
            since = event.at
            if event.from_mode is Mode.CLOSED:
                break
    return since


def _of_rung(resources: Resources, name: str, state: BreakerState) -> Alert:
    return Alert(
        f"breaker:{name}",
        Severity.WARNING,
        f"the breaker {name} is not closed",
        f"{state.reason}. Its rows go to the next rung.",
        f"Mend what it calls; it then closes by itself. `pipeline-assets breakers events {name}` "
        f"tells its story, `breakers reset {name}` closes it now.",
        _since(resources, name),
    )


def _of_hosts(resources: Resources, rung: str, scopes: list[tuple[str, BreakerState]]) -> Alert:
    hosts = [host for host, _state in scopes]
    named = ", ".join(hosts[:NAMED]) + (" …" if len(hosts) > NAMED else "")
    return Alert(
        f"breaker:{rung}@",
        Severity.WARNING,
        f"{rung} gets no answer from some hosts",
        f"{len(hosts)} hosts are left alone for now: {named}. The first said: "
        f"{scopes[0][1].reason}. Their rows go to the next rung and are tried again by themselves.",
        f"Nothing, if it is they who are down; `pipeline-assets breakers events {rung}` says more.",
        min(_since(resources, f"{rung}@{host}") for host in hosts),
    )


def _missing(name: str) -> Alert:
    closed = hour_end(name)
    due = closed + LATE_AFTER
    return Alert(
        f"hour:{name}",
        Severity.ERROR,
        f"the hour {name} did not come",
        f"It closed {moment(closed.timestamp())}, and there was no table {ENRICHED} of it "
        f"{moment(due.timestamp())}.",
        f"`pipeline-assets run --hour {name}` builds it. Is its run in the UI's queue, or did it "
        "fail? Was the daemon down?",
        due.timestamp(),
    )
