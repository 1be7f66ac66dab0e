"""An hour in numbers, one a row."""

import numpy as np
import pytest

from pipeline_assets.core.names import ITEM_FEATURES as FEATURES
from pipeline_assets.monitoring.hour_statistics import (
    INPUT,
    LATENCY,
    PREDICTION,
    SCHEMA,
    hour_statistics,
    metadata,
)
from pipeline_assets.monitoring.item_features import item_features
from pipeline_assets.stages import stage_tables
from pipeline_assets_tests.conftest import HOUR, ITEMS, Platform

Statistics = dict[tuple[str, str, str, str | None], float]


@pytest.fixture
def statistics(finished_copy: Platform) -> Statistics:
    """The numbers of the finished hour by subject, name, statistic and category."""
    resources = finished_copy.resources
    stages = stage_tables(resources.settings)
    resources.tables.write(FEATURES, HOUR, item_features(resources, HOUR, stages))
    table = hour_statistics(resources, HOUR, stages)
    assert table.schema == SCHEMA
    rows = table.to_pylist()
    keys = [(row["subject"], row["name"], row["statistic"], row["category"]) for row in rows]
    assert len(set(keys)) == len(keys)
    assert metadata(table)["text_length_mean"] > 0
    return dict(zip(keys, (row["value"] for row in rows), strict=True))


def test_shape_and_nulls_are_those_of_the_items(
    finished_copy: Platform, statistics: Statistics
) -> None:
    """Rows, columns, and how many items lack what."""
    items = finished_copy.rows("enriched_items").values()
    assert statistics[INPUT, "enriched_items", "rows", None] == ITEMS
    assert statistics[INPUT, "enriched_items", "columns", None] == len(next(iter(items)))
    missing = sum(item["document_url"] is None for item in items)
    assert statistics[INPUT, "document_url", "nulls", None] == missing


def test_numbers_are_described_by_their_quantiles(
    finished_copy: Platform, statistics: Statistics
) -> None:
    """As numpy would."""
    lengths = [
        len(item["text"])
        for item in finished_copy.rows("enriched_items").values()
        if item["text"] is not None
    ]
    assert statistics[INPUT, "text_length", "rows", None] == len(lengths)
    assert statistics[INPUT, "text_length", "nulls", None] == ITEMS - len(lengths)
    for name, quantile in (("p5", 0.05), ("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        expected = np.quantile(lengths, quantile)
        assert statistics[INPUT, "text_length", name, None] == pytest.approx(expected)


def test_the_shares_of_categories_add_up(finished_copy: Platform, statistics: Statistics) -> None:
    """To 1, of those items that have one."""
    shares = {key[3]: value for key, value in statistics.items() if key[1:3] == ("label", "share")}
    labels = [item["label"] for item in finished_copy.rows("enriched_items").values()]
    assert set(shares) == set(labels) - {None}
    assert sum(shares.values()) == pytest.approx(1)
    assert statistics[PREDICTION, "label", "nulls", None] == labels.count(None)


def test_each_rung_that_made_rows_has_its_latency(
    finished_copy: Platform, statistics: Statistics
) -> None:
    """Median, 95th and 99th percentile, in order."""
    made = {
        f"extracted_text.{row['rung']}"
        for row in finished_copy.rows("extracted_text").values()
        if row["rung"] is not None
    }
    timed = {key[1] for key in statistics if key[0] == LATENCY}
    assert made <= timed
    for rung in timed:
        p50, p95, p99 = (statistics[LATENCY, rung, name, None] for name in ("p50", "p95", "p99"))
        assert 0 <= p50 <= p95 <= p99
