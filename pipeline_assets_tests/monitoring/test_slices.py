"""All rows of a table of slices, as one read that says what the slices say."""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline_assets.core.hours import hour_name
from pipeline_assets.monitoring import slices
from pipeline_assets.monitoring.slices import compacted_name, show_all_rows
from pipeline_assets.resources import Resources, utc_now
from pipeline_assets.settings import load_settings
from pipeline_assets.state.leases import FORGETTING
from pipeline_assets.store.storage import Storage
from pipeline_assets.store.tables import WHOLE, Tables
from pipeline_assets.upkeep.forgetting import forget, wanted

NAME = "retry_queue"
START = datetime(2026, 3, 2, tzinfo=UTC)
HOURS = tuple(hour_name(START + timedelta(hours=number)) for number in range(6))


def later() -> datetime:
    """When what was written just now has settled."""
    return utc_now() + 2 * slices.SETTLED_AFTER


@pytest.fixture
def resources(storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Resources:
    """Tables in a folder or a bucket, where three slices are many."""
    monkeypatch.setattr(slices, "MANY", 3)
    resources = Resources(load_settings(data=tmp_path / "root"), later)
    resources.__dict__["tables"] = Tables(storage)
    return resources


def write(resources: Resources, hours: Mapping[str, list[str]]) -> None:
    """Slices with these items."""
    for hour, items in hours.items():
        resources.tables.write(NAME, hour, pa.table({"item_id": pa.array(items, pa.string())}))


def read(resources: Resources, columns: str = "hour, item_id") -> list[tuple[str | None, ...]]:
    """These columns of every row there is, sorted."""
    with resources.tables.connect() as connection:
        assert show_all_rows(resources, NAME, connection)
        return sorted(connection.sql("FROM slices").select(columns).fetchall())


def apart(resources: Resources) -> list[str]:
    """The hours that are read by themselves, once all are shown."""
    with resources.tables.connect() as connection:
        assert show_all_rows(resources, NAME, connection)
        views = {name for (name,) in connection.execute("SHOW TABLES").fetchall()}
        if "fresh" not in views:
            return []
        return [
            hour
            for (hour,) in connection.sql("SELECT DISTINCT hour FROM fresh ORDER BY ALL").fetchall()
        ]


def test_no_slice_is_no_rows(resources: Resources) -> None:
    """Nor is anything written for it."""
    with resources.tables.connect() as connection:
        assert not show_all_rows(resources, NAME, connection)
    assert not resources.tables.exists(compacted_name(NAME), WHOLE)


def test_many_slices_are_one_file_and_what_came_later_is_read_beside_it(
    resources: Resources,
) -> None:
    """Hours without rows are known to have none; a slice that changed says itself what it has."""
    write(resources, {HOURS[0]: ["a"], HOURS[1]: []})
    assert apart(resources) == [HOURS[0]]
    write(resources, {HOURS[2]: ["b", "c"]})
    assert read(resources) == [(HOURS[0], "a"), (HOURS[2], "b"), (HOURS[2], "c")]
    assert apart(resources) == []
    write(resources, {HOURS[2]: ["d"], HOURS[3]: ["e"]})
    assert apart(resources) == [HOURS[2], HOURS[3]]
    assert read(resources) == [(HOURS[0], "a"), (HOURS[2], "d"), (HOURS[3], "e")]
    write(resources, {HOURS[0]: [], HOURS[1]: ["f"]})
    assert read(resources) == [(HOURS[1], "f"), (HOURS[2], "d"), (HOURS[3], "e")]
    assert apart(resources) == []


def test_a_slice_of_just_now_waits(storage: Storage, tmp_path: Path) -> None:
    """What replaces it within the second might look like it."""
    resources = Resources(load_settings(data=tmp_path / "root"))
    resources.__dict__["tables"] = Tables(storage)
    write(resources, {hour: ["a"] for hour in HOURS})
    assert apart(resources) == list(HOURS)


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(HOURS), st.lists(st.sampled_from("abc"), unique=True), min_size=1
        ),
        min_size=1,
        max_size=4,
    )
)
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_the_rows_are_those_of_the_slices(
    tmp_path_factory: pytest.TempPathFactory, changes: list[dict[str, list[str]]]
) -> None:
    """Whatever changed between two looks."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(slices, "MANY", 3)
        folder = tmp_path_factory.mktemp("root")
        resources = Resources(load_settings(data=folder), later)
        there: dict[str, list[str]] = {}
        for change in changes:
            write(resources, change)
            there |= change
            assert read(resources) == sorted(
                (hour, item) for hour, items in there.items() for item in items
            )


def test_slices_of_older_programs_are_rows_too(resources: Resources) -> None:
    """What they do not say is null, compacted or not."""
    write(resources, {HOURS[0]: ["a"], HOURS[1]: ["b"]})
    resources.tables.write(NAME, HOURS[2], pa.table({"item_id": ["c"], "stage": ["fetched"]}))
    rows = [("a", ""), ("b", ""), ("c", "fetched")]
    assert read(resources, "item_id, coalesce(stage, '')") == rows
    write(resources, {HOURS[2]: ["d"], HOURS[3]: ["c"]})
    rows = [("a", ""), ("b", ""), ("c", ""), ("d", "")]
    assert read(resources, "item_id, coalesce(stage, '')") == rows


def test_a_damaged_file_is_made_anew(resources: Resources) -> None:
    """Nothing but time is lost with it."""
    write(resources, {hour: [hour] for hour in HOURS})
    before = read(resources)
    resources.tables.storage.put(f"{compacted_name(NAME)}/hour=all/part.parquet", b"PAR1 no more")
    assert read(resources) == before
    assert apart(resources) == []


@pytest.mark.parametrize("lease", [f"{compacted_name(NAME)}/{WHOLE}", f"{FORGETTING}/{WHOLE}"])
def test_while_somebody_else_is_at_it_the_slices_are_read(
    resources: Resources, lease: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Who compacts, or takes rows away."""
    write(resources, {hour: [hour] for hour in HOURS})
    with resources.leases.acquire(lease), caplog.at_level(logging.INFO, slices.__name__):
        assert read(resources) == [(hour, hour) for hour in HOURS]
        assert apart(resources) == list(HOURS)
    assert "read slice by slice" in caplog.text
    assert read(resources) == [(hour, hour) for hour in HOURS]
    assert apart(resources) == []


def test_what_is_forgotten_is_forgotten_here_too(resources: Resources) -> None:
    """The rows are kept once more, so they have to be found once more."""
    write(resources, {hour: ["Zanzibar-7731", "b"] for hour in HOURS})
    assert apart(resources) == []
    erased = forget(resources, wanted(["Zanzibar-7731"]))
    assert erased.removed == {NAME: len(HOURS), compacted_name(NAME): len(HOURS)}
    assert not any(erased.left.values())
    kept = resources.tables.read(compacted_name(NAME), WHOLE)
    assert set(kept["item_id"].to_pylist()) == {"b"}
    assert read(resources) == [(hour, "b") for hour in HOURS]
