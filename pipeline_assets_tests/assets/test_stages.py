"""The stage assets, materialized by Dagster on a small hour of the sample shop."""

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pipeline_assets.assets import stages as stage_assets
from pipeline_assets.core.status import Status
from pipeline_assets.engine.orders import Order, Report
from pipeline_assets.resources import Resources, opened
from pipeline_assets.stages import STAGES
from pipeline_assets_tests import hours
from pipeline_assets_tests.assets.conftest import ITEMS, Copied, Hour
from pipeline_assets_tests.conftest import HOUR, NEXT_HOUR

STAGE_NAMES = [stage.name for stage in STAGES]
ALL = ITEMS + 2
NUMBERS = {"quality_mean", "quality_p10", "quality_min", "quality_at_threshold"}


def runs(hour: Hour, asset: str) -> dict[str, str]:
    """The run that last wrote each row."""
    return {name: row["run_id"] for name, row in hour.rows(asset).items()}


def called(result: dg.ExecuteInProcessResult) -> dict[str, dict[str, int]]:
    """Rows given to each rung in this run, by asset; rungs that got none are left out."""
    return {
        asset: {
            name.removeprefix("rung_").removesuffix("_rows"): count
            for name, count in metadata.items()
            if name.startswith("rung_") and name.endswith("_rows") and count
        }
        for asset, metadata in hours.shown(result).items()
        if asset in STAGE_NAMES
    }


@pytest.mark.parametrize("name", STAGE_NAMES)
def test_a_materialization_shows_rows_statuses_and_quality(good: Hour, name: str) -> None:
    """Each number is what the table says."""
    metadata = hours.shown(good.result)[name]
    rows = list(good.rows(name).values())
    resources = name in ("fetched", "validated")
    assert metadata["dagster/row_count"] == len(rows) == ALL * (2 if resources else 1)
    for status in Status:
        assert metadata[f"status_{status}"] == sum(row["status"] == status for row in rows)
    assert metadata["fallbacks"] == sum(row["fallback_used"] is not None for row in rows)
    qualities = [row["quality"] for row in rows]
    assert metadata["quality_mean"] == pytest.approx(sum(qualities) / len(qualities), abs=1e-4)
    assert metadata["quality_min"] == pytest.approx(min(qualities), abs=1e-4)
    assert metadata.keys() >= NUMBERS
    assert metadata["rows_planned"] == metadata["planned_pending"] == len(rows)
    assert metadata["seconds"] > 0


def test_every_materialization_has_a_preview_that_no_name_breaks_out_of(good: Hour) -> None:
    """A head, a rule and five rows of the same number of cells, whatever an item is called."""
    shown = hours.shown(good.result)
    for name in ("items", *STAGE_NAMES):
        lines = shown[name]["preview"].split("\n")
        assert len(lines) == 2 + 5, name
        cells = {line.replace("\\|", "").count("|") for line in lines}
        assert len(cells) == 1, name
        assert "<script" not in shown[name]["preview"].replace("\\<", "")


def test_all_checks_pass_on_a_good_hour(good: Hour) -> None:
    """Three faulty items of forty are what real shops are like."""
    found = hours.verdicts(good.result)
    assert set(found) == {
        *(f"{name}.structure" for name in ("items", *STAGE_NAMES)),
        *(f"{name}.{check}" for name in STAGE_NAMES for check in ("no_bugs", "quality")),
        "items.volume",
        "drift.no_drift",
    }
    assert not [name for name, verdict in found.items() if not verdict.passed]
    assert {verdict.partition for verdict in found.values()} == {HOUR}
    assert found["enriched_items.quality"].metadata["rows"].value == ALL


def test_a_second_run_finds_everything_current(good: Hour, copied: Copied) -> None:
    """No rung is called, and no row is written again."""
    copy = copied(good)
    before = {name: runs(copy, name) for name in STAGE_NAMES}
    again = hours.materialized()
    assert again.success
    assert called(again) == {name: {} for name in STAGE_NAMES}
    assert {name: runs(copy, name) for name in STAGE_NAMES} == before
    shown = hours.shown(again)
    for name in STAGE_NAMES:
        assert shown[name]["standing_current"] == shown[name]["dagster/row_count"]


def test_force_for_some_items_redoes_just_those(good: Hour, copied: Copied) -> None:
    """What is current is made anew where it is asked for; all other rows are as they were."""
    copy = copied(good)
    chosen = good.goods[1].item_id, hours.NAME_ONLY
    before = {name: copy.rows(name) for name in STAGE_NAMES}
    result = hours.materialized(*STAGE_NAMES, items=chosen, force=True)
    assert result.success
    for name in STAGE_NAMES:
        after = copy.rows(name)
        redone = {key for key, row in after.items() if row["run_id"] == result.run_id}
        assert redone == {key for key in after if key.split("/")[0] in chosen}
        assert {k: row for k, row in after.items() if k not in redone} == {
            k: row for k, row in before[name].items() if k not in redone
        }
    assert hours.shown(result)["fetched"]["planned_forced"] == 4
    assert called(result)["extracted_text"] == {"structured": 1}


def test_items_without_force_touch_nothing_that_is_current(good: Hour, copied: Copied) -> None:
    """To name an item is not to doubt it."""
    copied(good)
    result = hours.materialized("extracted_text", items=[hours.NAME_ONLY])
    shown = hours.shown(result)["extracted_text"]
    assert shown["rows_planned"] == 0
    assert (shown["standing_current"], shown["standing_not_asked_for"]) == (1, ALL - 1)


def test_a_run_for_one_item_of_a_fresh_hour_leaves_the_others_pending(
    good: Hour, copied: Copied
) -> None:
    """They are there, and say so."""
    copy = copied(good)
    with opened() as resources:
        for name in STAGE_NAMES:
            resources.tables.path(name, HOUR).unlink()
    result = hours.materialized(*STAGE_NAMES, items=[hours.NAME_ONLY])
    assert result.success
    for name in ("extracted_text", "embeddings", "enriched_items"):
        rows = copy.rows(name)
        assert len(rows) == ALL
        pending = {item for item, row in rows.items() if row["status"] == Status.PENDING}
        assert pending == set(rows) - {hours.NAME_ONLY}
    assert copy.rows("enriched_items")[hours.NAME_ONLY]["quality"] == pytest.approx(1.0)


def test_an_hour_without_items_materializes_with_no_rows(good: Hour, copied: Copied) -> None:
    """Every table is there, typed, and passes its checks; just that it is empty is said."""
    copied(good)
    result = hours.materialized(hour=NEXT_HOUR)
    assert result.success
    shown = hours.shown(result)
    for name in ("items", *STAGE_NAMES, "retry_queue", "dead_letters", "quality_summary"):
        assert shown[name]["dagster/row_count"] == 0, name
        assert not NUMBERS & shown[name].keys(), name
    failed = {name for name, verdict in hours.verdicts(result).items() if not verdict.passed}
    assert failed == {"items.volume"}
    with opened() as resources:
        for stage in STAGES:
            table = resources.tables.read(stage.name, NEXT_HOUR)
            assert table.num_rows == 0
            assert table.schema.equals(stage.schema)


def test_a_table_with_a_double_key_fails_its_check_and_stops_what_follows(
    good: Hour, copied: Copied, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is built upon it; the check names the row."""
    copied(good)
    double = hours.NAME_ONLY
    write_twice("image_labels", double)
    # The stage itself would mend its table, so its work is left out.
    monkeypatch.setattr(stage_assets, "materialize", _no_work)
    result = hours.materialized("image_labels", "embeddings", "enriched_items")
    assert not result.success
    assert set(hours.shown(result)) == {"image_labels"}
    verdict = hours.verdicts(result)["image_labels.structure"]
    assert (verdict.passed, verdict.blocking) == (False, True)
    assert verdict.severity is dg.AssetCheckSeverity.ERROR
    assert "no two rows have the same key" in str(verdict.description)
    failures = verdict.metadata["failures"]
    assert isinstance(failures, dg.TableMetadataValue)
    assert double in str(failures.records[0].data["sample"])


def _no_work(_order: Order, _resources: Resources, *_others: object) -> Report:
    return Report()


def write_twice(asset: str, item: str) -> None:
    """Write a table by hand in which an item has two rows."""
    with opened() as resources:
        table = resources.tables.read(asset, HOUR)
        mine = table.filter(pc.equal(table["item_id"], item))
        resources.tables.write(asset, HOUR, pa.concat_tables([table, mine]))


def test_the_engine_mends_a_table_with_a_double_key(good: Hour, copied: Copied) -> None:
    """A run of the stage publishes one row for each item again."""
    copy = copied(good)
    write_twice("image_labels", hours.NAME_ONLY)
    result = hours.materialized("image_labels")
    assert result.success
    assert hours.shown(result)["image_labels"]["dagster/row_count"] == ALL
    assert len(copy.rows("image_labels")) == ALL


def test_low_quality_warns_and_stops_nothing(degraded: Hour) -> None:
    """An outage leaves an hour that says how bad it is, and goes all the way to search."""
    assert degraded.result.success
    verdict = hours.verdicts(degraded.result)["enriched_items.quality"]
    assert (verdict.passed, verdict.blocking) == (False, False)
    assert verdict.severity is dg.AssetCheckSeverity.WARN
    assert "reach 0.8" in str(verdict.description)
    assert "search_index" in hours.shown(degraded.result)
    others = {k: v for k, v in hours.verdicts(degraded.result).items() if "quality" not in k}
    assert all(verdict.passed for verdict in others.values())


def test_without_a_table_of_items_a_stage_says_so_and_keeps_its_rows(
    good: Hour, copied: Copied
) -> None:
    """No table is not a table of no rows: what was good is not dropped for it."""
    copy = copied(good)
    with opened() as resources:
        resources.tables.path("items", HOUR).unlink()
    result = hours.materialized("fetched")
    assert not result.success
    assert f"items has no table for hour {HOUR}" in hours.failure(result)
    assert len(copy.rows("fetched")) == 2 * ALL
