"""Rules that hold over hours and runs, as a user sees them."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pipeline_assets.commands.search import search
from pipeline_assets.documents.parsers import Parsers
from pipeline_assets.sample.catalogue import catalogue
from pipeline_assets.sample.drawing import Subject
from pipeline_assets.sample.shop import Shop
from pipeline_assets_tests import hours
from pipeline_assets_tests.conftest import (
    HOUR,
    HOUR_START,
    NEXT_HOUR,
    Goods,
    Platform,
    called,
)

UP_TO_TEXT = ("items", "fetched", "validated", "extracted_text")


def indexed(platform: Platform, *in_order: str) -> None:
    """Build the search index from hours, one after the other."""
    resources = platform.resources
    for hour in in_order:
        resources.search.replace_hour(hour, resources.tables.read("enriched_items", hour))


def found(platform: Platform, words: str) -> list[tuple[str, str]]:
    """Hour and name of each hit that has such words."""
    hits = search(platform.resources, words, mode="keyword", top=5)
    return [(hit["hour"], hit["name"]) for hit in hits]


@pytest.mark.parametrize("in_order", [(HOUR, NEXT_HOUR), (NEXT_HOUR, HOUR)])
def test_an_item_of_two_hours_is_a_row_in_both_and_found_as_it_is_now(
    platform: Platform, goods: Goods, in_order: tuple[str, str]
) -> None:
    """Whichever hour is worked on last; what it was is not searched, and not redone."""
    then = goods.product("a", name="Old teapot")
    now = replace(
        goods.product("a", Subject("lamp", "blue", 4), name="New lamp"),
        event_time=then.event_time + timedelta(hours=1),
    )
    platform.feed([then, now])
    for hour in in_order:
        platform.items(hour)
        platform.run(hour=hour)
    indexed(platform, *in_order)
    assert platform.rows("enriched_items")["a"]["name"] == "Old teapot"
    assert platform.rows("enriched_items", NEXT_HOUR)["a"]["name"] == "New lamp"
    assert platform.resources.search.count() == 1
    assert found(platform, "lamp") == [(NEXT_HOUR, "New lamp")]
    assert found(platform, "teapot") == []
    for hour in in_order:
        assert called(platform.run(hour=hour)) == {}


def test_a_bug_is_loud_and_the_run_still_ends(
    tmp_path: Path, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows are saved by the fallback and name its type; a check fails, and stops nothing."""
    data = tmp_path / "data"
    hours.write_goods(data, list(catalogue(3, hours.SEED, HOUR_START, base_url=shop.url)))

    def with_a_bug(_parsers: Parsers, _body: bytes) -> Any:
        return dict[str, str]()["title"]

    monkeypatch.setattr(Parsers, "structured", with_a_bug)
    values = {**hours.environment_of(data, shop.url), "PIPELINE_WORKERS": "0"}
    with hours.environment(values, tmp_path):
        result = hours.materialized(*UP_TO_TEXT)
        texts = hours.rows(data, "extracted_text")
    assert result.success
    for row in texts.values():
        assert (row["status"], row["rung"], row["error_kind"]) == ("ok", "plain", "internal")
        assert row["error"] == "KeyError: 'title'"
        assert row["retryable"]
    verdicts = hours.verdicts(result)
    bugs = verdicts.pop("extracted_text.no_bugs")
    assert (bugs.passed, bugs.blocking) == (False, False)
    assert bugs.severity is dg.AssetCheckSeverity.ERROR
    assert "internal" in str(bugs.metadata)
    assert all(verdict.passed for verdict in verdicts.values())
