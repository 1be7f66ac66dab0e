"""Plots of data frames, by Altair: each mark says its numbers, so that figures can be checked.

`altair.renderers.enable("svg")` in a notebook makes them pictures that a code host shows too.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

WIDTH, HEIGHT, ROW_HEIGHT = 480, 200, 30
LABEL_ANGLE, LABEL_LIMIT = -30, 300
GREEN, AMBER, RED, DARK_RED, GREY = "#2e9e4f", "#f2a900", "#d62728", "#8c1515", "#9a9a9a"
MODE_COLORS = {
    "closed": GREEN,
    "half-open": AMBER,
    "open": RED,
    "forced-open": DARK_RED,
    "disabled": GREY,
}
"""A breaker's modes look the same in every figure, whichever of them comes first."""
TAIL = 0.05
"""How far what has no end goes on past the last time, as a share of the whole."""


def bars(
    frame: "pd.DataFrame", x: str, y: str, color: str | None = None, title: str = ""
) -> "alt.Chart":
    """A bar for each row, those of the same `x` and different `color` beside each other."""
    import altair as alt  # noqa: PLC0415 - half a second that imports need not cost

    encoded: dict[str, Any] = {"x": _names(x), "y": _number(y)}
    if color is not None:
        encoded |= {
            "color": alt.Color(color, type="nominal", sort=None),
            "xOffset": alt.XOffset(color, type="nominal", sort=None),
        }
    return _chart(frame, title).mark_bar().encode(**encoded)


def spans(
    frame: "pd.DataFrame", y: str, begin: str, end: str, color: str, title: str = ""
) -> "alt.Chart":
    """A line of bars for each `y`, from when to when; those without an end go on past the last.

    Modes of breakers have the colors of their own; other words are given any.
    """
    import altair as alt  # noqa: PLC0415 - likewise

    first, last = frame[begin].min(), frame[begin].max()
    chart = _chart(frame.fillna({end: last + TAIL * (last - first)}), title).mark_bar()
    return chart.encode(
        x=alt.X(begin, type="temporal", title="UTC", scale=alt.Scale(type="utc")).axis(
            format="%H:%M:%S"
        ),
        x2=alt.X2(end),
        y=alt.Y(y, type="nominal", title=None).axis(labelLimit=LABEL_LIMIT),
        color=_mode(frame, color),
    ).properties(height=ROW_HEIGHT * frame[y].nunique())


def _names(column: str) -> Any:
    import altair as alt  # noqa: PLC0415 - likewise

    return alt.X(column, type="nominal", sort=None).axis(
        labelAngle=LABEL_ANGLE, labelLimit=LABEL_LIMIT
    )


def _mode(frame: "pd.DataFrame", column: str) -> Any:
    import altair as alt  # noqa: PLC0415 - likewise

    color = alt.Color(column, type="nominal", sort=None)
    there = set(frame[column])
    if not there <= set(MODE_COLORS):
        return color
    shown = [mode for mode in MODE_COLORS if mode in there]
    return color.scale(domain=shown, range=[MODE_COLORS[mode] for mode in shown])


def _number(column: str) -> Any:
    import altair as alt  # noqa: PLC0415 - likewise

    return alt.Y(column, type="quantitative")


def _chart(frame: "pd.DataFrame", title: str) -> "alt.Chart":
    import altair as alt  # noqa: PLC0415 - likewise

    return alt.Chart(frame, width=WIDTH, height=HEIGHT, title=title)
