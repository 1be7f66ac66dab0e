"""One measured figure beside what it is held against, and how a list of them is shown."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from rich.console import Console
from rich.table import Table

PIPED_WIDTH = 140
"""Columns where there is no terminal: a line a measure in a log, too."""


class Wanted(StrEnum):
    """On which side of the bar a figure should be."""

    AT_MOST = "at most"
    AT_LEAST = "at least"


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure of ours, and the other side's in the same unit.

    `bar` is what the ratio of ours to theirs is held against; None where a figure only stands
    there to compare with.
    """

    what: str
    ours: float
    unit: str
    against: str
    theirs: float
    wanted: Wanted = Wanted.AT_MOST
    bar: float | None = 1.0

    @property
    def ratio(self) -> float | None:
        """Ours to theirs; None where theirs is zero."""
        return self.ours / self.theirs if self.theirs else None

    @property
    def met(self) -> bool | None:
        """Whether ours is on the wanted side of the bar; None where there is no bar."""
        if self.bar is None:
            return None
        limit = self.bar * self.theirs
        return self.ours <= limit if self.wanted is Wanted.AT_MOST else self.ours >= limit


def show(measures: Sequence[Measure]) -> None:
    """Print a table with a line for each measure."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    table = Table(show_edge=False)
    for column in ("measure", "ours", "held against", "", "ratio", "wanted", "met"):
        is_number = column in ("ours", "", "ratio")
        table.add_column(column, justify="right" if is_number else "left", overflow="fold")
    for each in measures:
        table.add_row(
            each.what,
            _figure(each.ours, each.unit),
            each.against,
            _figure(each.theirs, each.unit),
            "" if each.ratio is None else f"{each.ratio:.2f}",
            "" if each.bar is None else f"{each.wanted} {each.bar:.2f}",
            {True: "[green]yes[/]", False: "[red]no[/]", None: ""}[each.met],
        )
    console.print(table)


def write_json(path: Path, measures: Sequence[Measure]) -> None:
    """Write the figures, and on what kind of machine they were taken."""
    figures = {
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "measures": [{**asdict(each), "ratio": each.ratio, "met": each.met} for each in measures],
    }
    path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def _figure(value: float, unit: str) -> str:
    shown = f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.2f}"
    return f"{shown} {unit}".rstrip()
