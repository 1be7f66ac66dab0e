"""Embed: the picture where one is declared, else the text, and the words where no model may."""

from typing import Any

import numpy as np
import pytest

from pipeline_assets.accelerator.accelerator import Fault, InjectedFault
from pipeline_assets.core.breaker import Mode
from pipeline_assets.stages import STAGES
from pipeline_assets.stages.hashed_text import SPACE as TEXT_HASH_SPACE
from pipeline_assets_tests.conftest import Goods, Platform, called

UP_TO_VECTORS = STAGES[:5]


def embedded(platform: Platform, *items: Any) -> dict[str, dict[str, Any]]:
    """Feed and run up to the vectors."""
    platform.feed(items)
    platform.items()
    platform.run(*UP_TO_VECTORS)
    return platform.rows("embeddings")


def test_every_item_has_a_unit_vector_of_picture_or_text(platform: Platform, goods: Goods) -> None:
    """In the primary model's space, at 1.0 either way."""
    rows = embedded(
        platform,
        goods.product("picture"),
        goods.product("text", has_image=False),
        goods.product("name", has_image=False, has_document=False),
    )
    assert {item: row["modality"] for item, row in rows.items()} == {
        "picture": "image",
        "text": "text",
        "name": "text",
    }
    for row in rows.values():
        assert (row["space"], row["quality"]) == (platform.resources.primary.producer, 1.0)
        assert np.linalg.norm(row["embedding"]) == pytest.approx(1, abs=1e-4)


def test_a_picture_that_was_lost_upstream_is_replaced_by_the_text(
    platform: Platform, goods: Goods
) -> None:
    """At 1.0: the loss is charged to the fetch."""
    row = embedded(platform, goods.product("a", image_fault="404"))["a"]
    assert (row["modality"], row["rung"], row["quality"]) == ("text", "accelerator_clip", 1.0)


def test_a_label_of_the_fallback_brings_the_fallbacks_vector(
    platform: Platform, goods: Goods
) -> None:
    """The primary rung is refused by the rule, without a call."""
    platform.resources.breakers.force("image_labels.accelerator_clip", Mode.FORCED_OPEN)
    row = embedded(platform, goods.product("a"))["a"]
    assert platform.rows("image_labels")["a"]["rung"] == "cpu_clip"
    assert (row["rung"], row["error_kind"]) == ("cpu_clip", "constraint")
    assert row["space"] == platform.resources.fallback.producer
    assert row["quality"] == pytest.approx(0.8)


def test_a_label_brings_its_vector_along_whatever_befalls_the_accelerator(
    platform: Platform, goods: Goods
) -> None:
    """Between the stages it goes; texts fall back, pictures need it no more."""
    platform.feed([goods.product("picture"), goods.product("text", has_image=False)])
    platform.items()
    platform.run(*STAGES[:4])
    platform.resources.accelerator.fail(InjectedFault(Fault.UNAVAILABLE))
    platform.run(STAGES[4])
    rows = platform.rows("embeddings")
    assert (rows["picture"]["rung"], rows["picture"]["quality"]) == ("accelerator_clip", 1.0)
    assert (rows["text"]["rung"], rows["text"]["error_kind"]) == ("cpu_clip", "unavailable")


def test_where_no_model_may_the_words_are_hashed(platform: Platform, goods: Goods) -> None:
    """`text_hash` goes with every label, at 0.6."""
    for stage in ("image_labels", "embeddings"):
        for rung in ("accelerator_clip", "cpu_clip"):
            platform.resources.breakers.force(f"{stage}.{rung}", Mode.FORCED_OPEN)
    row = embedded(platform, goods.product("a"))["a"]
    assert platform.rows("image_labels")["a"]["rung"] == "rules"
    assert (row["rung"], row["space"], row["modality"]) == ("text_hash", TEXT_HASH_SPACE, "text")
    assert row["quality"] == pytest.approx(0.6)


def test_a_healed_label_replans_its_vector_and_not_its_text(
    platform: Platform, goods: Goods
) -> None:
    """The vector's input is the label's family; the text never read it."""
    breakers = platform.resources.breakers
    breakers.force("image_labels.accelerator_clip", Mode.FORCED_OPEN)
    embedded(platform, goods.product("a"))
    breakers.reset("image_labels.accelerator_clip")
    work = called(platform.run())
    assert work == {"image_labels.accelerator_clip": 1, "enriched_items.join": 1}
    assert platform.rows("embeddings")["a"]["space"] == platform.resources.primary.producer
    assert platform.rows("enriched_items")["a"]["quality"] == 1.0
