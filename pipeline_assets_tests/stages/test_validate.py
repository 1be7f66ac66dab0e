"""Validate: content is sniffed, never believed."""

from dataclasses import replace
from typing import Any

import pytest

from pipeline_assets.stages import fetch, validate
from pipeline_assets_tests.conftest import Goods, Platform, called


def validated(platform: Platform, *items: Any) -> dict[str, dict[str, Any]]:
    """Feed, fetch and validate."""
    platform.feed(items)
    platform.items()
    platform.run(fetch.STAGE, validate.STAGE)
    return platform.rows("validated")


def test_sound_resources_are_decoded_whole(platform: Platform, goods: Goods) -> None:
    """Type, size, and the sha256 that later stages go by."""
    rows = validated(platform, goods.product("a"), goods.product("b", has_image=False))
    picture, page = rows["a/image"], rows["a/document"]
    assert (picture["media_type"], picture["rung"]) == ("image/jpeg", "full_decode")
    assert min(picture["width"], picture["height"]) > 0
    assert (page["media_type"], page["width"]) == ("text/html", None)
    assert picture["sha256"] == platform.rows("fetched")["a/image"]["sha256"]
    assert rows["b/image"]["status"] == "not-applicable"


def test_a_pdf_has_pages(platform: Platform, goods: Goods) -> None:
    """Counted by opening it."""
    item = goods.product("a")
    assert item.document_url is not None
    pdf = item.document_url.replace("/pages/", "/docs/").replace(".html", ".pdf")
    row = validated(platform, replace(item, document_url=pdf))["a/document"]
    assert row["media_type"] == "application/pdf"
    assert row["pages"] >= 1


@pytest.mark.parametrize(
    ("fault", "kind"), [("truncated-jpeg", "invalid_input"), ("huge-image", "too_large")]
)
def test_a_picture_with_a_sound_header_is_known_by_its_header(
    platform: Platform, goods: Goods, fault: str, kind: str
) -> None:
    """0.9, with the reason why no better rung made it; trying again cannot help."""
    row = validated(platform, goods.product("a", image_fault=fault))["a/image"]
    assert (row["status"], row["rung"], row["error_kind"]) == ("ok", "header_only", kind)
    assert row["quality"] == pytest.approx(0.9)
    assert row["width"] > 0
    assert row["retryable"] is False


def test_the_limit_of_pixels_is_named_where_it_was_met(platform: Platform, goods: Goods) -> None:
    """The setting to raise, for who wants such pictures."""
    row = validated(platform, goods.product("a", image_fault="huge-image"))["a/image"]
    assert "30000x30000" in row["error"]
    assert "PIPELINE_MAX_PIXELS" in row["error"]
    assert (row["width"], row["media_type"]) == (30_000, "image/png")


def test_what_only_calls_itself_a_picture_is_a_data_error(platform: Platform, goods: Goods) -> None:
    """Whatever its header said; its item's document is not touched."""
    rows = validated(platform, goods.product("a", image_fault="html-as-jpeg"))
    row = rows["a/image"]
    assert (row["status"], row["error_kind"]) == ("failed", "invalid_input")
    assert (row["quality"], row["retryable"]) == (0.5, False)
    assert rows["a/document"]["status"] == "ok"


def test_what_was_not_fetched_is_charged_where_it_was_lost(
    platform: Platform, goods: Goods
) -> None:
    """Skipped at 1.0 with the upstream's reason, and no rung is called for it."""
    row = validated(platform, goods.product("a", image_fault="404", has_document=False))["a/image"]
    assert (row["status"], row["error_kind"], row["quality"]) == ("skipped", "upstream", 1.0)
    assert "404" in row["error"]


def test_a_parameter_that_changed_is_a_new_producer(platform: Platform, goods: Goods) -> None:
    """Rows are redone, and by an equal or better rung only."""
    validated(platform, goods.product("a"))
    smaller = platform.resources.settings.model_copy(update={"max_pixels": 10})
    other = Platform(replace(platform.resources, settings=smaller), platform.clock)
    assert called(other.run(validate.STAGE))["validated.full_decode"] == 2
    assert other.rows("validated")["a/image"]["rung"] == "full_decode"
    other.resources.close()
