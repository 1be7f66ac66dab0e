"""The items of an hour and the feed's rejects, as assets."""

import csv
from pathlib import Path

import pytest

from pipeline_assets.core.status import Status
from pipeline_assets_tests import hours
from pipeline_assets_tests.assets.conftest import ITEMS, Copied, Hour
from pipeline_assets_tests.conftest import HOUR, NEXT_HOUR

COLUMNS = ["item_id", "name", "kind", "event_time", "colour"]
GOOD = ["a", "A shirt", "product", "2026-03-02T06:10:00Z", "red"]


@pytest.fixture
def feed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A feed of one good row with a column that we do not use; the environment names it."""
    path = tmp_path / "feed.csv"
    write(path, GOOD)
    for name in ("PIPELINE_FETCH_ALLOW", "PIPELINE_LABELS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIPELINE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("PIPELINE_FEED", str(path))
    return path


def write(path: Path, *rows: list[str]) -> None:
    """Write a feed."""
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])


def changed(**values: str) -> list[str]:
    """The good row with other values."""
    return [values.get(name, value) for name, value in zip(COLUMNS, GOOD, strict=True)]


def rejects(path: Path) -> list[hours.Row]:
    """Materialize the rejects of a feed and read them."""
    result = hours.executed(hours.asset("feed_rejects"), hour=None)
    assert result.success
    found = hours.table(path.parent / "data", "feed_rejects", "all")
    assert hours.shown(result)["feed_rejects"]["dagster/row_count"] == len(found)
    return found


def test_items_show_what_the_feed_gave(good: Hour) -> None:
    """All new, none twice, none kept from before."""
    shown = hours.shown(good.result)["items"]
    assert shown["dagster/row_count"] == shown["status_ok"] == ITEMS + 2
    assert shown["new_or_changed"] == ITEMS + 2
    assert (shown["duplicates"], shown["kept_from_before"]) == (0, 0)
    assert "unknown_columns" not in shown


def test_the_preview_of_items_holds_a_hostile_name_in_its_cell(tmp_path: Path, feed: Path) -> None:
    """Markup that a stranger wrote into a name is text."""
    write(feed, changed(name=hours.HOSTILE_NAME))
    result = hours.materialized("items")
    assert hours.rows(tmp_path / "data", "items")["a"]["name"] == hours.HOSTILE_NAME
    preview = hours.shown(result)["items"]["preview"]
    assert len(preview.split("\n")) == 3
    assert r"\<svg" in preview
    assert "](javascript" not in preview.replace(r"\]", "")


def test_unused_columns_of_the_feed_are_named(feed: Path) -> None:
    """A misspelt column is not lost in silence."""
    assert feed.exists()
    result = hours.materialized("items")
    assert hours.shown(result)["items"]["unknown_columns"] == "colour"


def test_a_bad_row_is_an_item_with_its_reason(tmp_path: Path, feed: Path) -> None:
    """It neither stops the others nor is it lost."""
    write(feed, GOOD, changed(item_id="b", name=""), changed(item_id="c", kind="song"))
    result = hours.materialized("items")
    assert result.success
    rows = hours.rows(tmp_path / "data", "items")
    assert {item: row["status"] for item, row in rows.items()} == {
        "a": Status.OK,
        "b": Status.FAILED,
        "c": Status.FAILED,
    }
    assert "name" in rows["b"]["error"]
    assert "'song'" in rows["c"]["error"]
    assert hours.shown(result)["items"]["status_failed"] == 2
    assert hours.verdicts(result)["items.structure"].passed


def test_of_a_double_item_the_last_row_counts(tmp_path: Path, feed: Path) -> None:
    """The other one is a reject, with the line that replaced it."""
    write(feed, GOOD, changed(name="A better shirt"))
    result = hours.materialized("items")
    assert hours.shown(result)["items"]["duplicates"] == 1
    assert hours.rows(tmp_path / "data", "items")["a"]["name"] == "A better shirt"
    (reject,) = rejects(feed)
    assert (reject["line"], reject["item_id"]) == (2, "a")
    assert "line 3" in reject["problem"]


def test_rows_in_no_hour_are_rejects_by_line(feed: Path) -> None:
    """A time that is none, one before the first hour, and no id at all."""
    write(
        feed,
        changed(item_id="b", event_time="soon"),
        GOOD,
        changed(item_id="c", event_time="2019-03-02T06:00:00Z"),
        changed(item_id=""),
    )
    found = rejects(feed)
    assert [row["line"] for row in found] == [2, 4, 5]
    assert "soon" in found[0]["problem"]
    assert "PIPELINE_START" in found[1]["problem"]
    assert "item_id" in found[2]["problem"]


def test_a_feed_without_rejects_is_a_table_of_no_rows(feed: Path) -> None:
    """It is there all the same."""
    assert rejects(feed) == []


def test_an_item_that_left_the_feed_stays(good: Hour, copied: Copied) -> None:
    """A truncated export must not delete a catalogue."""
    copy = copied(good)
    feed = copy.data / "feed.csv"
    feed.write_text("".join(feed.read_text().splitlines(keepends=True)[:-1]))
    shown = hours.shown(hours.materialized("items"))["items"]
    assert shown["kept_from_before"] == 1
    assert shown["dagster/row_count"] == ITEMS + 2


def test_items_belong_to_the_hour_of_their_time(tmp_path: Path, feed: Path) -> None:
    """The last second of one and the first of the next are apart, in UTC."""
    write(
        feed,
        changed(event_time="2026-03-02T06:59:59.999Z"),
        changed(item_id="b", event_time="2026-03-02T08:00:00+01:00"),
    )
    for hour, items in ((HOUR, {"a"}), (NEXT_HOUR, {"b"})):
        assert hours.materialized("items", hour=hour).success
        assert set(hours.rows(tmp_path / "data", "items", hour)) == items


def test_a_missing_feed_fails_the_step_and_the_table_stays(good: Hour, copied: Copied) -> None:
    """With the setting's name; what was there is still there."""
    copy = copied(good)
    (copy.data / "feed.csv").unlink()
    result = hours.materialized("items")
    assert not result.success
    assert "PIPELINE_FEED" in hours.failure(result)
    assert len(copy.rows("items")) == ITEMS + 2
