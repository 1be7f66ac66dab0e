"""Documents: what the bytes are, and their text."""

import pytest

from pipeline_assets.adapters import documents
from pipeline_assets.adapters.documents import count_pages, plain, sniff, structured
from pipeline_assets.errors import InvalidInput, TooLarge, Unsupported
from pipeline_assets.sample.documents import html_page, pdf_document
from pipeline_assets.sample.drawing import Subject

SHIRT = Subject("shirt", "red", 5)
PAGE, PDF = html_page(SHIRT), pdf_document(SHIRT)
ENCRYPTED = b"%PDF-1.4\ntrailer << /Encrypt 1 0 R >>\n%%EOF"
EMPTY_PAGE = b"<html><head><script>var x = 'words';</script></head></html>"


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (PAGE, documents.HTML),
        (b"<P>no doctype, no head", documents.HTML),
        (PDF, documents.PDF),
        (b"some junk first\n%PDF-1.4", documents.PDF),
        ("Grüße, ganz ohne Auszeichnung".encode(), documents.TEXT),
    ],
)
def test_the_media_type_is_sniffed_and_never_believed(data: bytes, media_type: str) -> None:
    """By content alone."""
    assert sniff(data) == media_type


@pytest.mark.parametrize(
    ("data", "said"), [(b"", "empty"), (b" \n ", "empty"), (b"\xff\xd8\xff\x00\x01", "no PDF")]
)
def test_bytes_that_are_no_document_say_so(data: bytes, said: str) -> None:
    """A picture under a page's address, an empty body."""
    for look in (sniff, structured, plain):
        with pytest.raises(InvalidInput, match=said):
            look(data)


@pytest.mark.parametrize("data", [PAGE, PDF], ids=["page", "pdf"])
@pytest.mark.parametrize("extract", [structured, plain])
def test_both_ways_find_title_and_words(data: bytes, extract: object) -> None:
    """Structure finds the main text, plain force at least its words."""
    found = extract(data)  # type: ignore[operator]  # parametrized functions have no type
    assert "shirt" in found.text.lower()
    assert "<" not in found.text


def test_structure_leaves_the_furniture_of_a_page_out() -> None:
    """Plain force cannot, which is what its lower factor is for."""
    assert len(structured(PAGE).text) < len(plain(PAGE).text)


def test_scripts_styles_and_comments_are_no_text() -> None:
    """Also where they are never closed."""
    page = b"<p>Kept &amp; <b>bold</b></p><!-- no --><style>p{}</style><script>let no = 1;"
    assert plain(page).text == "Kept & bold"


@pytest.mark.parametrize(("extract", "said"), [(structured, "main text"), (plain, "no text")])
def test_a_page_without_text_is_a_data_error(extract: object, said: str) -> None:
    """Nothing is not a value."""
    with pytest.raises(InvalidInput, match=said):
        extract(EMPTY_PAGE)  # type: ignore[operator]  # parametrized functions have no type


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b'<meta charset="iso-8859-1"><p>gr\xfcn</p>', "grün"),
        (b'<meta charset="no-such-thing"><p>gr\xc3\xbcn</p>', "grün"),
        (b"\xef\xbb\xbf<p>gr\xc3\xbcn</p>", "grün"),
        (b"<p>gr\xfcn \x80</p>", "grün €"),
    ],
)
def test_the_encoding_is_taken_from_the_page_or_guessed(data: bytes, text: str) -> None:
    """A wrong declaration costs nothing."""
    assert plain(data).text == text


def test_pages_are_counted_and_a_broken_pdf_is_a_data_error() -> None:
    """What pdfium cannot open, nobody reads."""
    assert count_pages(PDF) >= 1
    with pytest.raises(InvalidInput, match="cannot be opened"):
        count_pages(b"%PDF-1.4 and nothing more")


def test_an_encrypted_pdf_is_unsupported_by_plain_force() -> None:
    """Its strings are there, but they are noise."""
    with pytest.raises(Unsupported, match="encrypted"):
        plain(ENCRYPTED)


def test_drawn_strings_are_unescaped() -> None:
    """Octal codes, escaped brackets, and pieces set apart for kerning."""
    pdf = b"%PDF-1.4\nstream\nBT (A\\(b\\) \\344) Tj [(ke) -20 (rn)] TJ ET\nendstream\n"
    assert plain(pdf).text == "A(b) ä\nkern"


def test_a_text_over_the_limit_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the limit it is taken."""
    monkeypatch.setattr(documents, "MAX_TEXT_CHARS", 10)
    assert plain(b"0123456789").text == "0123456789"
    with pytest.raises(TooLarge, match="11 characters"):
        structured(b"0123456789a")
