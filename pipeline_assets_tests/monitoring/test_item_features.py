"""What is measured of each item, over a real hour."""

from dataclasses import replace

import pyarrow as pa
import pytest

from pipeline_assets.accelerator.accelerator import Fault, InjectedFault
from pipeline_assets.monitoring.item_features import (
    SAMPLED_PICTURES,
    SCHEMA,
    _spread,
    item_features,
)
from pipeline_assets.sample.drawing import Subject
from pipeline_assets.stages import stage_tables
from pipeline_assets_tests.conftest import HOUR, Goods, Platform

LAMP = Subject("lamp", "blue", 4)


def features(platform: Platform) -> pa.Table:
    """The features of the hour's items."""
    return item_features(platform.resources, HOUR, stage_tables(platform.resources.settings))


def test_an_item_with_everything_has_every_feature(platform: Platform, goods: Goods) -> None:
    """Input and predictions, as the stages' own tables have them."""
    platform.feed([goods.product("a", LAMP)])
    platform.items()
    platform.run()
    [row] = features(platform).to_pylist()
    enriched = platform.rows("enriched_items")["a"]
    picture = platform.rows("validated")["a/image"]
    assert (row["kind"], row["label"], row["modality"]) == ("product", enriched["label"], "image")
    assert row["text_length"] == len(enriched["text"])
    assert row["label_confidence"] == pytest.approx(enriched["label_confidence"])
    assert (row["picture_width"], row["picture_height"]) == (picture["width"], picture["height"])
    assert 0 < row["brightness"] < 1
    assert row["embedding_norm"] == 1
    assert row["fallback"] is False


def test_what_an_item_does_not_have_is_null(platform: Platform, goods: Goods) -> None:
    """One with a name alone is still a row; a picture that cannot be decoded has no brightness."""
    bare = goods.product("bare", has_image=False, has_document=False)
    broken = goods.product("broken", LAMP, image_fault="truncated-jpeg")
    platform.feed([bare, broken])
    platform.items()
    platform.run()
    found = {row["item_id"]: row for row in features(platform).to_pylist()}
    assert found["bare"]["modality"] == "text"
    for name in ("text_length", "picture_width", "brightness", "label"):
        assert found["bare"][name] is None
    assert found["broken"]["brightness"] is None


def test_what_a_fallback_made_is_marked(platform: Platform, goods: Goods) -> None:
    """Its predictions are another model's."""
    platform.feed([goods.product("a", LAMP)])
    platform.items()
    platform.resources.accelerator.fail(InjectedFault(Fault.OOM))
    platform.run()
    assert features(platform)["fallback"].to_pylist() == [True]


def test_an_empty_hour_is_typed(platform: Platform, goods: Goods) -> None:
    """From the first row on, before there is one."""
    later = goods.product("later")
    platform.feed([replace(later, event_time=later.event_time.replace(hour=9))])
    platform.items()
    platform.run()
    table = features(platform)
    assert (table.num_rows, table.schema) == (0, SCHEMA)


@pytest.mark.parametrize("count", [0, 1, SAMPLED_PICTURES, SAMPLED_PICTURES + 1, 10_000])
def test_the_sampled_pictures_are_from_all_over_the_hour(count: int) -> None:
    """All of few; of many no more than are meant, the first and the last among them or near."""
    items = pa.chunked_array([pa.array([f"{number}" for number in range(count)], pa.string())])
    drawn = [int(each) for each in _spread(items).to_pylist()]
    assert len(drawn) == len(set(drawn)) <= SAMPLED_PICTURES
    assert len(drawn) >= min(count, SAMPLED_PICTURES // 2)
    if count:
        assert drawn[0] == 0
        assert drawn[-1] >= 0.9 * (count - 1)
