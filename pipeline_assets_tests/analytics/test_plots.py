"""Plots show the rows of their data frames."""

from datetime import UTC, datetime, timedelta
from typing import Any

import altair as alt
import pandas as pd

from pipeline_assets import analytics
from pipeline_assets_tests.analytics.marks import marks

FRAME = pd.DataFrame(
    {"label": ["hat", "cup", "hat"], "items": [3, 2, 1], "hour": ["02", "02", "03"]}
)


def drawn(chart: alt.Chart) -> list[dict[str, str]]:
    """The marks of a plot, as a notebook shows it."""
    with alt.renderers.enable("svg"):
        bundle: Any = chart._repr_mimebundle_(None, None)
    return marks(bundle["image/svg+xml"])


def test_each_row_is_a_bar() -> None:
    """With its numbers; without a color there is none."""
    assert drawn(analytics.bars(FRAME, x="label", y="items", color="hour")) == [
        {"label": "hat", "items": "3", "hour": "02"},
        {"label": "cup", "items": "2", "hour": "02"},
        {"label": "hat", "items": "1", "hour": "03"},
    ]
    assert drawn(analytics.bars(FRAME[:2], x="label", y="items")) == [
        {"label": "hat", "items": "3"},
        {"label": "cup", "items": "2"},
    ]


def test_a_span_without_an_end_goes_on_past_the_last_time() -> None:
    """It would have no width, had it begun last."""
    first = datetime(2026, 3, 2, tzinfo=UTC)
    frame = pd.DataFrame(
        {
            "breaker": ["http", "http"],
            "mode": ["open", "closed"],
            "begin": [first, first + timedelta(hours=20)],
            "end": [first + timedelta(hours=20), None],
        }
    )
    chart = analytics.spans(frame, y="breaker", begin="begin", end="end", color="mode")
    assert [mark["mode"] for mark in drawn(chart)] == ["open", "closed"]
    assert chart.data["end"].tolist()[1] == first + timedelta(hours=21)
    assert frame["end"].isna().tolist() == [False, True]
