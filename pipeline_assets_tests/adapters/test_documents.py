"""Documents: what the bytes are, and their text."""

import pypdfium2
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
        (b"<meta charset=undefined><p>gr\xc3\xbcn</p>", "grün"),
        (b"<meta charset=punycode><p>gr\xc3\xbcn</p>", "grün"),
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


HOSTILE = 280_000


@pytest.mark.parametrize(
    "piece",
    [
        b"<title>",
        b"<title",
        b"<p",
        b"<",
        b"<!--",
        b"<script>",
        b"<script></script ",
        b"<svg><style><template>",
        b"</script" + b" " * 1000,
        b"<meta charset=" + b" " * 2000,
        b"&#" + b"9" * 5000 + b";",
    ],
    ids=lambda piece: piece[:20].decode(),
)
@pytest.mark.parametrize("start", [b"<html>words ", b"words > "], ids=["page", "text"])
def test_a_hostile_page_costs_no_more_than_another(start: bytes, piece: bytes) -> None:
    """Looking from every tag to the end of the page would take minutes."""
    assert "words" in plain(start + piece * (HOSTILE // len(piece))).text


@pytest.mark.parametrize("piece", [b"stream\n", b"stream\n[", b"[(a) ", b"((("])
def test_a_hostile_pdf_costs_no_more_than_another(piece: bytes) -> None:
    """Nothing is drawn in it, however often something opens."""
    inside = b"stream\n" + piece * (HOSTILE // len(piece)) + b"\nendstream\n"
    for data in (inside, inside.removesuffix(b"\nendstream\n")):
        with pytest.raises(InvalidInput, match="no text is drawn"):
            plain(b"%PDF-1.4\n" + data)


def test_a_page_over_the_limit_of_plain_force_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never cut in silence; at the limit it is read."""
    monkeypatch.setattr(documents, "MAX_PLAIN_BYTES", 12)
    assert plain(b"<p>words</p>").text == "words"
    with pytest.raises(TooLarge, match=r"13 bytes.*limit of 12"):
        plain(b"<p>words!</p>")


def test_the_title_is_looked_for_at_the_start_of_a_page() -> None:
    """With what it may hold: attributes, entities, a bracket."""
    page = b"<html><TITLE lang=en>a &amp; <b</TITLE ><p>words"
    assert plain(page).title == "a & <b"
    assert plain(b"<p>words</p>" * 10_000 + page).title is None


def test_a_pdf_that_fails_on_a_page_is_a_data_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It opens, but a page of it cannot be loaded or read."""

    def broken(*_arguments: object) -> None:
        raise pypdfium2.PdfiumError("Failed to load page.")

    monkeypatch.setattr(pypdfium2.PdfDocument, "get_page", broken)
    with pytest.raises(InvalidInput, match=r"cannot be read: Failed to load page"):
        structured(PDF)
