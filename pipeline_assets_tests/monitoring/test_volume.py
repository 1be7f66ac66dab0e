"""Whether an hour is of its usual size."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.monitoring.volume import Volume, judged, volume

NOW = datetime(2026, 3, 2, 6, tzinfo=UTC)
WEEK, DAY, HOUR = timedelta(weeks=1), timedelta(days=1), timedelta(hours=1)


@pytest.mark.parametrize(
    ("items", "sizes", "wrong"),
    [
        (500, [500] * 8, False),
        (651, [500] * 8, True),
        (650, [500] * 8, False),
        (349, [500] * 8, True),
        (0, [500] * 8, True),
        (0, [0] * 8, False),
        (0, [3] * 8, True),
        (3, [0] * 8, True),
        (1, [3] * 8, False),
        (900, [100, 300, 500, 700, 900, 1100], False),
        (500, [500] * 5 + [0, 0, 100_000], False),
    ],
)
def test_a_size_is_held_against_the_middle_of_others(
    items: int, sizes: list[int], *, wrong: bool
) -> None:
    """What scatters may go on to; single hours that were odd change nothing."""
    assert (judged(items, sizes, "others").said is not None) is wrong


def test_what_is_said_names_the_sizes() -> None:
    """And what they were held against."""
    assert judged(900, [500] * 8, "hours like it").said == (
        "900 items; hours like it had 500, and 350 to 650 are usual"
    )
    assert judged(0, [500] * 8, "hours like it").said == (
        "the hour is empty; hours like it had 500 items"
    )


@pytest.mark.parametrize(
    ("there", "against"),
    [
        ({NOW - WEEK * n: 100 for n in range(1, 5)}, "the same hour of the last 8 weeks"),
        ({NOW - DAY * n: 100 for n in range(1, 5)}, "the same hour of the last 14 days"),
        ({NOW - HOUR * n: 100 for n in range(1, 5)}, "the 24 hours before"),
        (
            {NOW - WEEK * n: 1000 for n in range(1, 4)} | {NOW - DAY * n: 100 for n in (2, 3, 4)},
            "the same hour of the last 14 days",
        ),
    ],
)
def test_hours_most_like_it_are_looked_at_first(there: dict[datetime, int], against: str) -> None:
    """So that no Sunday night is held against a Monday noon."""
    found = volume(NOW, lambda hour: there.get(hour, 1000 if hour == NOW else None))
    assert against in (found.said or "")


def test_the_first_hours_have_nothing_to_be_held_against() -> None:
    """But for being empty."""
    there = {NOW: 10, **{NOW - HOUR * n: 1000 for n in range(1, 4)}}
    assert volume(NOW, there.get) == Volume(10)
    assert volume(NOW, {NOW: 0}.get).said == "the hour is empty, and there is none before it"


@given(st.integers(0, 10_000), st.lists(st.integers(0, 10_000), min_size=4, max_size=24))
def test_a_size_between_the_others_is_usual_where_they_are_alike(
    items: int, sizes: list[int]
) -> None:
    """The bounds are around the usual size, and said to be."""
    found = judged(items, sizes, "others")
    assert found.usual is not None
    assert (found.least or 0) <= found.usual <= (found.most or 0)
    if found.said is None:
        assert (found.least or 0) <= items <= (found.most or 0)


def test_hours_that_only_scatter_are_hardly_ever_remarkable() -> None:
    """Poisson sizes, four standard deviations: one of hundreds of hours."""
    rng = np.random.default_rng(77)
    drawn = rng.poisson(500, (1000, 9)).tolist()
    assert sum(judged(row[0], row[1:], "others").said is not None for row in drawn) <= 2
