"""Items: the feed's rows of an hour, and those that belong to none."""

import csv
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline_assets.adapters.leases import Lease, Leases
from pipeline_assets.errors import FeedError, LeaseHeld
from pipeline_assets.sample.catalogue import FEED_COLUMNS
from pipeline_assets.stages import items as items_module
from pipeline_assets.stages.items import feed_hours, feed_rejects, materialize_items
from pipeline_assets_tests.conftest import HOUR, HOUR_START, NEXT_HOUR, Goods, Platform, called

GOOD = {"item_id": "a", "name": "Shirt", "kind": "product", "event_time": "2026-03-02T06:05:00Z"}


def write_rows(platform: Platform, *rows: dict[str, str], extra: tuple[str, ...] = ()) -> None:
    """Write a feed by hand."""
    path = Path(platform.resources.settings.feed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*FEED_COLUMNS, *extra])
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"name": ""}, "name is empty"),
        ({"kind": "gadget"}, "kind 'gadget' is not one of product, document"),
        ({"priority": "urgent"}, "priority 'urgent'"),
    ],
)
def test_a_bad_feed_row_becomes_a_failed_row_with_line_field_and_value(
    platform: Platform, broken: dict[str, str], said: str
) -> None:
    """Nothing else is lost."""
    write_rows(platform, GOOD, {**GOOD, "item_id": "b", **broken})
    report = platform.items()
    assert (report.rows, report.failed) == (2, 1)
    rows = platform.rows("items")
    assert rows["a"]["status"] == "ok"
    bad = rows["b"]
    assert (bad["status"], bad["error_kind"], bad["quality"]) == ("failed", "invalid_input", 0.0)
    assert said in bad["error"]
    assert bad["error"].startswith("line 3 of the feed: ")


def test_what_depends_on_a_failed_item_is_pending_with_the_reason(platform: Platform) -> None:
    """In every stage, without a call, until the feed is mended."""
    write_rows(platform, {**GOOD, "name": ""})
    platform.items()
    assert called(platform.run()) == {}
    for asset in ("fetched", "validated", "extracted_text", "embeddings", "enriched_items"):
        for row in platform.rows(asset).values():
            assert (row["status"], row["quality"]) == ("pending", None)
            assert (row["error_kind"], row["retryable"]) == ("upstream", False)
            assert "name is empty" in row["error"]
    write_rows(platform, GOOD)
    assert platform.items().new_or_changed == 1
    platform.run()
    assert platform.rows("enriched_items")["a"]["quality"] == 1.0


def test_the_same_item_twice_keeps_the_last_and_the_other_is_a_reject(platform: Platform) -> None:
    """In one hour; in another hour it is another row."""
    later = {**GOOD, "event_time": "2026-03-02T07:00:00Z"}
    write_rows(platform, GOOD, {**GOOD, "name": "Better shirt"}, later)
    assert platform.items().duplicates == 1
    assert platform.rows("items")["a"]["name"] == "Better shirt"
    rejects = feed_rejects(platform.resources).to_pylist()
    assert [(row["line"], row["item_id"]) for row in rejects] == [(2, "a")]
    assert "line 3 again" in rejects[0]["problem"]
    assert feed_hours(platform.resources) == {HOUR: 2, NEXT_HOUR: 1}


def test_rows_that_left_the_feed_stay(platform: Platform) -> None:
    """A feed that was cut short must not delete a catalogue."""
    write_rows(platform, GOOD, {**GOOD, "item_id": "b"})
    platform.items(run="first")
    write_rows(platform, {**GOOD, "item_id": "b"})
    report = platform.items(run="second")
    assert (report.rows, report.kept_from_before, report.new_or_changed) == (2, 1, 0)
    assert {row["run_id"] for row in platform.rows("items").values()} == {"first"}


def test_only_new_and_changed_rows_are_written_anew(platform: Platform) -> None:
    """A row that moved to another line has not changed."""
    write_rows(platform, GOOD, {**GOOD, "item_id": "b"})
    platform.items(run="first")
    write_rows(
        platform, {**GOOD, "item_id": "b"}, {**GOOD, "name": "Coat"}, {**GOOD, "item_id": "c"}
    )
    assert platform.items(run="second").new_or_changed == 2
    runs = {item: row["run_id"] for item, row in platform.rows("items").items()}
    assert runs == {"a": "second", "b": "first", "c": "second"}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({**GOOD, "item_id": ""}, "item_id is empty"),
        ({**GOOD, "event_time": "yesterday"}, "event_time 'yesterday'"),
        ({**GOOD, "event_time": "2020-01-01T00:00:00Z"}, "PIPELINE_START"),
    ],
)
def test_a_row_that_belongs_to_no_hour_is_a_reject_with_its_reason(
    platform: Platform, row: dict[str, str], said: str
) -> None:
    """It is counted in no hour, and never lost."""
    write_rows(platform, GOOD, row)
    assert platform.items().rows == 1
    [reject] = feed_rejects(platform.resources).to_pylist()
    assert reject["line"] == 3
    assert said in reject["problem"]


def test_a_sound_feed_has_no_rejects_and_the_table_its_types(platform: Platform) -> None:
    """Empty tables are tables."""
    write_rows(platform, GOOD)
    table = feed_rejects(platform.resources)
    assert (table.num_rows, table.schema) == (0, items_module.REJECTS_SCHEMA)


def test_an_unknown_column_is_named_and_ignored(platform: Platform) -> None:
    """The run goes on."""
    write_rows(platform, {**GOOD, "colour": "red"}, extra=("colour",))
    assert platform.items().unknown_columns == ("colour",)


def test_a_feed_that_cannot_be_read_leaves_the_table(platform: Platform) -> None:
    """The message names the setting."""
    write_rows(platform, GOOD)
    platform.items()
    Path(platform.resources.settings.feed).unlink()
    with pytest.raises(FeedError, match="PIPELINE_FEED"):
        platform.items()
    assert set(platform.rows("items")) == {"a"}


def test_a_feed_that_is_not_set_says_what_to_set(platform: Platform) -> None:
    """Before anything is written."""
    settings = platform.resources.settings.model_copy(update={"feed": ""})
    with pytest.raises(FeedError, match="set PIPELINE_FEED to a CSV"):
        materialize_items(replace(platform.resources, settings=settings), HOUR, "run")


def test_an_hour_that_the_feed_does_not_have_is_an_empty_table(platform: Platform) -> None:
    """It materializes all the same."""
    write_rows(platform, GOOD)
    assert platform.items(NEXT_HOUR).rows == 0
    assert platform.rows("items", NEXT_HOUR) == {}


def test_another_writer_of_the_same_hour_is_told_so(platform: Platform) -> None:
    """One writer per asset and hour."""
    write_rows(platform, GOOD)
    with platform.resources.leases.acquire(f"items/{HOUR}"), pytest.raises(LeaseHeld):
        platform.items()


def test_what_a_run_beside_this_one_adds_is_not_lost(
    platform: Platform, goods: Goods, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands is read under the lease: the other's items left the feed, and stay."""
    platform.feed([goods.product("mine")])
    acquire = Leases.acquire

    def after_another_run(leases: Leases, name: str) -> Lease:
        monkeypatch.undo()
        platform.feed([goods.product("other")])
        platform.items(run="other")
        return acquire(leases, name)

    monkeypatch.setattr(Leases, "acquire", after_another_run)
    platform.items(run="mine")
    assert set(platform.rows("items")) == {"mine", "other"}


def test_event_time_decides_the_hour_to_the_microsecond(platform: Platform, goods: Goods) -> None:
    """The first instant belongs to it, the last one too."""
    last = timedelta(hours=1) - timedelta(microseconds=1)
    at: dict[str, Any] = {"first": timedelta(), "last": last, "next": timedelta(hours=1)}
    platform.feed(
        [replace(goods.product(name), event_time=HOUR_START + after) for name, after in at.items()]
    )
    platform.items()
    assert set(platform.rows("items")) == {"first", "last"}
