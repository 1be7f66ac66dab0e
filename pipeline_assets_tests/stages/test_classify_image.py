"""Classify image: zero-shot with the shipped models, and the words where there is no picture."""

from typing import Any

import pytest

from pipeline_assets.core.rows import Made, Work
from pipeline_assets.errors import UpstreamMissing
from pipeline_assets.resources import Resources
from pipeline_assets.sample.drawing import SAMPLE_LABELS, Subject
from pipeline_assets.stages import STAGES
from pipeline_assets.stages.classify_image import RULE_CONFIDENCE, rules
from pipeline_assets_tests.conftest import Goods, Platform

UP_TO_LABELS = STAGES[:4]


def labelled(platform: Platform, *items: Any) -> dict[str, dict[str, Any]]:
    """Feed and run up to the labels."""
    platform.feed(items)
    platform.items()
    platform.run(*UP_TO_LABELS)
    return platform.rows("image_labels")


def words(**sources: str | None) -> Work:
    """What the rules are given."""
    known = {"file name": None, "name": None, "description": None, "text": None}
    named = {key.replace("_", " "): value for key, value in sources.items()}
    return Work(("a",), {**known, **named})


def test_the_shipped_model_knows_the_drawings(platform: Platform, goods: Goods) -> None:
    """A label of the settings, with confidence, and the family that made it."""
    items = [
        goods.product(label, Subject(label, "red", 7), name="thing") for label in SAMPLE_LABELS
    ]
    rows = labelled(platform, *items)
    right = sum(row["label"] == item for item, row in rows.items())
    assert right >= len(SAMPLE_LABELS) - 2
    for row in rows.values():
        assert (row["rung"], row["quality"]) == ("accelerator_clip", 1.0)
        assert row["family"] == platform.resources.primary.producer
        assert 0 < row["confidence"] <= 1


def test_an_item_without_a_picture_has_nothing_to_classify(
    platform: Platform, goods: Goods
) -> None:
    """Not even by its name."""
    row = labelled(platform, goods.product("a", has_image=False))["a"]
    assert (row["status"], row["label"], row["quality"]) == ("not-applicable", None, 1.0)


@pytest.mark.parametrize("fault", ["404", "html-as-jpeg", "truncated-jpeg"])
def test_a_picture_that_was_lost_upstream_is_labelled_by_its_words(
    platform: Platform, goods: Goods, fault: str
) -> None:
    """At 1.0: the loss was charged where it happened; any family may follow."""
    row = labelled(platform, goods.product("a", image_fault=fault))["a"]
    assert (row["label"], row["rung"], row["family"]) == ("shirt", "rules", None)
    assert (row["error_kind"], row["quality"]) == ("upstream", 1.0)
    assert row["confidence"] <= RULE_CONFIDENCE + 1e-6


def test_no_picture_and_no_telling_word_is_skipped(platform: Platform, goods: Goods) -> None:
    """A guess would be worse than nothing."""
    item = goods.product("a", image_fault="404", has_document=False, name="Article 17")
    row = labelled(platform, item)["a"]
    assert (row["status"], row["confidence"], row["error_kind"]) == ("skipped", 0.0, "upstream")


@pytest.mark.parametrize(
    ("work", "label"),
    [
        (words(name="Red shirts for summer"), "shirt"),
        (words(file_name="blue-LAMP-2"), "lamp"),
        (words(text="a lamp, a lamp, a lamp", name="shirt"), "shirt"),
        (words(description="made of lamp oil", file_name="shoe"), "shoe"),
    ],
)
def test_rules_weigh_where_a_label_is_named(resources: Resources, work: Work, label: str) -> None:
    """Name and file name before description, description before text; plurals count."""
    [made] = rules(resources, [work])
    assert isinstance(made, Made)
    assert made.values == (label, None)


@pytest.mark.parametrize("work", [words(), words(name="lampshade"), words(name="Shirley's")])
def test_rules_do_not_read_parts_of_words(resources: Resources, work: Work) -> None:
    """Nor anything into nothing."""
    [outcome] = rules(resources, [work])
    assert isinstance(outcome, UpstreamMissing)


def test_two_labels_share_the_confidence_of_the_rules(resources: Resources) -> None:
    """Named alike, believed half."""
    [made] = rules(resources, [words(name="shirt and lamp")])
    assert isinstance(made, Made)
    assert made.confidence == pytest.approx(RULE_CONFIDENCE / 2)
