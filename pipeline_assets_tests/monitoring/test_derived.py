"""Tables that follow from the stage tables, over a real hour."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from pipeline_assets.accelerator.accelerator import Fault, InjectedFault
from pipeline_assets.core.contract import SCHEMA_VERSION_KEY
from pipeline_assets.core.names import DEAD_LETTERS, QUALITY_SUMMARY, RETRY_QUEUE
from pipeline_assets.monitoring.derived import DERIVED, STAGE_TABLES, derive
from pipeline_assets.monitoring.findable import Findable
from pipeline_assets.monitoring.reliability import USABLE, reliability
from pipeline_assets.stages import stage_tables, within_reach
from pipeline_assets.store.tables import Tables
from pipeline_assets_tests.conftest import HOUR, ITEMS, NEXT_HOUR, Goods, Platform

THRESHOLD = 0.8


def derived(platform: Platform, table: str, hour: str = HOUR) -> list[dict[str, Any]]:
    """The rows of a derived table."""
    return list(derive(platform.resources.tables, table, hour, THRESHOLD).to_pylist())


def test_the_summary_counts_every_row_of_every_stage_once(finished: Platform) -> None:
    """And agrees with the tables about quality."""
    summary = derived(finished, QUALITY_SUMMARY)
    counted = {
        name: sum(row["rows"] for row in summary if row["stage"] == name)
        for name in (*STAGE_TABLES, "enriched_items")
    }
    per_role = {"fetched": 2 * ITEMS, "validated": 2 * ITEMS}
    assert counted == {name: per_role.get(name, ITEMS) for name in counted}
    enriched = [row for row in summary if row["stage"] == "enriched_items"]
    rows = finished.rows("enriched_items").values()
    reached = sum(round(row["quality"], 4) >= THRESHOLD for row in rows)
    assert sum(row["at_threshold"] for row in enriched) == reached


def test_the_summary_says_what_may_be_better_by_what_and_when(
    platform: Platform, goods: Goods
) -> None:
    """Only what an accelerated rung is above is the accelerator's; and whose rows they are."""
    resources = platform.resources
    resources.accelerator.fail(InjectedFault(Fault.OOM))
    urgent = replace(goods.product("urgent"), priority="interactive")
    platform.feed([urgent, goods.product("late", document_fault="503x99")])
    platform.items()
    platform.run()
    reach = within_reach(resources.settings)
    made = derive(resources.tables, QUALITY_SUMMARY, HOUR, THRESHOLD, reach=reach)
    open_ = [row for row in made.to_pylist() if row["improvable"]]
    assert {row["stage"]: row["improvable_accelerated"] for row in open_} == {
        "fetched": 0,
        "image_labels": 2,  # the embeddings follow the labels by themselves
    }
    classes = {row["stage"]: (row["interactive"], row["batch"]) for row in open_}
    assert classes == {"fetched": (0, 1), "image_labels": (1, 1)}
    late = platform.rows("fetched")["late/document"]
    [fetched] = [row for row in open_ if row["stage"] == "fetched"]
    assert fetched["next_retry_at"] == (late["retry_at"] or late["updated_at"])
    other = [row for row in made.to_pylist() if not row["improvable"]]
    assert {row["next_retry_at"] for row in other} == {None}


def test_dead_letters_are_the_failures_that_trying_again_cannot_help(finished: Platform) -> None:
    """Each with role and reason, and no other row."""
    letters = derived(finished, DEAD_LETTERS)
    expected = {
        (item.partition("/")[0], name)
        for name in STAGE_TABLES
        for item, row in finished.rows(name).items()
        if row["status"] == "failed" and not row["retryable"]
    }
    assert {(row["item_id"], row["stage"]) for row in letters} == expected
    assert {row["error_kind"] for row in letters} == {"not_found", "invalid_input"}
    assert all(row["error"] and row["role"] for row in letters)


def test_the_retry_queue_holds_improvable_rows_of_low_items_worst_first(
    platform: Platform, goods: Goods
) -> None:
    """A row that cannot be improved is not in it, nor one of an item that is good enough."""
    platform.feed(
        [
            goods.product("low", image_fault="503x99"),
            goods.product("lower", image_fault="503x99", document_fault="404"),
            goods.product("lost", image_fault="404"),
            goods.product("good"),
        ]
    )
    platform.items()
    platform.run()
    queue = derived(platform, RETRY_QUEUE)
    assert sorted(row["item_id"] for row in queue) == ["low", "lower"]
    assert [row["item_quality"] for row in queue] == sorted(row["item_quality"] for row in queue)
    assert {(row["stage"], row["role"], row["priority"]) for row in queue} == {
        ("fetched", "image", "LOW")
    }
    assert {row["error_kind"] for row in queue} == {"overloaded"}


@pytest.mark.parametrize(("threshold", "queued"), [(0.5, 0), (0.5001, 1)])
def test_an_item_at_the_threshold_is_good_enough(
    platform: Platform, goods: Goods, threshold: float, queued: int
) -> None:
    """Compared after rounding to four digits."""
    platform.feed([goods.product("a", image_fault="503x99")])
    platform.items()
    platform.run()
    tables = platform.resources.tables
    assert derive(tables, RETRY_QUEUE, HOUR, threshold).num_rows == queued


def again(platform: Platform, table: str) -> list[dict[str, Any]]:
    """The rows of a derived table once it has replaced its slice."""
    tables = platform.resources.tables
    tables.write(table, HOUR, derive(tables, table, HOUR, THRESHOLD))
    return list(tables.read(table, HOUR).to_pylist())


@pytest.mark.parametrize(
    ("table", "fault"), [(DEAD_LETTERS, "404"), (RETRY_QUEUE, "503x99")], ids=str
)
def test_a_trouble_that_is_seen_again_keeps_when_it_was_first_seen(
    platform: Platform, goods: Goods, table: str, fault: str
) -> None:
    """Though the row has been written anew."""
    platform.feed([goods.product("a", image_fault=fault)])
    platform.items()
    platform.run()
    [before] = again(platform, table)
    assert before["first_seen"] == before["last_seen"] == platform.clock()
    platform.clock.advance(3600)
    platform.run(force=True)
    [after] = again(platform, table)
    assert after["first_seen"] == before["first_seen"]
    assert after["last_seen"] == platform.clock()
    assert again(platform, table) == [after]


def test_trouble_of_another_kind_is_other_trouble(platform: Platform, goods: Goods) -> None:
    """It begins when it is seen."""
    platform.feed([goods.product("a", image_fault="404")])
    platform.items()
    platform.run()
    again(platform, DEAD_LETTERS)
    platform.clock.advance(3600)
    platform.feed([goods.product("a", image_fault="html-as-jpeg")])
    platform.items()
    platform.run()
    [letter] = again(platform, DEAD_LETTERS)
    assert (letter["stage"], letter["first_seen"]) == ("validated", platform.clock())


def test_a_slice_of_an_older_program_does_not_say_when(platform: Platform, goods: Goods) -> None:
    """Then the trouble begins with what the row knows."""
    platform.feed([goods.product("a", image_fault="404")])
    platform.items()
    platform.run()
    again(platform, DEAD_LETTERS)
    tables = platform.resources.tables
    old = tables.read(DEAD_LETTERS, HOUR).drop_columns(["first_seen", "key"])
    tables.write(DEAD_LETTERS, HOUR, old)
    [letter] = again(platform, DEAD_LETTERS)
    assert letter["first_seen"] == letter["last_seen"]


@pytest.mark.parametrize("table", DERIVED)
def test_an_hour_without_items_has_every_table_with_its_types(
    platform: Platform, goods: Goods, table: str
) -> None:
    """No rows, and no null-typed column."""
    platform.feed([goods.product("a")])
    platform.items(NEXT_HOUR)
    platform.run(hour=NEXT_HOUR)
    made = derive(platform.resources.tables, table, NEXT_HOUR, THRESHOLD)
    assert "null" not in {str(field.type) for field in made.schema}
    assert made.schema.metadata[SCHEMA_VERSION_KEY] == b"1"
    assert made.num_rows == 0


@pytest.mark.parametrize("threshold", [0.9, 0.7, 0.95])
def test_a_quality_in_float32_reaches_the_threshold_of_its_name(
    platform: Platform, goods: Goods, monkeypatch: pytest.MonkeyPatch, threshold: float
) -> None:
    """0.9 as a FLOAT is less than 0.9."""
    platform.feed([goods.product("a", image_fault="503x99")])
    platform.items()
    platform.run()
    tables = platform.resources.tables
    read = type(tables).read

    def at_threshold(*arguments: Any, **options: Any) -> pa.Table:
        found = read(*arguments, **options)
        if "quality" not in found.column_names:
            return found
        place = found.schema.get_field_index("quality")
        same = pa.array([threshold] * found.num_rows, pa.float32())
        return found.set_column(place, "quality", same)

    monkeypatch.setattr(type(tables), "read", at_threshold)
    assert derive(tables, RETRY_QUEUE, HOUR, threshold).num_rows == 0
    summary = derive(tables, QUALITY_SUMMARY, HOUR, threshold).to_pylist()
    assert all(row["at_threshold"] == row["rows"] for row in summary)
    stages = stage_tables(platform.resources.settings)
    figures = reliability(tables, HOUR, stages, threshold, {}, Findable(0, 0, "")).to_pylist()
    assert [row["rate"] for row in figures if row["name"] == USABLE] == [1]


def test_every_table_opens_with_plain_pandas_over_its_hours(
    finished: Platform, tmp_path: Path
) -> None:
    """The hour is the folder's name, and no column of the same name stands in its way."""
    tables = Tables(tmp_path)
    for table in DERIVED:
        made = derive(finished.resources.tables, table, HOUR, 0.8)
        for hour in (HOUR, NEXT_HOUR):
            tables.write(table, hour, made)
        read = pd.read_parquet(tmp_path / table)
        assert len(read) == 2 * made.num_rows
        assert set(read.hour) == ({HOUR, NEXT_HOUR} if made.num_rows else set())
