"""What runs and checks have left standing: events in, conditions out, as pure rules.

A failed run stands until a later run does what it should have done; a failed check until the same
check passes. While the accelerator is at fault, low quality is its doing and not a message of its
own: from the first cause until the last of the hours is healed it is one condition, `degraded`.
Hours that are not healed `HEALED_WITHIN_S` after the last cause stand for themselves.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pipeline_assets.alerting.rules import Alert, Severity, moment

HEALED_WITHIN_S = 6 * 3600.0
"""As long as the slowest class of work may take to heal by default."""

STANDS_S = 7 * 86_400.0
"""A failed run that nobody ran again for a week is no news to anybody."""

WHOLE_HOUR = frozenset({"hour", "__ASSET_JOB"})
"""Jobs that do what any other job of the same hour should have done; the other name is that of a
run from an asset's page."""

QUALITY = "quality"
NAMED = 5


@dataclass(frozen=True, slots=True)
class EndedRun:
    """A run at its end; `reason` is why it failed."""

    run_id: str
    job: str
    partition: str | None
    succeeded: bool
    at: float
    reason: str = ""

    @property
    def key(self) -> str:
        """The condition that it is or ends."""
        return f"run:{self.job}/{self.partition or '-'}"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a check said of a partition."""

    asset: str
    check: str
    partition: str | None
    passed: bool
    grave: bool
    at: float
    said: str = ""

    @property
    def key(self) -> str:
        """The condition that it is or ends."""
        return f"check:{self.asset}.{self.check}/{self.partition or '-'}"


@dataclass(frozen=True, slots=True)
class OutageCause:
    """Why results are worse than they could be."""

    said: str
    since: float


@dataclass(frozen=True, slots=True)
class OutageWatch:
    """What stands, and from when to when the accelerator was last at fault."""

    runs: dict[str, EndedRun] = field(default_factory=dict)
    checks: dict[str, Evaluation] = field(default_factory=dict)
    degraded_since: float | None = None
    caused_until: float = 0.0

    def stored(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @classmethod
    def loaded(cls, stored: dict[str, Any]) -> "OutageWatch":
        """As it was stored."""
        return cls(
            {key: EndedRun(**run) for key, run in stored["runs"].items()},
            {key: Evaluation(**said) for key, said in stored["checks"].items()},
            stored["degraded_since"],
            stored["caused_until"],
        )


def after_runs(watch: OutageWatch, ended: Iterable[EndedRun]) -> OutageWatch:
    """What stands after these runs, in the order of their ends."""
    runs = dict(watch.runs)
    for run in ended:
        if not run.succeeded:
            first = runs.get(run.key, run)
            runs[run.key] = replace(run, at=first.at)
            continue
        runs.pop(run.key, None)
        if run.job in WHOLE_HOUR and run.partition is not None:
            for key in [key for key, other in runs.items() if other.partition == run.partition]:
                del runs[key]
    return replace(watch, runs=runs)


def after_checks(watch: OutageWatch, said: Iterable[Evaluation]) -> OutageWatch:
    """What stands after these evaluations, in their order."""
    checks = dict(watch.checks)
    for evaluation in said:
        if evaluation.passed:
            checks.pop(evaluation.key, None)
        else:
            first = checks.get(evaluation.key, evaluation)
            checks[evaluation.key] = replace(evaluation, at=first.at)
    return replace(watch, checks=checks)


def after_causes(watch: OutageWatch, causes: Sequence[OutageCause], now: float) -> OutageWatch:
    """Where the degradation stands when these causes are there now."""
    if causes:
        began = min(cause.since for cause in causes)
        since = watch.degraded_since
        return replace(watch, degraded_since=began if since is None else since, caused_until=now)
    healing = _its_doing(watch) and now < watch.caused_until + HEALED_WITHIN_S
    return watch if healing else replace(watch, degraded_since=None)


def without_old(watch: OutageWatch, now: float) -> OutageWatch:
    """Without the failed runs that stand for too long."""
    runs = {key: run for key, run in watch.runs.items() if now - run.at < STANDS_S}
    return replace(watch, runs=runs)


def conditions(watch: OutageWatch, causes: Sequence[OutageCause]) -> list[Alert]:
    """What stands."""
    its_doing = {evaluation.key for evaluation in _its_doing(watch)}
    alerts = [_of_run(run) for run in watch.runs.values()]
    alerts += [_of_check(said) for key, said in watch.checks.items() if key not in its_doing]
    if watch.degraded_since is not None:
        alerts.append(_degraded(watch, watch.degraded_since, causes))
    return alerts


def _its_doing(watch: OutageWatch) -> list[Evaluation]:
    """Low quality that began while the accelerator was at fault, or is still in its wake."""
    since = watch.degraded_since
    if since is None:
        return []
    return [
        said
        for said in watch.checks.values()
        if said.check == QUALITY and not said.grave and said.at >= since
    ]


def _of_run(run: EndedRun) -> Alert:
    hour = f" for {run.partition}" if run.partition else ""
    again = (
        f"`pipeline-assets run --hour {run.partition}`" if run.partition else "the UI's Re-execute"
    )
    return Alert(
        run.key,
        Severity.ERROR,
        f"the run of {run.job}{hour} failed",
        f"Run {run.run_id} failed: {run.reason}",
        f"What was finished stays. Mend the cause, and run it again with {again}.",
        run.at,
    )


def _of_check(said: Evaluation) -> Alert:
    of = f" for {said.partition}" if said.partition else ""
    return Alert(
        said.key,
        Severity.ERROR if said.grave else Severity.WARNING,
        f"the check {said.check} of {said.asset} failed{of}",
        said.said or "It did not say why.",
        f"The check's page in the UI shows the rows, under the asset {said.asset}. "
        "`pipeline-assets show ITEM` says what happened to one of them.",
        said.at,
    )


def _degraded(watch: OutageWatch, since: float, causes: Sequence[OutageCause]) -> Alert:
    hours = sorted({said.partition or "-" for said in _its_doing(watch)})
    parts = [cause.said for cause in causes] or [
        f"The cause is gone since {moment(watch.caused_until)}; what it left is being healed."
    ]
    if hours:
        named = ", ".join(hours[:NAMED]) + (" …" if len(hours) > NAMED else "")
        parts.append(f"{len(hours)} hours are under their quality for now: {named}.")
    return Alert(
        "degraded:accelerator",
        Severity.WARNING,
        "degraded: fallbacks do the accelerator's work",
        " ".join(parts),
        "Every hour goes on being built, and what is degraded heals by itself once the accelerator "
        "is well. `pipeline-assets accelerator status` and `doctor` say what is wrong with it.",
        since,
    )
