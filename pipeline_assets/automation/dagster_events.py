"""What Dagster's instance tells of runs, of those that ended and their checks, and of schedules."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg
from sqlalchemy import Select, and_, func, or_, select

from pipeline_assets.alerting.watch import EndedRun, Evaluation

# To read 10,000 runs takes half a second, to have the database add them up 0.02; Dagster has no
# public name for that. The tests do it on both databases.
from pipeline_assets.automation.dagster_internals import RunsTable, SqlRunStorage
from pipeline_assets.errors import MAX_ERROR_CHARS, without_secrets

ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
"""A cancelled run is what a person wanted."""

OVER = [*ENDED, dg.DagsterRunStatus.CANCELED]

OVERLAP_S = 300.0
"""A run's record may be seen so long after the time that it bears."""

PAGE = 500
PARTITION = "dagster/partition"
WILL_RETRY = "dagster/will_retry"


@dataclass(frozen=True, slots=True)
class Ended:
    """Runs in the order of their ends, what their checks said, and where the next look begins."""

    runs: list[EndedRun]
    evaluations: list[Evaluation]
    until: float


@dataclass(frozen=True, slots=True)
class JobRuns:
    """The runs of a job that have come to the same: how many, and how long they took together."""

    job: str
    outcome: str
    runs: int
    seconds: float


def runs_by_job(instance: dg.DagsterInstance, since: float) -> list[JobRuns]:
    """The runs that ended after `since`, and those that have not ended, which took no time yet."""
    storage = instance.run_storage
    if not isinstance(storage, SqlRunStorage):
        return []
    with storage.connect() as connection:
        rows = connection.execute(_counted(since)).all()
    return [
        JobRuns(job, str(status).lower(), runs, took or 0.0) for job, status, runs, took in rows
    ]


def _counted(since: float) -> Select[str, str, int, float | None]:
    """Of the millions that there may be, those that the index by status and time leads to."""
    runs = RunsTable.c
    over = [each.value for each in OVER]
    not_over = [each.value for each in dg.DagsterRunStatus if each not in OVER]
    touched = datetime.fromtimestamp(since, UTC).replace(tzinfo=None)
    recent = and_(runs.status.in_(over), runs.update_timestamp > touched, runs.end_time > since)
    took = func.sum(runs.end_time - runs.start_time)
    return (
        select(runs.pipeline_name, runs.status, func.count(), took)
        .where(or_(recent, runs.status.in_(not_over)))
        .group_by(runs.pipeline_name, runs.status)
    )


def ended_since(instance: dg.DagsterInstance, since: float) -> Ended:
    """The runs that ended after `since`, at most a page of them; some may be given twice."""
    after = datetime.fromtimestamp(since - OVERLAP_S, UTC)
    records = instance.get_run_records(
        dg.RunsFilter(statuses=ENDED, updated_after=after),
        limit=PAGE,
        order_by="update_timestamp",
        ascending=True,
    )
    # One that ended long before was only touched again, by a tag say: it is known.
    recent = [each for each in records if (each.end_time or 0.0) >= since - OVERLAP_S]
    recent.sort(key=lambda each: each.end_time or 0.0)
    runs = [_ended(instance, each) for each in recent if not _goes_on(each.dagster_run)]
    said = [one for each in recent for one in _evaluations(instance, each.dagster_run)]
    until = max((each.update_timestamp.timestamp() for each in records), default=since)
    return Ended(runs, said, max(since, until))


def running_since(instance: dg.DagsterInstance, schedule: str) -> float | None:
    """Since when a schedule is on; None where it is off."""
    for state in instance.all_instigator_state():
        if state.name == schedule and state.is_running:
            # Its type has no public name.
            return getattr(state.instigator_data, "start_timestamp", None)
    return None


def _goes_on(run: dg.DagsterRun) -> bool:
    """Whether Dagster starts it again by itself."""
    return not run.is_success and run.tags.get(WILL_RETRY) == "true"


def _ended(instance: dg.DagsterInstance, record: dg.RunRecord) -> EndedRun:
    run = record.dagster_run
    return EndedRun(
        run.run_id,
        run.job_name,
        run.tags.get(PARTITION),
        run.is_success,
        record.end_time or 0.0,
        "" if run.is_success else _reason(instance, run.run_id),
    )


def _reason(instance: dg.DagsterInstance, run_id: str) -> str:
    """The first failed step and what ended it; else what Dagster says of the run."""
    types = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    for record in instance.get_records_for_run(run_id, of_type=types, limit=1).records:
        event = record.event_log_entry.dagster_event
        if event is None:
            continue
        said = event.message or ""
        if event.is_step_failure:
            failed = event.step_failure_data.error
            # Dagster's error has ours as its cause; a message begins with the type's whole name.
            error = failed.cause or failed if failed is not None else None
            message = said if error is None else error.message
            said = f"{event.step_key}: {message.partition(': ')[2] or message}"
        return without_secrets(" ".join(said.split()))[:MAX_ERROR_CHARS]
    return "it did not say why"


def _evaluations(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Iterator[Evaluation]:
    types = dg.DagsterEventType.ASSET_CHECK_EVALUATION
    for record in instance.get_records_for_run(run.run_id, of_type=types).records:
        event = record.event_log_entry.dagster_event
        if event is None:
            continue
        said = event.asset_check_evaluation_data
        yield Evaluation(
            said.asset_key.to_user_string(),
            said.check_name,
            said.partition,
            said.passed,
            said.severity is dg.AssetCheckSeverity.ERROR,
            record.event_log_entry.timestamp,
            without_secrets(said.description or "")[:MAX_ERROR_CHARS],
        )
