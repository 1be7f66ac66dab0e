"""How values are shown on the pages."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from markupsafe import Markup

from pipeline_assets.core.contract import CONTRACT_NAMES
from pipeline_assets.core.quality import COMPARED_DIGITS
from pipeline_assets.serve.answers import HourQuality, StageQuality
from pipeline_assets.serve.figures import FAIR, GOOD

LONG_TEXT = 600
BANDS = ("perfect", "good", "fair", "poor", "pending")
PARTS = ("primary", "fallback", "not_applicable", "skipped", "failed", "pending")
BEYOND = frozenset({"item_id", "role", "status", "rung", "error_kind", "error", "quality_factors"})
"""Columns that are shown in a place of their own."""


def number(value: float | None, digits: int = 2) -> str:
    """A number, or a dash where none is known."""
    return "-" if value is None else f"{value:.{digits}f}"


def percent(value: float | None) -> str:
    """A share, or a dash."""
    return "-" if value is None else f"{value:.0%}"


def band(quality: float | None) -> str:
    """The band that a quality is in, which is its colour, and never its only sign."""
    if quality is None:
        return "pending"
    compared = round(quality, COMPARED_DIGITS)
    if compared >= 1:
        return "perfect"
    if compared >= GOOD:
        return "good"
    return "fair" if compared >= FAIR else "poor"


def words(name: str) -> str:
    """A name of the vocabulary as people write it."""
    return name.replace("_", " ")


def breakable(name: str) -> Markup:
    """A long name that a narrow table may break where its words end."""
    return Markup("<wbr>").join(re.split(r"(?<=[._@])", name))


def hour(name: str) -> str:
    """An hour's name as a time."""
    return f"{name[:10]} {name[11:]}:00"


def cell(value: Any) -> str:
    """Any value of a table; a long text is cut, and says how long it is."""
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S} UTC"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    if len(text) > LONG_TEXT:
        return f"{text[:LONG_TEXT]}… ({len(text):,} characters in all)"
    return text


def own_values(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a row has that is not shown elsewhere: the stage's own values, then the bookkeeping."""
    shown = {name: value for name, value in row.items() if name not in BEYOND and value is not None}
    return dict(sorted(shown.items(), key=lambda each: each[0] in CONTRACT_NAMES))


def bar(parts: Sequence[tuple[str, int]]) -> Iterator[tuple[str, float, float, int]]:
    """A bar of 100: each part that is there, as name, where it begins, how long it is, rows."""
    whole = sum(count for _, count in parts)
    at = 0.0
    for name, count in parts:
        if count:
            length = 100 * count / whole
            yield name, round(at, 3), round(length, 3), count
            at += length


def bands(figures: HourQuality) -> list[tuple[str, int]]:
    """How many items of an hour are in each band, best first."""
    return [(name, getattr(figures, name)) for name in BANDS]


def parts(figures: StageQuality) -> list[tuple[str, int]]:
    """How many rows of a stage were made in which way, best first."""
    return [(name, getattr(figures, name)) for name in PARTS]


FILTERS: Mapping[str, Callable[..., Any]] = {
    each.__name__: each
    for each in (number, percent, band, words, breakable, hour, cell, own_values, bar, bands, parts)
}
