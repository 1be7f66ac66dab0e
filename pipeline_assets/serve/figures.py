"""Figures of quality: of items by hour, of rows by stage, of dead letters by reason."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from pipeline_assets.core.names import ENRICHED, QUALITY_SUMMARY
from pipeline_assets.core.quality import COMPARED_DIGITS
from pipeline_assets.core.status import Status
from pipeline_assets.resources import Resources
from pipeline_assets.serve.answers import HourQuality, Quality, ReasonOut, StageQuality
from pipeline_assets.stages import all_stages, stage_tables

GOOD, FAIR = 0.8, 0.5
"""Where the bands of quality begin, below the perfect 1.0."""

ITEMS = """
    SELECT hour, count(*) AS items, round(avg(q), $digits) AS mean,
           count(*) FILTER (WHERE q >= 1) AS perfect,
           count(*) FILTER (WHERE q >= $good AND q < 1) AS good,
           count(*) FILTER (WHERE q >= $fair AND q < $good) AS fair,
           count(*) FILTER (WHERE q < $fair) AS poor,
           count(*) FILTER (WHERE q IS NULL) AS pending
    FROM (SELECT hour, round(quality::DOUBLE, $digits) AS q
          FROM read_parquet($files, hive_partitioning = true, union_by_name = true))
    GROUP BY hour ORDER BY hour
"""
ROWS = """
    SELECT hour, stage, status, rung, error_kind, "rows", improvable, quality_mean
    FROM read_parquet($files, hive_partitioning = true, union_by_name = true)
    ORDER BY hour, stage
"""

Row = Mapping[str, Any]


def quality(resources: Resources, hours: int) -> Quality:
    """The figures of so many of the newest hours."""
    bands = {"digits": COMPARED_DIGITS, "good": GOOD, "fair": FAIR}
    items = _query(resources, ITEMS, ENRICHED, hours, bands)
    rows = _query(resources, ROWS, QUALITY_SUMMARY, hours, {})
    stages = stage_tables(resources.settings)[1:-1]
    rows = [row for row in rows if row["stage"] in stages]
    rows.sort(key=lambda row: stages.index(row["stage"]))
    first = {stage.name: stage.rungs[0].name for stage in all_stages(resources.settings)}
    by_hour = sorted(rows, key=itemgetter("hour"))
    return Quality(
        hours=[HourQuality(**row) for row in items],
        stages=[_stage(None, group, first) for group in _grouped(rows, itemgetter("stage"))],
        stages_by_hour=[
            _stage(group[0]["hour"], group, first)
            for group in _grouped(by_hour, itemgetter("hour", "stage"))
        ],
        dead_letters=_reasons(rows),
    )


def _query(
    resources: Resources, query: str, table: str, hours: int, bound: Mapping[str, Any]
) -> list[dict[str, Any]]:
    tables = resources.tables
    files = [tables.url(table, hour) for hour in tables.hours(table)[-hours:]]
    if not files:
        return []
    with tables.connect() as connection:
        found = connection.execute(query, {**bound, "files": files})
        columns = [column[0] for column in found.description]
        return [dict(zip(columns, row, strict=True)) for row in found.fetchall()]


def _grouped(rows: Iterable[Row], key: Callable[[Row], Any]) -> list[list[Row]]:
    return [list(group) for _, group in groupby(rows, key)]


def _stage(hour: str | None, rows: Sequence[Row], first: Mapping[str, str]) -> StageQuality:
    stage = rows[0]["stage"]

    def count(status: Status) -> int:
        return sum(row["rows"] for row in rows if row["status"] == status)

    primary = sum(row["rows"] for row in rows if row["rung"] == first[stage])
    return StageQuality(
        hour=hour,
        stage=stage,
        rows=sum(row["rows"] for row in rows),
        mean=_mean(rows),
        primary=primary,
        fallback=count(Status.OK) - primary,
        not_applicable=count(Status.NOT_APPLICABLE),
        skipped=count(Status.SKIPPED),
        failed=count(Status.FAILED),
        pending=count(Status.PENDING),
    )


def _mean(rows: Sequence[Row]) -> float | None:
    known = [(row["rows"], row["quality_mean"]) for row in rows if row["quality_mean"] is not None]
    count = sum(number for number, _ in known)
    if not count:
        return None
    return round(sum(number * mean for number, mean in known) / count, COMPARED_DIGITS)


def _reasons(rows: Iterable[Row]) -> list[ReasonOut]:
    """The rows that failed and cannot be retried, most frequent reason first."""
    counts: dict[tuple[str, str], int] = {}
    for row in rows:
        dead = row["rows"] - row["improvable"]
        if row["status"] == Status.FAILED and dead:
            key = str(row["error_kind"]), row["stage"]
            counts[key] = counts.get(key, 0) + dead
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    return [ReasonOut(error_kind=kind, stage=stage, rows=n) for (kind, stage), n in ordered]
