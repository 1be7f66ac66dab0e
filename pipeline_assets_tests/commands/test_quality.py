"""`quality`: how good the items are."""

import pytest

from pipeline_assets.commands.quality import By, quality
from pipeline_assets.resources import Resources
from pipeline_assets_tests.conftest import HOUR, ITEMS, Platform


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
