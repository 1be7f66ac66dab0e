"""What analysts use: tables by name, figures as data frames, plots; each is one line.

from pipeline_assets import analytics

data = analytics.open_data()                                  # where PIPELINE_DATA says
data.table("image_labels", since="2026-03-02").df()           # a day and all after it, in pandas
data.current_items().filter("quality < 0.8").to_arrow_table()
data.sql("SELECT label, avg(quality) FROM current_items GROUP BY ALL")
analytics.bars(analytics.distribution(data), x="quality", y="items", color="hour")
"""

from pipeline_assets.analytics.data import Data, open_data
from pipeline_assets.analytics.figures import (
    before_and_after,
    cost_of_degraded,
    cost_per_item,
    distribution,
    effort,
    quality,
    shares,
    success_rates,
    time_to_recovery,
)
from pipeline_assets.analytics.plots import bars, spans
from pipeline_assets.analytics.searching import compare_modes
from pipeline_assets.analytics.timelines import breaker_timeline

__all__ = [
    "Data",
    "bars",
    "before_and_after",
    "breaker_timeline",
    "compare_modes",
    "cost_of_degraded",
    "cost_per_item",
    "distribution",
    "effort",
    "open_data",
    "quality",
    "shares",
    "spans",
    "success_rates",
    "time_to_recovery",
]
