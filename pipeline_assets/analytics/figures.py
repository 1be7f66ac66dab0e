"""Figures of the tables as data frames: quality, success, recovery, cost."""

from typing import TYPE_CHECKING

from pipeline_assets.analytics.data import Data
from pipeline_assets.commands.quality import By
from pipeline_assets.commands.quality import quality as quality_by
from pipeline_assets.core.quality import COMPARED_DIGITS
from pipeline_assets.stages import stage_tables

if TYPE_CHECKING:
    import pandas as pd

DISTRIBUTION = f"""
    SELECT hour, round(quality::DOUBLE, {COMPARED_DIGITS}) AS quality, count(*) AS items
    FROM enriched_items GROUP BY ALL ORDER BY ALL
"""  # noqa: S608 - of constants only
TROUBLE = """
    SELECT hour, item_id, items.quality AS quality_now, degraded_at IS NOT NULL AS was_degraded,
           CASE WHEN was_degraded THEN quality_then ELSE items.quality END AS quality_before,
           date_diff('millisecond', degraded_at, healed_at) / 1000 AS degraded_s,
           costs.attempts, costs.cost_usd
    FROM enriched_items AS items
    LEFT JOIN recovery USING (hour, item_id)
    LEFT JOIN costs USING (hour, item_id)
"""
COSTS = """
    SELECT hour, item_id, sum(attempts) AS attempts, sum(cost_usd) AS cost_usd
    FROM spent_on_rows GROUP BY ALL
"""
BEFORE_AND_AFTER = f"""
    SELECT hour, moment, round(quality::DOUBLE, {COMPARED_DIGITS}) AS quality, count(*) AS items
    FROM (
        SELECT hour, 'before' AS moment, quality_before AS quality FROM troubled
        UNION ALL
        SELECT hour, 'now' AS moment, quality_now AS quality FROM troubled
    )
    WHERE hour IN (SELECT hour FROM troubled WHERE was_degraded)
    GROUP BY ALL ORDER BY ALL
"""  # noqa: S608 - of constants only
COST_OF_DEGRADED = """
    SELECT hour, was_degraded, count(*) AS items, avg(quality_before) AS quality_before,
           avg(quality_now) AS quality_now, median(degraded_s) AS degraded_median_s,
           sum(attempts) / count(*) AS attempts_per_item, sum(cost_usd) / count(*) AS usd_per_item
    FROM troubled GROUP BY ALL ORDER BY ALL
"""
EFFORT = """
    SELECT hour, stage, rung, sum(calls)::BIGINT AS calls, sum("rows")::BIGINT AS "rows",
           sum(made)::BIGINT AS made, sum(recalled)::BIGINT AS recalled, sum(seconds) AS seconds
    FROM rung_calls GROUP BY ALL ORDER BY ALL
"""
SUCCESS_RATES = """
    SELECT hour, level, CASE level WHEN 'task' THEN 'rung calls, row by row' ELSE name END AS name,
           sum(attempted)::BIGINT AS attempted, sum(succeeded)::BIGINT AS succeeded,
           sum(succeeded) / nullif(sum(attempted), 0) AS rate
    FROM reliability WHERE level IN ('task', 'workflow', 'outcome')
    GROUP BY ALL ORDER BY hour, level DESC, name
"""
TIME_TO_RECOVERY = """
    SELECT hour, name AS priority, attempted AS healed, succeeded AS in_time, waiting,
           median_s, p95_s
    FROM reliability WHERE level = 'recovery' ORDER BY ALL
"""
COST_PER_ITEM = """
    WITH sizes AS (SELECT hour, count(*) AS items FROM enriched_items GROUP BY hour),
    spent AS (SELECT hour, stage, sum(seconds) AS seconds FROM rung_calls GROUP BY ALL)
    SELECT hour, stage, items, coalesce(seconds, 0) * 1000 / items AS rung_ms_per_item,
           retries, cost_usd, cost_usd / items AS usd_per_item
    FROM sizes
    JOIN (SELECT hour, name AS stage, retries, cost_usd FROM reliability WHERE level = 'stage')
    USING (hour)
    LEFT JOIN spent USING (hour, stage)
    ORDER BY hour, stage
"""


def quality(data: Data, by: str) -> "pd.DataFrame":
    """Rows, their values, fallbacks and quality by `hour`, `stage`, `rung` or `label`."""
    import pandas as pd  # noqa: PLC0415 - a third of a second, and not all figures are one

    return pd.DataFrame(quality_by(data.resources, By(by)))


def distribution(data: Data) -> "pd.DataFrame":
    """How many items of each hour have which quality."""
    return data.sql(DISTRIBUTION).df()


def before_and_after(data: Data) -> "pd.DataFrame":
    """The distribution of hours that had trouble: when it was seen, and now."""
    _show_troubled(data)
    return data.sql(BEFORE_AND_AFTER).df()


def cost_of_degraded(data: Data) -> "pd.DataFrame":
    """Items that were ever degraded beside those that never were.

    Their quality before and now, how long they were degraded, attempts and dollars an item.
    """
    _show_troubled(data)
    return data.sql(COST_OF_DEGRADED).df()


def effort(data: Data) -> "pd.DataFrame":
    """What each rung was given, over all runs: calls, rows, what it made or had made before."""
    return data.sql(EFFORT).df()


def success_rates(data: Data) -> "pd.DataFrame":
    """The three rates of each hour: of rung calls, of items through all stages, of outcomes."""
    return data.sql(SUCCESS_RATES).df()


def time_to_recovery(data: Data) -> "pd.DataFrame":
    """How many items healed, how many in time, and how long it took, by priority class."""
    return data.sql(TIME_TO_RECOVERY).df()


def cost_per_item(data: Data) -> "pd.DataFrame":
    """What each stage took of an item of an hour: time in rungs, retries, dollars."""
    return data.sql(COST_PER_ITEM).df()


def shares(data: Data, feature: str) -> "pd.DataFrame":
    """The share of each category of a column of `item_features`, hour by hour."""
    values = data.table("item_features").filter(f"{feature} IS NOT NULL")
    counts = values.aggregate(f"hour, {feature}, count(*) AS items").order(f"hour, {feature}").df()
    counts["share"] = counts["items"] / counts.groupby("hour")["items"].transform("sum")
    return counts


def _show_troubled(data: Data) -> None:
    """Views for the two figures that compare items with what they were."""
    stages = stage_tables(data.resources.settings)[1:]
    rows = " UNION ALL BY NAME ".join(
        f"SELECT hour, item_id, attempts, cost_usd FROM {stage}"  # noqa: S608 - our own names
        for stage in stages
    )
    data.sql(rows).create_view("spent_on_rows", replace=True)
    data.sql(COSTS).create_view("costs", replace=True)
    data.sql(TROUBLE).create_view("troubled", replace=True)
