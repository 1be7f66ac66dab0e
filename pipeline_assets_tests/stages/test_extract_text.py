"""Extract text, from real pages and PDFs."""

from dataclasses import replace
from typing import Any

import pytest

from pipeline_assets.core.contract import ITEM_KEY, stage_schema
from pipeline_assets.core.rows import brought_up
from pipeline_assets.documents.documents import Document
from pipeline_assets.documents.parsers import Parsers
from pipeline_assets.errors import InvalidInput, TooLarge
from pipeline_assets.stages import extract_text, fetch, validate
from pipeline_assets_tests.conftest import HOUR, Goods, Platform, called

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
        assert row["language"] == "en"
    assert rows["page"]["title"]
    assert (rows["page"]["encoding"], rows["page"]["pages"]) == ("utf-8", None)
    assert (rows["pdf"]["encoding"], rows["pdf"]["pages"]) == (None, 1)


def test_a_document_without_structure_is_taken_by_plain_force(
    platform: Platform, goods: Goods, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0.9, with the reason; the words are there."""

    def nothing(_parsers: Parsers, _data: bytes) -> Document:
        raise InvalidInput("no main text was found in the page")

    monkeypatch.setattr(Parsers, "structured", nothing)
    row = extracted(platform, goods.product("a"))["a"]
    assert (row["rung"], row["error_kind"]) == ("plain", "invalid_input")
    assert row["quality"] == pytest.approx(0.9)
    assert "shirt" in row["text"].lower()


def test_a_parser_that_breaks_is_one_row_and_is_counted_as_a_bug(
    platform: Platform, goods: Goods, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other document of the batch keeps its text."""
    real = Parsers.structured
    seen: list[int] = []

    def sometimes(parsers: Parsers, data: bytes) -> Document:
        seen.append(1)
        if len(seen) == 1:
            raise LookupError("no such table")
        return real(parsers, data)

    monkeypatch.setattr(Parsers, "structured", sometimes)
    rows = extracted(platform, goods.product("a"), goods.product("b"))
    assert (rows["a"]["rung"], rows["a"]["error_kind"]) == ("plain", "internal")
    assert "LookupError" in rows["a"]["error"]
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


def test_a_table_from_before_a_column_was_added_is_read_and_brought_up(
    platform: Platform, goods: Goods
) -> None:
    """Rows that stand lose nothing; a row that is made anew has the new columns."""
    before = extracted(platform, goods.product("a"), goods.product("b", has_document=False))
    older = stage_schema(ITEM_KEY, extract_text.STAGE.values[:2])
    tables = platform.resources.tables
    tables.write("extracted_text", HOUR, brought_up(tables.read("extracted_text", HOUR), older))
    assert "language" not in platform.rows("extracted_text")["a"]
    assert called(platform.run(*STAGES)) == {}
    work = called(platform.run(extract_text.STAGE, force=True, items=frozenset({"a"})))
    assert work == {"extracted_text.structured": 1}
    after = platform.rows("extracted_text")
    assert after["a"]["language"] == before["a"]["language"]
    assert after["b"] == before["b"]


def test_a_limit_that_is_raised_brings_back_what_had_no_value(
    platform: Platform, goods: Goods, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has one stands."""

    def too_large(_parsers: Parsers, _data: bytes) -> Document:
        raise TooLarge("parsing it took more than 10 s of CPU time (PIPELINE_PARSE_TIMEOUT_S)")

    with monkeypatch.context() as patched:
        patched.setattr(Parsers, "structured", too_large)
        patched.setattr(Parsers, "plain", too_large)
        row = extracted(platform, goods.product("a"))["a"]
    assert (row["status"], row["error_kind"], row["retryable"]) == ("failed", "too_large", False)
    assert called(platform.run(*STAGES)) == {}
    raised = platform.resources.settings.model_copy(update={"parse_timeout_s": 30.0})
    other = Platform(replace(platform.resources, settings=raised), platform.clock)
    assert called(other.run(*STAGES)) == {"extracted_text.structured": 1}
    assert called(other.run(*STAGES)) == {}
    other.resources.close()
