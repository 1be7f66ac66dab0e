"""What a scrape is told."""

import shutil
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline_assets.core.breaker import Mode
from pipeline_assets.core.names import DRIFT, QUALITY_SUMMARY, RELIABILITY
from pipeline_assets.core.names import HOUR_STATISTICS as STATISTICS
from pipeline_assets.core.names import ITEM_FEATURES as FEATURES
from pipeline_assets.monitoring.derived import DERIVED, derive
from pipeline_assets.monitoring.drift import drift
from pipeline_assets.monitoring.findable import Findable
from pipeline_assets.monitoring.hour_statistics import hour_statistics
from pipeline_assets.monitoring.item_features import item_features
from pipeline_assets.monitoring.reliability import reliability
from pipeline_assets.serve.metrics import prometheus_text
from pipeline_assets.serve.runs import Runs
from pipeline_assets.stages import stage_tables
from pipeline_assets.store.tables import Tables
from pipeline_assets_tests import REPOSITORY
from pipeline_assets_tests.conftest import HOUR, HOUR_START, ITEMS, Platform

Values = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(autouse=True)
def _away_from_the_projects_own_dagster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)


def text_of(platform: Platform) -> str:
    """A scrape by a service that was just started."""
    with closing(Runs(patience_s=60)) as runs:
        return prometheus_text(platform.resources, runs.since)


def scraped(platform: Platform) -> Values:
    """The values by name and labels, as Prometheus's own parser reads them."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text_of(platform))
        for sample in family.samples
    }


def value(values: Values, metric: str, /, **labels: str) -> float:
    """One value."""
    return values[metric, frozenset(labels.items())]


@pytest.fixture
def summed_up(finished_copy: Platform) -> Platform:
    """A finished hour with the tables that are derived from it."""
    resources = finished_copy.resources
    stages, tables = stage_tables(resources.settings), resources.tables
    for table in DERIVED:
        made = derive(tables, table, HOUR, 0.8, stages)
        tables.write(table, HOUR, made)
        if table == QUALITY_SUMMARY:
            resources.hours.keep(HOUR, made)
    found = Findable(10, 9, "of ten")
    tables.write(FEATURES, HOUR, item_features(resources, HOUR, stages))
    tables.write(STATISTICS, HOUR, hour_statistics(resources, HOUR, stages))
    tables.write(DRIFT, HOUR, drift(tables, HOUR))
    tables.write(RELIABILITY, HOUR, reliability(tables, HOUR, stages, 0.8, {}, found))
    return finished_copy


def test_an_empty_platform_says_so(platform: Platform) -> None:
    """Without an error, and with no numbers that nobody measured."""
    values = scraped(platform)
    assert value(values, "pipeline_retry_queue_rows") == 0
    assert not [name for name, _labels in values if name.startswith("pipeline_rung")]
    assert not [name for name, _labels in values if name == "pipeline_rows"]


def test_the_tables_figures_are_there(summed_up: Platform) -> None:
    """Rows, dead letters, queue, quality, success and times agree with the tables."""
    values, tables = scraped(summed_up), summed_up.resources.tables
    counted = sum(
        found
        for (name, labels), found in values.items()
        if name == "pipeline_rows" and ("stage", "enriched_items") in labels
    )
    assert counted == ITEMS
    letters = tables.read("dead_letters", HOUR).to_pylist()
    assert letters
    reason = letters[0]["error_kind"]
    stage = letters[0]["stage"]
    expected = sum((row["stage"], row["error_kind"]) == (stage, reason) for row in letters)
    assert value(values, "pipeline_dead_letters", stage=stage, reason=reason) == expected
    assert value(values, "pipeline_retry_queue_rows") == tables.rows("retry_queue", HOUR)
    qualities = [row["quality"] for row in summed_up.rows("enriched_items").values()]
    mean = sum(qualities) / len(qualities)
    assert value(values, "pipeline_quality_mean_ratio", stage="enriched_items") == (
        pytest.approx(mean)
    )
    found = value(
        values, "pipeline_success_ratio", level="outcome", name="findable by its own name"
    )
    assert found == pytest.approx(0.9)
    assert value(values, "pipeline_row_duration_seconds", rung="fetched.http", quantile="0.95") > 0
    closed = HOUR_START.timestamp() + 3600
    assert value(values, "pipeline_newest_hour_timestamp_seconds") == closed


def test_the_state_is_there(platform: Platform) -> None:
    """One of a breaker's states is 1; the accelerator is well until it was seen ill."""
    platform.resources.breakers.force("image_labels.cpu_clip", Mode.FORCED_OPEN)
    values = scraped(platform)
    states = {
        mode: value(values, "pipeline_breaker_state", breaker="image_labels.cpu_clip", state=mode)
        for mode in Mode
    }
    assert states == {mode: float(mode is Mode.FORCED_OPEN) for mode in Mode}
    assert value(values, "pipeline_accelerator_healthy") == 1


def test_a_scrape_reads_summaries_alone(
    summed_up: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No table of rows, so that it may come every few seconds."""
    opened, read = set(), Tables.read

    def noted(tables: Tables, asset: str, *arguments: Any, **options: Any) -> pa.Table:
        opened.add(asset)
        return read(tables, asset, *arguments, **options)

    monkeypatch.setattr(Tables, "read", noted)
    scraped(summed_up)
    assert opened == {QUALITY_SUMMARY, RELIABILITY, STATISTICS, DRIFT}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: Platform) -> Path:
    """A DAGSTER_HOME with our dagster.yaml, over the same data root."""
    shutil.copy(REPOSITORY / "dagster.yaml", tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("PIPELINE_DATA", str(platform.resources.data))
    return tmp_path


def test_runs_of_the_last_day_are_there(platform: Platform, home: Path) -> None:
    """By job and outcome, with the time that they took."""

    @dg.job
    def rejects() -> None:
        """Nothing to do."""

    assert home.is_dir()
    platform.clock.at = datetime.now(UTC)
    with dg.DagsterInstance.get() as instance:
        for _time in range(2):
            rejects.execute_in_process(instance=instance)
    values = scraped(platform)
    assert value(values, "pipeline_runs", job="rejects", outcome="success") == 2
    assert value(values, "pipeline_runs_duration_seconds", job="rejects", outcome="success") > 0
    platform.clock.at += timedelta(days=2)
    assert not [name for name, _labels in scraped(platform) if name.startswith("pipeline_runs")]


@pytest.mark.parametrize("config", [None, "storage: {no such: thing}", "storage: {no: [yaml"])
def test_without_dagsters_instance_nothing_is_said_of_runs(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str | None
) -> None:
    """Not there, or not usable: the family is without samples, and the others are as they were."""
    if config is not None:
        (tmp_path / "dagster.yaml").write_text(config)
        monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    text = text_of(platform)
    assert "# TYPE pipeline_runs gauge" in text
    assert "\npipeline_runs{" not in text
    assert "\npipeline_accelerator_healthy 1" in text


def test_names_and_help_keep_to_the_conventions(summed_up: Platform) -> None:
    """A prefix, base units, no counter's ending on a gauge, help for each."""
    for family in text_string_to_metric_families(text_of(summed_up)):
        assert family.name.startswith("pipeline_")
        assert not family.name.endswith(("_total", "_ms", "_percent"))
        assert family.type == "gauge"
        assert family.documentation.endswith(".")
