"""The index of the hours and the requests to heal them, on both databases."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline_assets.core.names import QUALITY_SUMMARY
from pipeline_assets.errors import ContractError
from pipeline_assets.healing.hours import Hour, HourIndex, WaitsFor
from pipeline_assets.healing.requests import HourRequests
from pipeline_assets.healing.rules import Outcome, Priority, Request, WantedHour
from pipeline_assets.monitoring.derived import derive
from pipeline_assets.stages import within_reach
from pipeline_assets.state.database import State
from pipeline_assets.store.tables import Tables
from pipeline_assets_tests.conftest import HOUR, HOUR_START, NEXT_HOUR, Clock, Goods, Platform

START = HOUR_START.timestamp()
LABELS = "image_labels"
MEAN = 6 * 0.5 / 8
EPOCH = 3


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still."""
    return Clock()


@pytest.fixture
def state(database_url: str, clock: Clock) -> Iterator[State]:
    """An empty state database."""
    opened = State(database_url, clock=clock.seconds)
    yield opened
    opened.close()


@pytest.fixture
def hours(state: State, tmp_path: Path) -> HourIndex:
    """An index with nothing in it."""
    return HourIndex(state, Tables(tmp_path / "tables"))


def group(stage: str, rows: int, quality: float | None = 1.0, **more: Any) -> dict[str, Any]:
    """A line of a summary; by default nothing of it can be better."""
    nothing = {"improvable": 0, "improvable_accelerated": 0, "next_retry_at": None}
    classes = {each.value: 0 for each in Priority}
    return {"stage": stage, "rows": rows, "quality_mean": quality, **nothing, **classes, **more}


def open_group(stage: str, rows: int, minute: int, *, accelerated: bool, **classes: int) -> Any:
    """A line of rows that may be better, from some minute of the hour on."""
    return group(
        stage,
        rows,
        improvable=rows,
        improvable_accelerated=rows if accelerated else 0,
        next_retry_at=HOUR_START.replace(minute=minute),
        **classes,
    )


def summary(*groups: dict[str, Any]) -> pa.Table:
    """A summary of these lines."""
    return pa.Table.from_pylist([group("items", 10), *groups])


DEGRADED = summary(
    group("enriched_items", 6, 0.5),
    group("enriched_items", 2, 0.0),
    group("enriched_items", 2, None),
    open_group(LABELS, 3, 20, accelerated=True, background=1, batch=2),
    open_group(LABELS, 1, 15, accelerated=True, batch=1),
    open_group("fetched", 2, 10, accelerated=False, interactive=2),
)


def test_an_hours_line_is_what_its_summary_says(hours: HourIndex, clock: Clock) -> None:
    """The mean of what is known; zero is known."""
    hours.keep(HOUR, DEGRADED)
    assert hours.all() == [
        Hour(
            hour=HOUR,
            items=10,
            quality_mean=MEAN,
            improvable=6,
            improvable_accelerated=4,
            next_retry_at=START + 600,
            by_priority={Priority.INTERACTIVE: 2, Priority.BATCH: 3, Priority.BACKGROUND: 1},
            updated_at=clock.seconds(),
        )
    ]


def test_each_cause_has_its_own_rows_urgency_and_time(hours: HourIndex) -> None:
    """The accelerator's rows do not wait for the shop's, nor the other way round."""
    hours.keep(HOUR, DEGRADED)
    assert hours.wanted(WaitsFor.ACCELERATOR, HOUR, EPOCH) == [
        WantedHour(HOUR, EPOCH, 4, START + 900, Priority.BATCH, MEAN)
    ]
    assert hours.wanted(WaitsFor.ANOTHER_TRY, HOUR, EPOCH) == [
        WantedHour(HOUR, EPOCH, 2, START + 600, Priority.INTERACTIVE, MEAN)
    ]
    assert hours.improvable(WaitsFor.ACCELERATOR, HOUR) == 4
    assert hours.improvable(WaitsFor.ANOTHER_TRY, HOUR) == 2
    assert hours.improvable(WaitsFor.ANOTHER_TRY, NEXT_HOUR) == 0


def test_an_hour_that_is_published_again_has_one_line(hours: HourIndex, clock: Clock) -> None:
    """The latest; a good hour is not degraded."""
    hours.keep(HOUR, DEGRADED)
    clock.advance(60)
    hours.keep(HOUR, summary(group("enriched_items", 10, 1.0)))
    [line] = hours.all()
    assert (line.improvable, line.next_retry_at, line.quality_mean) == (0, None, 1.0)
    assert line.updated_at == clock.seconds()
    assert [hours.wanted(cause, HOUR, EPOCH) for cause in WaitsFor] == [[], []]


def test_an_hour_without_items_is_in_the_index(hours: HourIndex) -> None:
    """Nothing is known of its quality, and nothing is wrong with it."""
    hours.keep(HOUR, pa.Table.from_pylist([], DEGRADED.schema))
    [line] = hours.all()
    assert (line.items, line.quality_mean, line.improvable) == (0, None, 0)


def test_hours_before_the_first_partition_are_not_asked_for(hours: HourIndex) -> None:
    """Nobody can run them."""
    hours.keep(HOUR, DEGRADED)
    assert hours.wanted(WaitsFor.ACCELERATOR, NEXT_HOUR, EPOCH) == []


def test_rows_whose_item_has_no_class_are_a_batchs(hours: HourIndex) -> None:
    """As a feed without the column says it."""
    hours.keep(HOUR, summary(open_group("fetched", 2, 0, accelerated=False)))
    [hour] = hours.wanted(WaitsFor.ANOTHER_TRY, HOUR, EPOCH)
    assert hour.priority is Priority.BATCH


def test_a_new_database_learns_from_the_slices(hours: HourIndex, tmp_path: Path) -> None:
    """As often as one likes; what has been published meanwhile is newer."""
    Tables(tmp_path / "tables").write(QUALITY_SUMMARY, HOUR, DEGRADED)
    assert hours.names() == set()
    assert [hours.restore(HOUR), hours.restore(HOUR)] == [1, 0]
    assert [line.improvable for line in hours.all()] == [6]
    hours.keep(HOUR, summary())
    assert hours.restore(HOUR) == 0
    assert [line.improvable for line in hours.all()] == [0]
    assert hours.names() == {HOUR}


def test_a_slice_of_an_older_program_says_too_little(hours: HourIndex, tmp_path: Path) -> None:
    """It is not taken for a good hour."""
    old = DEGRADED.drop_columns(["next_retry_at"])
    Tables(tmp_path / "tables").write(QUALITY_SUMMARY, HOUR, old)
    with pytest.raises(ContractError, match=r"has no next_retry_at.*run the hour again"):
        hours.restore(HOUR)
    assert hours.all() == []


def test_the_real_summary_of_an_outage_is_one_that_the_index_understands(
    platform: Platform, goods: Goods
) -> None:
    """A page that may come later is nothing for the accelerator."""
    platform.feed([goods.product("a", document_fault="503x99"), goods.product("b")])
    platform.items()
    platform.run()
    resources = platform.resources
    reach = within_reach(resources.settings)
    made = derive(resources.tables, QUALITY_SUMMARY, HOUR, 0.8, reach=reach)
    resources.hours.keep(HOUR, made)
    [line] = resources.hours.all()
    assert (line.items, line.improvable, line.improvable_accelerated) == (2, 1, 0)
    assert line.by_priority[Priority.BATCH] == 1
    row = platform.rows("fetched")["a/document"]
    assert line.next_retry_at == (row["retry_at"] or row["updated_at"]).timestamp()


FIRST = Request(HOUR, 1, 1, 100.0, 10)


def test_the_latest_request_of_each_cause_is_kept(state: State) -> None:
    """In the place of the one before."""
    heal, retry = HourRequests(state, "heal"), HourRequests(state, "retry")
    heal.keep([FIRST])
    ended = Request(HOUR, 1, 1, 100.0, 10, 2, Outcome.IN_VAIN, 200.0)
    retry.keep([ended])
    assert heal.latest() == {HOUR: FIRST}
    assert retry.latest() == {HOUR: ended}
    heal.keep([ended, Request(NEXT_HOUR, 1, 1, 300.0, 5)])
    heal.keep([])
    assert heal.latest()[HOUR] == ended
    assert list(heal.latest()) == [HOUR, NEXT_HOUR]


def test_a_cause_knows_what_others_have_in_flight(state: State) -> None:
    """Only that: what has ended holds nobody up."""
    heal = HourRequests(state, "heal")
    ended = Request(NEXT_HOUR, 1, 1, 100.0, 10, 0, Outcome.BETTER, 200.0)
    heal.keep([FIRST, ended])
    assert HourRequests(state, "feed_changed").of_other_causes() == {HOUR}
    assert heal.of_other_causes() == set()


def test_requests_go_by_the_clock_of_the_database(state: State, clock: Clock) -> None:
    """All hosts see one."""
    assert HourRequests(state, "heal").now() == clock.seconds()
