"""The warnings about what goes in and what comes out, as a run of their hour gives them."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest

from pipeline_assets.assets.location import Location
from pipeline_assets.checks.monitoring import drift_check, volume_check
from pipeline_assets.core.hours import hour_name
from pipeline_assets.core.names import DRIFT, ITEMS
from pipeline_assets.ingest.items import SCHEMA
from pipeline_assets.monitoring.drift import compared
from pipeline_assets.settings import load_settings
from pipeline_assets.store.tables import Tables
from pipeline_assets_tests import hours
from pipeline_assets_tests.conftest import HOUR, HOUR_START
from pipeline_assets_tests.synthetic import Source

Check = Callable[[Location], dg.AssetChecksDefinition]
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def checked(data: Path, asset: str, check: Check) -> dg.AssetCheckEvaluation:
    """What a check says of the hour, whose table is there already."""
    with hours.environment({"PIPELINE_DATA": str(data)}, data.parent):
        location = Location(load_settings())
        there = dg.asset(name=asset, partitions_def=location.hours)(lambda: None)
        run = dg.materialize([there, check(location)], partition_key=HOUR, run_config=QUIET)
    [said] = run.get_asset_check_evaluations()
    assert (said.partition, said.blocking) == (HOUR, False)
    return said


def write_items(data: Path, count: int, hours_ago: int = 0) -> None:
    """An hour of so many items, of which nothing is known but that they are there."""
    rows = [{"item_id": f"i{number}", **EMPTY} for number in range(count)]
    hour = hour_name(HOUR_START - timedelta(hours=hours_ago))
    Tables(data / "tables").write(ITEMS, hour, pa.Table.from_pylist(rows, schema=SCHEMA))


EMPTY = {"status": "ok", "retryable": False, "attempts": 1, "cost_usd": 0.0}


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (Source(), None),
        (replace(Source(), brightness=0.6), "brightness: median 0."),
    ],
)
def test_the_drift_check_warns_of_what_has_moved(
    tmp_path: Path, source: Source, says: str | None
) -> None:
    """With the feature and how far, and stops nothing."""
    data, rng = tmp_path / "data", np.random.default_rng(9)
    found = compared(source.items(500, rng), Source().items(12_000, rng))
    Tables(data / "tables").write(DRIFT, HOUR, found)
    said = checked(data, DRIFT, drift_check)
    assert said.passed is (says is None)
    assert said.metadata["drifted_features"].value == int(says is not None)
    assert said.metadata["compared_features"].value == found.num_rows
    if says is not None:
        assert said.severity is dg.AssetCheckSeverity.WARN
        assert (said.description or "").startswith(says)


def test_a_drift_check_that_compared_nothing_says_so(tmp_path: Path) -> None:
    """In the first hour; it passes, and why is said of each feature."""
    data, items = tmp_path / "data", Source().items(500, np.random.default_rng(9))
    found = compared(items, items.slice(0, 0))
    Tables(data / "tables").write(DRIFT, HOUR, found)
    said = checked(data, DRIFT, drift_check)
    assert (said.passed, said.description) == (True, "nothing to compare with yet")
    assert said.metadata["compared_features"].value == 0
    assert said.metadata["label"].value == (
        "not compared: 0 values in the reference, fewer than 100"
    )


@pytest.mark.parametrize(
    ("items", "says"),
    [
        (50, "50 items; expected: 22 to 78 items; the 24 hours before had 50"),
        (0, "the hour is empty; the 24 hours before had 50 items"),
        (200, "200 items; the 24 hours before had 50, and 22 to 78 are usual"),
    ],
)
def test_the_volume_check_warns_of_an_odd_hour(tmp_path: Path, items: int, says: str) -> None:
    """An empty one, and one far from the usual size, with what is usual."""
    data = tmp_path / "data"
    for back in range(1, 7):
        write_items(data, 50, back)
    write_items(data, items)
    said = checked(data, ITEMS, volume_check)
    assert (said.passed, said.description) == (items == 50, says)
    assert said.metadata["items"].value == items
    assert said.metadata["usual"].value == 50
    assert said.metadata["expected"].value == "22 to 78 items; the 24 hours before had 50"


def test_the_first_hour_has_no_usual_size(tmp_path: Path) -> None:
    """What nobody knows is said to be unknown."""
    data = tmp_path / "data"
    write_items(data, 3)
    said = checked(data, ITEMS, volume_check)
    assert said.passed
    assert said.description == "3 items; expected: not known yet: it takes 4 hours like this one"
    assert set(said.metadata) == {"items", "expected"}
