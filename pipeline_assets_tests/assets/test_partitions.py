"""Hours as partitions."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from pipeline_assets.assets.location import Location
from pipeline_assets.core.hours import hour_name
from pipeline_assets.settings import load_settings

START = datetime(2026, 3, 2, 6, tzinfo=UTC)
NOW = datetime(2026, 3, 3, 0, 30, tzinfo=UTC)


def test_partitions_are_the_closed_hours_from_the_start_on() -> None:
    """The hour that is going on is not one of them."""
    keys = Location(load_settings(start=START)).hours.get_partition_keys(current_time=NOW)
    assert keys[0] == "2026-03-02-06"
    assert keys[-1] == "2026-03-02-23"
    assert len(keys) == 18


def test_a_partition_is_named_as_its_folder_is() -> None:
    """`hour=…` of the tables and Dagster's key are the same text."""
    hours = Location(load_settings(start=START)).hours
    for step in range(18):
        hour = START + timedelta(hours=step)
        assert hours.has_partition_key(hour_name(hour))
        assert hours.time_window_for_partition_key(hour_name(hour)).start == hour


def test_a_start_in_another_zone_is_meant_in_utc() -> None:
    """Eight in Berlin's summer is six in UTC."""
    start = datetime(2026, 7, 1, 8, tzinfo=timezone(timedelta(hours=2)))
    assert Location(load_settings(start=start)).hours.get_first_partition_key() == "2026-07-01-06"


@pytest.mark.parametrize("key", ["2026-03-02-05", "2999-01-01-00", "2026-03-02", "2026-03-02-24"])
def test_no_other_text_is_a_partition(key: str) -> None:
    """Before the start, not closed yet, or no hour at all."""
    assert not Location(load_settings(start=START)).hours.has_partition_key(key)


def test_no_hour_is_lost_or_double_when_clocks_elsewhere_change() -> None:
    """UTC has 24 hours on the day that Europe has 23 or 25."""
    hours = Location(load_settings(start=datetime(2026, 3, 29, tzinfo=UTC))).hours
    keys = hours.get_partition_keys(current_time=datetime(2026, 3, 30, tzinfo=UTC))
    assert len(set(keys)) == len(keys) == 24
