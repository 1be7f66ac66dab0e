"""`quality`: how good the items are, by hour, stage, rung or label."""

from enum import StrEnum
from typing import Any

from pipeline_assets.core.names import ENRICHED
from pipeline_assets.core.quality import COMPARED_DIGITS
from pipeline_assets.resources import Resources
from pipeline_assets.stages import stage_tables


class By(StrEnum):
    """What the figures are grouped by."""

    HOUR = "hour"
    STAGE = "stage"
    RUNG = "rung"
    LABEL = "label"


_NUMBERS = """
    count(*) AS "rows",
    count(*) FILTER (WHERE status = 'ok') AS ok,
    count(*) FILTER (WHERE fallback_used IS NOT NULL) AS fallbacks,
    round(avg(quality::DOUBLE), $digits) AS mean,
    round(quantile_cont(quality::DOUBLE, 0.1), $digits) AS p10,
    round(min(quality::DOUBLE), $digits) AS lowest,
    round(count(*) FILTER (WHERE round(quality::DOUBLE, $digits) >= $threshold) / count(*), $digits)
      AS at_threshold
"""
_ITEMS = "FROM read_parquet($files, hive_partitioning = true)"
_ROWS = """
    FROM (SELECT regexp_extract(filename, '([^/]+)/hour=', 1) AS stage,
                 coalesce(rung, '(' || status || ')') AS rung, status, fallback_used, quality
          FROM read_parquet($files, union_by_name = true, filename = true))
"""
_QUERIES = {
    By.HOUR: f"SELECT hour, {_NUMBERS} {_ITEMS} GROUP BY hour ORDER BY hour",
    By.LABEL: f"""SELECT coalesce(label, '(none)') AS label, {_NUMBERS} {_ITEMS}
                  GROUP BY ALL ORDER BY "rows" DESC, label""",
    By.STAGE: f"SELECT stage, {_NUMBERS} {_ROWS} GROUP BY stage ORDER BY stage",
    By.RUNG: f"SELECT stage, rung, {_NUMBERS} {_ROWS} GROUP BY ALL ORDER BY stage, rung",
}


def quality(resources: Resources, by: By) -> list[dict[str, Any]]:
    """Rows, how many are ok, how many by a fallback, and their quality, for each group."""
    stages = stage_tables(resources.settings)[1:-1]
    names = (ENRICHED,) if by in (By.HOUR, By.LABEL) else stages
    files = [
        resources.tables.url(name, hour) for name in names for hour in resources.tables.hours(name)
    ]
    if not files:
        return []
    bound = {
        "files": files,
        "digits": COMPARED_DIGITS,
        "threshold": round(resources.settings.quality_threshold, COMPARED_DIGITS),
    }
    with resources.tables.connect() as connection:
        found = connection.execute(_QUERIES[by], bound)
        columns = [column[0] for column in found.description]
        return [dict(zip(columns, row, strict=True)) for row in found.fetchall()]
