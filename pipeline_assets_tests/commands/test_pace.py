"""What a row takes on each rung, measured on rows that stand."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa
import pytest

from pipeline_assets.commands.pace import ENOUGH_ROWS, LOOKED_AT, Pace
from pipeline_assets.core.hours import hour_name
from pipeline_assets.core.rows import Row, to_table
from pipeline_assets.core.stage import Rung, Stage
from pipeline_assets.core.status import Status
from pipeline_assets.resources import Resources
from pipeline_assets_tests.conftest import HOUR, HOUR_START, NEXT_HOUR

OLD, NEW = "toy/1", "toy/2"
BEST = Rung(
    name="best", factor=1.0, call=lambda _r, _w: [], reads=("items.name",), producer=lambda _: NEW
)
LAST = replace(BEST, name="last", factor=0.5, producer=lambda _: "last/1")
TOY = Stage(
    name="toy",
    description="A toy.",
    values=(pa.field("value", pa.string()),),
    rungs=(BEST, LAST),
    skip_factor=0.1,
)
ROW = Row(("",), ("x",), Status.OK, rung="best", quality=1.0)


def rows(count: int, producer: str, ms: float | None, rung: str = "best") -> list[Row]:
    """So many rows that one producer made, each in the same time."""
    row = ROW._replace(rung=rung, producer=producer, duration_ms=ms)
    return [row._replace(id=(f"{producer} {rung} {ms} {n:04d}",)) for n in range(count)]


def write(resources: Resources, made: Sequence[Row], hour: str = HOUR) -> None:
    """The table of an hour."""
    resources.tables.write(TOY.name, hour, to_table(made, TOY.schema))


def test_nobody_knows_before_a_row_was_made(resources: Resources) -> None:
    """Neither without a table, nor of a rung that made nothing."""
    assert Pace(resources).seconds(TOY, BEST) is None
    write(resources, rows(1, NEW, 10.0))
    assert Pace(resources).seconds(TOY, LAST) is None


@pytest.mark.parametrize(
    ("new", "expected_ms"),
    [(0, 10.0), (ENOUGH_ROWS - 1, None), (ENOUGH_ROWS, 50.0), (2 * ENOUGH_ROWS, 50.0)],
)
def test_the_present_producer_tells_once_it_has_made_enough(
    resources: Resources, new: int, expected_ms: float | None
) -> None:
    """Until then all who made rows there tell, by their rows."""
    write(resources, rows(300, OLD, 10.0))
    write(resources, rows(new, NEW, 50.0), NEXT_HOUR)
    if expected_ms is None:
        expected_ms = (300 * 10.0 + new * 50.0) / (300 + new)
    assert Pace(resources).seconds(TOY, BEST) == pytest.approx(expected_ms / 1000)


def test_a_row_that_was_recalled_took_nothing(resources: Resources) -> None:
    """It is one of the rows all the same: others will be recalled, too."""
    write(resources, [*rows(100, NEW, 10.0), *rows(300, NEW, None)])
    assert Pace(resources).seconds(TOY, BEST) == pytest.approx(0.0025)


def test_the_newest_hours_tell(resources: Resources) -> None:
    """What was long ago was on another machine."""
    write(resources, rows(5, NEW, 999.0), hour_name(HOUR_START.replace(year=2025)))
    for hour in range(LOOKED_AT):
        write(resources, rows(5, NEW, 10.0), hour_name(HOUR_START.replace(hour=hour)))
    assert Pace(resources).seconds(TOY, BEST) == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("counts", "seconds"),
    [({}, 0.0), ({BEST: 10}, 0.1), ({BEST: 10, LAST: 2}, None)],
    ids=["no rows", "measured", "one was never measured"],
)
def test_rows_take_as_long_as_they_are_many(
    resources: Resources, counts: dict[Rung, int], seconds: float | None
) -> None:
    """Where one rung is unknown, so is the sum."""
    write(resources, rows(100, NEW, 10.0))
    told = Pace(resources).of(TOY, Counter(counts))
    assert told == (None if seconds is None else pytest.approx(seconds))
