"""What a scrape by Prometheus is told. It reads summaries and databases, no table of rows.

Everything is a gauge: the platform's figures are of its tables as they are now, and go down when
rows heal. What is summed up over hours is of the newest `HOURS` that there are.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from pipeline_assets.automation.dagster_events import JobRuns
from pipeline_assets.core.breaker import Mode
from pipeline_assets.core.hours import hour_end
from pipeline_assets.core.names import DRIFT, ENRICHED, QUALITY_SUMMARY, RELIABILITY, RETRY_QUEUE
from pipeline_assets.core.names import HOUR_STATISTICS as STATISTICS
from pipeline_assets.core.status import Status
from pipeline_assets.healing.rules import Priority
from pipeline_assets.monitoring.hour_statistics import LATENCY

if TYPE_CHECKING:
    from pipeline_assets.resources import Resources

CONTENT_TYPE = CONTENT_TYPE_LATEST
HOURS = 24
QUANTILES = {"p50": "0.5", "p95": "0.95", "p99": "0.99"}

Row = Mapping[str, Any]
Samples = Mapping[tuple[str, ...], float]
"""The values of a metric by those of its labels."""

RunsSince = Callable[[float], list[JobRuns]]
"""Dagster's runs that ended after a time, and those that have not ended."""


class _Now(Collector):
    """Asks the platform at the moment of the scrape."""

    def __init__(self, resources: "Resources", runs: RunsSince) -> None:
        self._resources, self._runs = resources, runs

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Every family, whether it has samples or not."""
        for part in (_of_hours, _of_the_newest_hour, _of_the_state):
            yield from part(self._resources)
        since = self._resources.clock() - timedelta(hours=HOURS)
        yield from _of_dagster(self._runs(since.timestamp()))


def prometheus_text(resources: "Resources", runs: RunsSince) -> str:
    """All metrics in Prometheus's text format, to be served as `CONTENT_TYPE`."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Now(resources, runs))
    return generate_latest(registry).decode()


def _of_hours(resources: "Resources") -> Iterator[GaugeMetricFamily]:
    """What the summaries of the newest hours come to."""
    tables = resources.tables
    newest = tables.hours(QUALITY_SUMMARY)[-HOURS:]
    summaries = [row for hour in newest for row in tables.read(QUALITY_SUMMARY, hour).to_pylist()]
    yield _gauge(
        "pipeline_rows",
        f"Rows of the newest {HOURS} hours by status.",
        ("stage", "status"),
        _summed(summaries, ("stage", "status"), "rows"),
    )
    made = [row for row in summaries if row["status"] == Status.OK.value]
    yield _gauge(
        "pipeline_made_rows",
        f"Rows of the newest {HOURS} hours that have a value, by the rung that made it.",
        ("stage", "rung"),
        _summed(made, ("stage", "rung"), "rows"),
    )
    yield _gauge(
        "pipeline_quality_mean_ratio",
        f"Mean quality of the rows of the newest {HOURS} hours, 0 to 1.",
        ("stage",),
        _means(summaries),
    )
    dead = [
        {**row, "dead": row["rows"] - row["improvable"]}
        for row in summaries
        if row["status"] == Status.FAILED.value and row["rows"] > row["improvable"]
    ]
    yield _gauge(
        "pipeline_dead_letters",
        f"Rows of the newest {HOURS} hours that trying again cannot help, by reason.",
        ("stage", "reason"),
        _summed(dead, ("stage", "error_kind"), "dead"),
    )
    yield _gauge(
        "pipeline_rows_cost_usd",
        f"What the rows of the newest {HOURS} hours have cost, over all runs.",
        ("stage",),
        _summed(summaries, ("stage",), "cost_usd"),
    )
    queued = sum(tables.rows(RETRY_QUEUE, hour) for hour in newest)
    yield _gauge(
        "pipeline_retry_queue_rows",
        f"Improvable rows of items of the newest {HOURS} hours that are under the threshold.",
        (),
        {(): queued},
    )


def _of_the_newest_hour(resources: "Resources") -> Iterator[GaugeMetricFamily]:
    """Success, times and drift of the newest hour that has them."""
    figures = _newest(resources, RELIABILITY)
    rates: Samples = {
        (row["level"], row["name"]): row["rate"] for row in figures if row["rate"] is not None
    }
    yield _gauge(
        "pipeline_success_ratio",
        "Successes by attempts, in the newest hour: of rung calls, stages, items and searches.",
        ("level", "name"),
        rates,
    )
    calls = [row for row in figures if row["level"] == "task"]
    yield _gauge(
        "pipeline_rung_calls",
        "Calls of a rung in the newest hour.",
        ("rung",),
        _summed(calls, ("name",), "calls"),
    )
    yield _gauge(
        "pipeline_rung_calls_duration_seconds",
        "Time in these calls, all together.",
        ("rung",),
        _summed(calls, ("name",), "seconds"),
    )
    latencies: Samples = {
        (row["name"], QUANTILES[row["statistic"]]): row["value"] / 1000
        for row in _newest(resources, STATISTICS)
        if row["subject"] == LATENCY and row["statistic"] in QUANTILES
    }
    yield _gauge(
        "pipeline_row_duration_seconds",
        "Time of a row in its rung in the newest hour, amortised over its batch.",
        ("rung", "quantile"),
        latencies,
    )
    yield _gauge(
        "pipeline_feature_drifted",
        "1 where a feature of the newest hour's items has moved.",
        ("feature",),
        {
            (row["feature"],): float(row["drifted"])
            for row in _newest(resources, DRIFT)
            if row.get("drifted") is not None  # an older program's has no such column
        },
    )


def _of_the_state(resources: "Resources") -> Iterator[GaugeMetricFamily]:
    """Breakers, the accelerator, the index of hours, and what was spent today."""
    breakers = resources.breakers.all().items()
    yield _gauge(
        "pipeline_breaker_state",
        "1 for the state that a breaker is in, 0 for the others.",
        ("breaker", "state"),
        {(name, mode): float(state.mode is mode) for name, state in breakers for mode in Mode},
    )
    health = resources.health.current()
    yield _gauge(
        "pipeline_accelerator_healthy",
        "1 while the probes of the accelerator say that it is well.",
        (),
        {(): float(health.healthy)},
    )
    hours, built = resources.hours.all(), resources.tables.hours(ENRICHED)
    yield _gauge(
        "pipeline_improvable_rows",
        "Rows of all hours that trying again can help, by the class of their item.",
        ("priority",),
        {(each.value,): sum(hour.by_priority[each] for hour in hours) for each in Priority},
    )
    yield _gauge(
        "pipeline_newest_hour_timestamp_seconds",
        "When the newest hour that there is has closed, since the epoch.",
        (),
        {(): _closed(built[-1])} if built else {},
    )
    yield _gauge(
        "pipeline_spent_today_usd",
        "What paid calls have cost since midnight UTC; the stage * is all together.",
        ("stage",),
        {(stage,): usd for stage, usd in resources.budgets.spent_today().items()},
    )


def _of_dagster(runs: Iterable[JobRuns]) -> Iterator[GaugeMetricFamily]:
    """Runs; without samples where there are none, or nobody can say."""
    yield _gauge(
        "pipeline_runs",
        f"Dagster's runs that ended in the last {HOURS} hours, or have not ended yet.",
        ("job", "outcome"),
        {(each.job, each.outcome): each.runs for each in runs},
    )
    yield _gauge(
        "pipeline_runs_duration_seconds",
        "Time of those that ended, all together.",
        ("job", "outcome"),
        {(each.job, each.outcome): each.seconds for each in runs if each.seconds},
    )


def _gauge(name: str, said: str, labels: tuple[str, ...], samples: Samples) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, said, labels=labels)
    for values, value in sorted(samples.items()):
        family.add_metric(values, value)
    return family


def _newest(resources: "Resources", table: str) -> list[dict[str, Any]]:
    hours = resources.tables.hours(table)
    return resources.tables.read(table, hours[-1]).to_pylist() if hours else []


def _summed(rows: Iterable[Row], by: tuple[str, ...], what: str) -> Samples:
    sums: defaultdict[tuple[str, ...], float] = defaultdict(float)
    for row in rows:
        sums[tuple(str(row[name]) for name in by)] += row[what] or 0
    return sums


def _means(rows: Iterable[Row]) -> Samples:
    """Means of groups of rows, each as heavy as it has rows."""
    scored = [row for row in rows if row["quality_mean"] is not None]
    weighed = [{**row, "quality": row["rows"] * row["quality_mean"]} for row in scored]
    counts = _summed(scored, ("stage",), "rows")
    sums = _summed(weighed, ("stage",), "quality")
    return {stage: sums[stage] / counts[stage] for stage in counts}


def _closed(hour: str) -> float:
    return hour_end(hour).timestamp()
