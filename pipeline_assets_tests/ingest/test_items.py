"""Items: the feed's rows of an hour, and those that belong to none."""

import csv
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline_assets.core.names import REJECTS
from pipeline_assets.errors import FeedError, LeaseHeld
from pipeline_assets.ingest import items as items_module
from pipeline_assets.ingest import rejects as feed_rejects
from pipeline_assets.ingest.items import materialize_items
from pipeline_assets.ingest.rejects import materialize_rejects
from pipeline_assets.sample.catalogue import FEED_COLUMNS
from pipeline_assets.state.leases import Lease, Leases
from pipeline_assets.store.tables import WHOLE
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


def rejects(platform: Platform) -> list[dict[str, Any]]:
    """The feed's rows that are in no hour."""
    materialize_rejects(platform.resources)
    rows: list[dict[str, Any]] = platform.resources.tables.read(REJECTS, WHOLE).to_pylist()
    return rows


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
    assert bad["error"].startswith("line 3 of feed.csv: ")


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
    [reject] = rejects(platform)
    assert (reject["file"], reject["line"], reject["item_id"]) == ("feed.csv", 2, "a")
    assert reject["problem"] == (
        "item_id 'a' is in line 3 of feed.csv again, in the same hour: the last one counts"
    )
    shares = platform.resources.feed.landed().hours()
    assert {hour: share.rows for hour, share in shares.items()} == {HOUR: 2, NEXT_HOUR: 1}


def test_of_an_items_rows_in_an_hour_the_newest_counts(platform: Platform) -> None:
    """Wherever it stands: an older state that comes late replaces nothing."""
    newer = {**GOOD, "name": "New shirt", "event_time": "2026-03-02T06:06:00Z"}
    write_rows(platform, newer, GOOD)
    assert platform.items().duplicates == 1
    assert platform.rows("items")["a"]["name"] == "New shirt"
    [reject] = rejects(platform)
    assert reject["line"] == 3
    assert reject["problem"].startswith("item_id 'a' is in line 2 of feed.csv again")
    assert reject["problem"].endswith("its time is later, and so it counts")


def test_rejects_of_an_unchanged_feed_are_not_looked_for_again(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table stands; another first hour is another question."""
    write_rows(platform, GOOD, {**GOOD, "item_id": ""})
    before = rejects(platform)
    assert len(before) == 1
    monkeypatch.setattr(feed_rejects, "queries", None)
    assert rejects(platform) == before
    monkeypatch.undo()
    settings = platform.resources.settings.model_copy(
        update={"start": HOUR_START + timedelta(hours=1)}
    )
    later = replace(platform, resources=replace(platform.resources, settings=settings))
    assert [row["line"] for row in rejects(later)] == [2, 3]


def test_the_files_of_a_folder_make_one_hour_and_their_rejects_one_table(
    platform: Platform, tmp_path: Path
) -> None:
    """Each row with its file; a file that cannot be read is one reject and stops nothing."""
    folder = tmp_path / "feeds"
    folder.mkdir()
    for name, row in (
        ("1.csv", {**GOOD, "name": ""}),
        ("2.csv", GOOD),
        ("3.csv", {**GOOD, "item_id": "b", "event_time": "soon"}),
    ):
        write_rows(platform, row)
        Path(platform.resources.settings.feed).rename(folder / name)
    (folder / "4.parquet").write_bytes(b"PAR1")
    settings = platform.resources.settings.model_copy(update={"feed": str(folder)})
    many = replace(platform, resources=replace(platform.resources, settings=settings))
    assert many.items().rows == 1
    assert many.rows("items")["a"]["status"] == "ok"
    found = [(row["file"], row["line"], row["problem"][:30]) for row in rejects(many)]
    assert [(file, line) for file, line, _problem in found] == [
        ("1.csv", 2),
        ("3.csv", 2),
        ("4.parquet", None),
    ]
    assert found[0][2] == "item_id 'a' is in line 2 of 2.c"[:30]
    assert found[2][2].startswith("the file is not read: ")


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
    [reject] = rejects(platform)
    assert reject["line"] == 3
    assert said in reject["problem"]


def test_a_sound_feed_has_no_rejects_and_the_table_its_types(platform: Platform) -> None:
    """Empty tables are tables."""
    write_rows(platform, GOOD)
    assert rejects(platform) == []
    schema = platform.resources.tables.read(REJECTS, WHOLE).schema
    assert schema == items_module.REJECTS_SCHEMA


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
    with pytest.raises(FeedError, match="PIPELINE_FEED"):
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
    acquire = Leases.acquire

    def after_another_run(leases: Leases, name: str) -> Lease:
        monkeypatch.undo()
        platform.feed([goods.product("other")])
        platform.items(run="other")
        platform.feed([goods.product("mine")])
        return acquire(leases, name)

    platform.feed([goods.product("mine")])
    monkeypatch.setattr(Leases, "acquire", after_another_run)
    platform.items(run="mine")
    assert set(platform.rows("items")) == {"mine", "other"}


def test_an_older_reading_of_the_feed_never_replaces_a_newer_one(
    platform: Platform, goods: Goods, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for the lease reads the feed once it has it."""
    platform.feed([goods.product("a", name="old")])
    platform.resources.feed.landed()
    acquire = Leases.acquire

    def after_another_run(leases: Leases, name: str) -> Lease:
        monkeypatch.undo()
        platform.feed([goods.product("a", name="new")])
        platform.items(run="newer")
        return acquire(leases, name)

    monkeypatch.setattr(Leases, "acquire", after_another_run)
    platform.items(run="older")
    assert platform.rows("items")["a"]["name"] == "new"


def test_event_time_decides_the_hour_to_the_microsecond(platform: Platform, goods: Goods) -> None:
    """The first instant belongs to it, the last one too."""
    last = timedelta(hours=1) - timedelta(microseconds=1)
    at: dict[str, Any] = {"first": timedelta(), "last": last, "next": timedelta(hours=1)}
    platform.feed(
        [replace(goods.product(name), event_time=HOUR_START + after) for name, after in at.items()]
    )
    platform.items()
    assert set(platform.rows("items")) == {"first", "last"}
