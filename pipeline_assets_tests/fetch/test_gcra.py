"""A rate that many keep to together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.fetch.gcra import Rate, reserve


def test_a_burst_at_once_and_then_evenly() -> None:
    """50 a second: twelve now, the next a fiftieth of a second after each other."""
    times, due = reserve(Rate(50.0), None, 100.0, 15)
    assert times[:12] == (100.0,) * 12
    assert times[12:] == pytest.approx((100.02, 100.04, 100.06))
    later, _ = reserve(Rate(50.0), due, 100.0, 1)
    assert later == pytest.approx((100.08,))


def test_a_silence_earns_no_more_than_the_burst() -> None:
    """However long it was."""
    _, due = reserve(Rate(2.0), None, 0.0, 1)
    assert reserve(Rate(2.0), due, 1e6, 3)[0] == pytest.approx((1e6, 1e6 + 0.5, 1e6 + 1.0))


def test_a_slow_rate_has_no_burst() -> None:
    """One request every ten seconds."""
    assert reserve(Rate(0.1), None, 0.0, 3)[0] == pytest.approx((0.0, 10.0, 20.0))


@given(
    per_s=st.floats(0.1, 500),
    asked=st.lists(st.tuples(st.floats(0, 2), st.integers(1, 40)), max_size=20),
)
def test_no_span_of_time_sees_more_than_the_rate_and_the_burst(
    per_s: float, asked: list[tuple[float, int]]
) -> None:
    """Whoever asks when and for how many: all keep the rate together, and nobody goes back."""
    rate, now, due, times = Rate(per_s), 0.0, None, list[float]()
    for pause, wanted in asked:
        now += pause
        given_times, due = reserve(rate, due, now, wanted)
        assert all(time >= now for time in given_times)
        times += given_times
    times.sort()
    for first in range(len(times)):
        for last in range(first, len(times), 7):
            span = times[last] - times[first]
            assert last - first + 1 <= rate.burst + span * per_s + 1e-3


@pytest.mark.parametrize("per_s", [0.0, -1.0, float("inf"), float("nan")])
def test_a_rate_is_more_than_nothing(per_s: float) -> None:
    """And not everything."""
    with pytest.raises(ValueError, match="requests per second"):
        Rate(per_s)
