"""Pages and documents."""

import pypdfium2
import pytest
import trafilatura

from pipeline_assets.sample.codes import Content, Guide
from pipeline_assets.sample.documents import article, html_page, pdf_document, summary, title
from pipeline_assets.sample.drawing import COLOURS, SAMPLE_LABELS, Subject
from pipeline_assets.sample.guides import TOPICS
from pipeline_assets.sample.pdf import pdf

EVERY_CONTENT: list[Content] = [
    *(Subject(c, k, i) for i, (c, k) in enumerate(zip(SAMPLE_LABELS, COLOURS, strict=True))),
    *(Guide(topic, 3) for topic in TOPICS),
]


def _pdf_text(data: bytes) -> str:
    pages = pypdfium2.PdfDocument(data)
    return " ".join(page.get_textpage().get_text_range() for page in pages)


@pytest.mark.parametrize("content", EVERY_CONTENT, ids=title)
def test_an_article_is_the_main_text_of_its_page(content: Content) -> None:
    """An extractor finds all paragraphs and none of the boilerplate."""
    found = trafilatura.extract(html_page(content).decode())
    assert found is not None
    for paragraph in article(content).paragraphs:
        assert paragraph in found
    assert "Cookies" not in found
    assert "Basket" not in found


@pytest.mark.parametrize("content", EVERY_CONTENT, ids=title)
def test_the_text_of_a_pdf_can_be_extracted(content: Content) -> None:
    """All that was written is read again, but for the line breaks."""
    found = " ".join(_pdf_text(pdf_document(content)).split())
    for text in (title(content), *article(content).paragraphs):
        assert text in found


def test_no_text_has_an_unfilled_gap() -> None:
    """Every template names only facts that exist."""
    for content in EVERY_CONTENT:
        assert "{" not in summary(content) + "".join(article(content).paragraphs)


def test_a_long_pdf_has_several_pages_and_loses_nothing() -> None:
    """Words flow over the page breaks."""
    words = [f"word{i}" for i in range(3000)]
    data = pdf("Long", [" ".join(words)])
    assert len(pypdfium2.PdfDocument(data)) > 4
    assert _pdf_text(data).split() == ["Long", *words]


def test_special_characters_survive_the_pdf() -> None:
    r"""Brackets and backslashes have a meaning in PDF; accents are in Latin-1."""
    text = _pdf_text(pdf("A (b) \\ c", ["né à Zürich"]))
    assert " ".join(text.split()) == "A (b) \\ c né à Zürich"
