"""Extract text, from real pages and PDFs."""

from dataclasses import replace
from typing import Any

import pytest

from pipeline_assets.adapters import documents
from pipeline_assets.errors import InvalidInput
from pipeline_assets.stages import extract_text, fetch, validate
from pipeline_assets_tests.conftest import Goods, Platform, called

STAGES = (fetch.STAGE, validate.STAGE, extract_text.STAGE)


def extracted(platform: Platform, *items: Any) -> dict[str, dict[str, Any]]:
    """Feed and run up to the text."""
    platform.feed(items)
    platform.items()
    platform.run(*STAGES)
    return platform.rows("extracted_text")


def test_pages_and_pdfs_give_title_and_text(platform: Platform, goods: Goods) -> None:
    """By their structure."""
    page = goods.product("page")
    assert page.document_url is not None
    pdf_url = page.document_url.replace("/pages/", "/docs/").replace(".html", ".pdf")
    rows = extracted(platform, page, replace(page, item_id="pdf", document_url=pdf_url))
    for row in rows.values():
        assert (row["rung"], row["quality"]) == ("structured", 1.0)
        assert "shirt" in row["text"].lower()
    assert rows["page"]["title"]


def test_a_document_without_structure_is_taken_by_plain_force(
    platform: Platform, goods: Goods, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0.9, with the reason; the words are there."""

    def nothing(_data: bytes) -> documents.Document:
        raise InvalidInput("no main text was found in the page")

    monkeypatch.setattr(documents, "structured", nothing)
    row = extracted(platform, goods.product("a"))["a"]
    assert (row["rung"], row["error_kind"]) == ("plain", "invalid_input")
    assert row["quality"] == pytest.approx(0.9)
    assert "shirt" in row["text"].lower()


def test_a_parser_that_breaks_is_one_row_and_is_counted_as_a_bug(
    platform: Platform, goods: Goods, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other document of the batch keeps its text."""
    real = documents.structured
    seen: list[int] = []

    def sometimes(data: bytes) -> documents.Document:
        seen.append(1)
        if len(seen) == 1:
            raise RecursionError("too deep")
        return real(data)

    monkeypatch.setattr(documents, "structured", sometimes)
    rows = extracted(platform, goods.product("a"), goods.product("b"))
    assert (rows["a"]["rung"], rows["a"]["error_kind"]) == ("plain", "internal")
    assert "RecursionError" in rows["a"]["error"]
    assert rows["b"]["rung"] == "structured"


def test_no_document_is_nothing_to_do(platform: Platform, goods: Goods) -> None:
    """Factor 1.0, no call."""
    row = extracted(platform, goods.product("a", has_document=False))["a"]
    assert (row["status"], row["quality"]) == ("not-applicable", 1.0)


@pytest.mark.parametrize("fault", ["404", "empty-body"])
def test_a_document_that_was_lost_upstream_costs_nothing_here(
    platform: Platform, goods: Goods, fault: str
) -> None:
    """Skipped with the reason, and charged where it was lost."""
    row = extracted(platform, goods.product("a", document_fault=fault))["a"]
    assert (row["status"], row["error_kind"], row["quality"]) == ("skipped", "upstream", 1.0)


def test_a_document_that_comes_back_is_read(platform: Platform, goods: Goods) -> None:
    """Just that one."""
    extracted(platform, goods.product("a", document_fault="503x3"), goods.product("b"))
    work = called(platform.run(*STAGES))
    assert work["extracted_text.structured"] == 1
    assert platform.rows("extracted_text")["a"]["status"] == "ok"
