"""Data roots that are older than the index of hours: the sensors know their hours all the same."""

import itertools
from collections.abc import Callable, Iterator

import pyarrow as pa
import pytest

from pipeline_assets.core.names import QUALITY_SUMMARY
from pipeline_assets.healing.hours import HourIndex
from pipeline_assets.monitoring.derived import derive
from pipeline_assets.monitoring.known_hours import PATIENCE_S, learn_hours
from pipeline_assets.stages import stage_tables, within_reach
from pipeline_assets_tests.conftest import HOUR, NEXT_HOUR, Goods, Platform

THIRD_HOUR = "2026-03-02-08"
NEWER_COLUMNS = ["improvable_accelerated", "interactive", "batch", "background", "next_retry_at"]


@pytest.fixture
def old(platform: Platform, goods: Goods) -> Platform:
    """A root with an hour that may be better, whose index is empty."""
    platform.feed([goods.product("a", document_fault="503x99"), goods.product("b")])
    platform.items()
    platform.run()
    platform.resources.tables.write(QUALITY_SUMMARY, HOUR, summary(platform))
    assert platform.resources.hours.all() == []
    return platform


def summary(platform: Platform) -> pa.Table:
    """The hour's summary, as this program makes it."""
    settings = platform.resources.settings
    stages, reach = stage_tables(settings), within_reach(settings)
    return derive(platform.resources.tables, QUALITY_SUMMARY, HOUR, 0.8, stages, reach)


def halves() -> Callable[[], float]:
    """A timer of which a look's patience lasts for a single hour."""
    seconds = itertools.count(step=PATIENCE_S * 0.6)
    return lambda: next(seconds)


def known(platform: Platform) -> Iterator[tuple[str, int]]:
    """The hours of the index, with how many rows may be better."""
    return ((hour.hour, hour.improvable) for hour in platform.resources.hours.all())


def test_an_index_without_its_hours_learns_them_from_their_summaries(old: Platform) -> None:
    """Once; then nobody looks again, whatever comes to lie there."""
    assert learn_hours(old.resources) == 1
    assert dict(known(old)) == {HOUR: 1}
    old.resources.tables.write(QUALITY_SUMMARY, NEXT_HOUR, summary(old))
    assert learn_hours(old.resources) == 0
    assert dict(known(old)) == {HOUR: 1}


def test_a_summary_that_says_too_little_is_made_anew_in_memory(old: Platform) -> None:
    """From the stage tables, as an older program left them; its slice stays as it is."""
    little = summary(old).drop_columns(NEWER_COLUMNS)
    old.resources.tables.write(QUALITY_SUMMARY, HOUR, little)
    assert learn_hours(old.resources) == 1
    assert dict(known(old)) == {HOUR: 1}
    assert old.resources.tables.read(QUALITY_SUMMARY, HOUR).column_names == little.column_names


def test_what_is_known_is_not_learnt_again(old: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is newer, and there may be tens of thousands."""
    old.resources.hours.keep(HOUR, summary(old).slice(0, 0))
    monkeypatch.delattr(HourIndex, "restore")
    assert learn_hours(old.resources) == 0
    assert dict(known(old)) == {HOUR: 0}


def test_a_look_that_runs_out_of_time_is_gone_on_with_newest_first(old: Platform) -> None:
    """A tick has a minute, and fifty thousand summaries take longer."""
    for hour in (NEXT_HOUR, THIRD_HOUR):
        old.resources.tables.write(QUALITY_SUMMARY, hour, summary(old))
    looks = []
    for _ in range(4):
        learn_hours(old.resources, timer=halves())
        looks.append([hour for hour, _rows in known(old)])
    assert looks == [
        [THIRD_HOUR],
        [NEXT_HOUR, THIRD_HOUR],
        [HOUR, NEXT_HOUR, THIRD_HOUR],
        [HOUR, NEXT_HOUR, THIRD_HOUR],
    ]


def test_a_damaged_summary_keeps_no_other_hour_from_being_known(
    old: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    """It is named, and not looked at again."""
    old.resources.tables.write(QUALITY_SUMMARY, NEXT_HOUR, summary(old))
    old.resources.tables.path(QUALITY_SUMMARY, NEXT_HOUR).write_bytes(b"PAR1 but no table PAR1")
    assert learn_hours(old.resources) == 1
    assert dict(known(old)) == {HOUR: 1}
    assert f"the hour {NEXT_HOUR} is not known to the sensors until it is run" in caplog.text
    assert learn_hours(old.resources) == 0
