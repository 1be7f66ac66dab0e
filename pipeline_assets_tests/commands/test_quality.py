"""`quality`: how good the items are."""

import dataclasses

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline_assets.commands.quality import By, quality
from pipeline_assets.resources import Resources
from pipeline_assets_tests.conftest import HOUR, ITEMS, Goods, Platform


@pytest.mark.parametrize("by", By)
def test_no_hour_yet_is_no_group(resources: Resources, by: By) -> None:
    """Not an error."""
    assert quality(resources, by) == []


def test_by_hour_agrees_with_the_items(finished: Platform) -> None:
    """Rows, mean, lowest, and the share at the threshold."""
    [group] = quality(finished.resources, By.HOUR)
    scores = [row["quality"] for row in finished.rows("enriched_items").values()]
    assert (group["hour"], group["rows"], group["ok"]) == (HOUR, ITEMS, ITEMS)
    assert group["mean"] == pytest.approx(sum(scores) / ITEMS, abs=1e-3)
    assert group["lowest"] == pytest.approx(min(scores), abs=1e-3)
    reached = sum(round(score, 4) >= 0.8 for score in scores)
    assert group["at_threshold"] == pytest.approx(reached / ITEMS, abs=1e-3)


def test_by_stage_and_rung_count_every_row(finished: Platform) -> None:
    """Fallbacks are counted where they were made."""
    stages = {group["stage"]: group for group in quality(finished.resources, By.STAGE)}
    assert set(stages) == {
        "fetched", "validated", "extracted_text", "image_labels", "embeddings",
    }  # fmt: skip
    assert stages["fetched"]["rows"] == 2 * ITEMS
    rungs = quality(finished.resources, By.RUNG)
    for name, stage in stages.items():
        assert sum(group["rows"] for group in rungs if group["stage"] == name) == stage["rows"]
    named = {(group["stage"], group["rung"]) for group in rungs}
    assert {
        ("validated", "header_only"),
        ("fetched", "(failed)"),
        ("image_labels", "rules"),
    } <= named


def test_by_label_has_a_group_for_no_label(finished: Platform) -> None:
    """Largest first."""
    groups = quality(finished.resources, By.LABEL)
    assert sum(group["rows"] for group in groups) == ITEMS
    assert "(none)" in {group["label"] for group in groups}
    assert [g["rows"] for g in groups] == sorted((g["rows"] for g in groups), reverse=True)


@pytest.mark.parametrize("threshold", [0.9, 0.7, 0.95])
def test_a_quality_in_float32_reaches_the_threshold_of_its_name(
    platform: Platform, goods: Goods, threshold: float
) -> None:
    """0.9 as a FLOAT is less than 0.9."""
    platform.feed([goods.product("a")])
    platform.items()
    platform.run()
    tables = platform.resources.tables
    found = tables.read("enriched_items", HOUR)
    place = found.schema.get_field_index("quality")
    made = found.set_column(place, "quality", pa.array([threshold], pa.float32()))
    path = tables.path("enriched_items", HOUR)
    path.unlink()
    pq.write_table(made, path)
    settings = platform.resources.settings.model_copy(update={"quality_threshold": threshold})
    resources = dataclasses.replace(platform.resources, settings=settings)
    [group] = quality(resources, By.HOUR)
    assert (group["at_threshold"], group["mean"]) == (1, threshold)
