"""Plots show the rows of their data frames."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import altair as alt
import pandas as pd
import pytest

from pipeline_assets import analytics
from pipeline_assets_tests.analytics.marks import marks

FRAME = pd.DataFrame(
    {"label": ["hat", "cup", "hat"], "items": [3, 2, 1], "hour": ["02", "02", "03"]}
)


def svg(chart: alt.Chart) -> str:
    """A plot as a notebook shows it."""
    with alt.renderers.enable("svg"):
        bundle: Any = chart._repr_mimebundle_(None, None)
    return str(bundle["image/svg+xml"])


def drawn(chart: alt.Chart) -> list[dict[str, str]]:
    """The marks of a plot."""
    return marks(svg(chart))


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


@pytest.mark.parametrize("modes", [["open", "half-open", "closed"], ["closed", "open"]])
def test_a_breaker_is_green_while_it_is_closed_and_red_while_it_is_open(modes: list[str]) -> None:
    """Whichever mode comes first; the legend has the same colors, and no mode that is not there."""
    colors = {"closed": "#2e9e4f", "half-open": "#f2a900", "open": "#d62728"}
    times = [datetime(2026, 3, 2, hour, tzinfo=UTC) for hour in range(len(modes))]
    ends = [*times[1:], None]
    frame = pd.DataFrame({"breaker": "http", "mode": modes, "begin": times, "end": ends})
    chart = analytics.spans(frame, y="breaker", begin="begin", end="end", color="mode")
    marks_of = re.compile(r'<path aria-label="[^"]*mode: ([\w-]+)"[^>]* fill="(#\w+)"')
    assert dict(marks_of.findall(svg(chart))) == {mode: colors[mode] for mode in modes}
    scale = chart.to_dict()["encoding"]["color"]["scale"]
    assert dict(zip(scale["domain"], scale["range"], strict=True)) == {
        mode: colors[mode] for mode in modes
    }


def test_other_spans_are_given_any_colors() -> None:
    """Whose words are no modes."""
    first = datetime(2026, 3, 2, tzinfo=UTC)
    frame = pd.DataFrame({"stage": ["embed"], "state": ["busy"], "begin": [first], "end": [first]})
    chart = analytics.spans(frame, y="stage", begin="begin", end="end", color="state")
    assert "scale" not in chart.to_dict()["encoding"]["color"]
