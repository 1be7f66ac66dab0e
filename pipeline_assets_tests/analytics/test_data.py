"""Tables by name and hour, and each item as it is now."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_assets import analytics
from pipeline_assets.core.contract import TIMESTAMP
from pipeline_assets.core.hours import hour_name
from pipeline_assets.resources import Resources
from pipeline_assets.settings import load_settings
from pipeline_assets.store.storage import Storage
from pipeline_assets.store.tables import Tables

DAY = datetime(2026, 3, 2, tzinfo=UTC)
HOURS = ("2026-03-01-23", "2026-03-02-00", "2026-03-02-14", "2026-03-03-00")


def write(
    tables: Tables, hours: Mapping[str, Sequence[str]], asset: str = "enriched_items"
) -> None:
    """An item of an hour is seen at some minute of it; its name says in which hour that was."""
    for hour, items in hours.items():
        at = datetime.strptime(hour, "%Y-%m-%d-%H").replace(tzinfo=UTC)
        columns = {
            "item_id": pa.array(items, pa.string()),
            "name": pa.array([f"{item} of {hour}" for item in items], pa.string()),
            "event_time": pa.array([at + timedelta(minutes=30)] * len(items), TIMESTAMP),
        }
        tables.write(asset, hour, pa.table(columns))


@pytest.fixture
def data(tmp_path: Path) -> Iterator[analytics.Data]:
    """A data root with four hours of one table."""
    with analytics.Data(Resources(load_settings(data=tmp_path))) as data:
        write(data.resources.tables, {hour: ["a", f"only-{hour}"] for hour in HOURS})
        yield data


@pytest.mark.parametrize(
    ("since", "until", "found"),
    [
        (None, None, HOURS),
        ("2026-03-02", "2026-03-02", HOURS[1:3]),
        ("2026-03-02-14", None, HOURS[2:]),
        (None, "2026-03-02-14", HOURS[:3]),
        ("2026-03", "2026-03", HOURS),
        ("2026-03-02-01", "2026-03-02-13", ()),
        ("2027", None, ()),
    ],
)
def test_a_table_is_read_from_an_hour_to_another(
    data: analytics.Data, since: str | None, until: str | None, found: Sequence[str]
) -> None:
    """Both included; a day or a month stands for all its hours; none is a table of no rows."""
    table = data.table("enriched_items", since=since, until=until)
    assert table.columns == ["item_id", "name", "event_time", "hour"]
    assert sorted(set(table.df()["hour"])) == list(found)
    assert table.to_arrow_table().num_rows == 2 * len(found)


def test_a_table_that_is_not_there_is_said(data: analytics.Data) -> None:
    """With its name and what to do."""
    with pytest.raises(FileNotFoundError, match=r"no table fetched under .*run an hour first"):
        data.table("fetched")


@pytest.mark.parametrize("said", ["yesterday", "2026-3-2", "2026-03-02T14", ""])
def test_what_is_no_hour_is_refused(data: analytics.Data, said: str) -> None:
    """Compared as text it would give any hours."""
    with pytest.raises(ValueError, match=re.escape(repr(said))):
        data.table("enriched_items", since=said)


def test_a_query_names_tables_and_sees_hours_that_came_later(data: analytics.Data) -> None:
    """Those of other tables too, in upper case or lower."""
    counted = "select count(*) from enriched_items JOIN items USING (hour, item_id)"
    write(data.resources.tables, {HOURS[0]: ["a"]}, "items")
    assert data.sql(counted).fetchall() == [(1,)]
    write(data.resources.tables, {HOURS[1]: ["a"]}, "items")
    assert data.sql(counted).fetchall() == [(2,)]


def test_an_hour_that_is_replaced_is_read_anew(data: analytics.Data) -> None:
    """Also right after it was read, and what was asked before is asked again."""
    current = data.current_items()
    assert current.count("*").fetchall() == [(5,)]
    write(data.resources.tables, {HOURS[0]: ["a", "b", "c"]})
    assert current.count("*").fetchall() == [(6,)]
    assert data.table("enriched_items", until=HOURS[0]).count("*").fetchall() == [(3,)]


def test_a_condition_on_the_hour_opens_just_its_files(data: analytics.Data) -> None:
    """Of a year of hours a day is read, through the view of the current items too."""
    query = "SELECT name FROM enriched_items WHERE hour = '2026-03-02-14'"
    plan = data.sql(f"EXPLAIN ANALYZE {query}").fetchall()[0][1]
    assert re.search(r"Total Files Read:\s*1\b", plan), plan


def test_files_of_other_columns_are_one_table(data: analytics.Data) -> None:
    """An hour that an earlier version wrote lacks a column: it is empty there."""
    data.resources.tables.write("enriched_items", HOURS[0], pa.table({"item_id": ["old"]}))
    names = dict(data.table("enriched_items").select("item_id, name").fetchall())
    assert names["old"] is None
    assert names["a"] is not None


def test_an_item_is_current_in_its_newest_hour_only(data: analytics.Data) -> None:
    """What an hour alone has is current, whenever that was."""
    names = dict(data.current_items().select("item_id, name").fetchall())
    assert names == {"a": "a of 2026-03-03-00"} | {
        f"only-{hour}": f"only-{hour} of {hour}" for hour in HOURS
    }


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.integers(0, 5), st.sets(st.sampled_from("abcd")), min_size=1))
def test_current_items_are_those_of_the_newest_event(hours: dict[int, set[str]]) -> None:
    """Each item once, by its newest `event_time`, as the search has it."""
    named = {hour_name(DAY + timedelta(hours=n)): sorted(items) for n, items in hours.items()}
    with (
        TemporaryDirectory() as folder,
        analytics.Data(Resources(load_settings(data=Path(folder)))) as data,
    ):
        write(data.resources.tables, named)
        current = data.current_items().select("item_id, event_time").fetchall()
        every = data.table("enriched_items").select("item_id, event_time").fetchall()
    newest = dict(sorted(every, key=lambda row: row[1]))
    assert sorted(current) == sorted(newest.items())


def test_a_bucket_is_read_as_a_folder_is(storage: Storage, tmp_path: Path) -> None:
    """Hours, current items and what is replaced, wherever the tables lie."""
    resources = Resources(load_settings(data=tmp_path))
    resources.__dict__["tables"] = Tables(storage)
    with analytics.Data(resources) as data:
        write(resources.tables, {HOURS[0]: ["a", "b"], HOURS[1]: ["a"]})
        assert data.table("enriched_items", until=HOURS[0]).count("*").fetchall() == [(2,)]
        write(resources.tables, {HOURS[1]: ["a", "c"]})
        names = data.current_items().select("name").order("name").fetchall()
    assert names == [(f"a of {HOURS[1]}",), (f"b of {HOURS[0]}",), (f"c of {HOURS[1]}",)]


def test_a_data_root_beside_the_folder_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A notebook runs in its own folder; the data is named from the one above."""
    (tmp_path / "notebooks").mkdir()
    write(Tables(tmp_path / "data" / "tables"), {HOURS[0]: ["a"]})
    monkeypatch.setenv("PIPELINE_DATA", "data")
    for folder in (tmp_path, tmp_path / "notebooks"):
        monkeypatch.chdir(folder)
        with analytics.open_data() as data:
            assert data.table("enriched_items").select("item_id").fetchall() == [("a",)]
