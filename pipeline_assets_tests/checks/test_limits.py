"""What tables should reach."""

import pytest

from pipeline_assets.checks.limits import QualityLimits, limits_by_asset
from pipeline_assets.core.names import ENRICHED
from pipeline_assets.errors import SettingsError

ASSETS = ("image_labels", ENRICHED)


def test_items_are_judged_by_their_quality_and_stages_by_what_they_make() -> None:
    """The threshold is the settings'."""
    assert limits_by_asset(ASSETS, 0.7, {}) == {
        "image_labels": QualityLimits(ok=0.8, internal=0.0),
        ENRICHED: QualityLimits(mean=0.7, p10=0.5, share=0.8, ok=0.8, internal=0.0),
    }


def test_a_setting_goes_over_one_limit_of_one_asset() -> None:
    """And leaves the others alone."""
    found = limits_by_asset(ASSETS, 0.8, {"image_labels.mean": 0.6, f"{ENRICHED}.internal": 0.1})
    assert found["image_labels"] == QualityLimits(mean=0.6)
    assert found[ENRICHED] == QualityLimits(mean=0.8, p10=0.5, share=0.8, internal=0.1)


@pytest.mark.parametrize("name", ["labels.mean", "image_labels.median", "image_labels", "mean"])
def test_a_limit_that_there_is_none_of_stops_the_start(name: str) -> None:
    """It says which there are."""
    with pytest.raises(SettingsError, match=r"image_labels.*mean, p10, share, ok, internal"):
        limits_by_asset(ASSETS, 0.8, {name: 0.5})
