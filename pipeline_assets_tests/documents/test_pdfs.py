"""PDFs: each that cannot be read says why."""

from datetime import UTC, datetime

import pypdfium2
import pytest

from pipeline_assets.documents import pdfs
from pipeline_assets.documents.pdfs import count_pages, drawn_strings, read_pdf
from pipeline_assets.errors import InvalidInput, TooLarge, Unsupported
from pipeline_assets.sample.documents import pdf_document
from pipeline_assets.sample.drawing import Subject
from pipeline_assets.sample.pdf import pdf
from pipeline_assets_tests.hostile.pdf_files import (
    assembled,
    encrypted,
    page,
    scanned,
    stream,
    without_pages,
)

PDF = pdf_document(Subject("shirt", "red", 5))
PAGES = pdf("Pages", ["Many words in each of many lines. " * 20] * 30)
CHARS = 100_000
HELVETICA = b"/Font << /F << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >>"


def plain(data: bytes) -> str:
    """The strings drawn in a PDF."""
    return "\n".join(drawn_strings(data))


def test_text_and_pages_are_found() -> None:
    """In the order of the pages."""
    found = read_pdf(PAGES, CHARS)
    assert found.text.startswith("Pages")
    assert found.pages == count_pages(PAGES) > 1


@pytest.mark.parametrize(
    ("data", "error", "said"),
    [
        (encrypted(), Unsupported, "encrypted.*password"),
        (without_pages(), InvalidInput, "empty: it has no pages"),
        (b"%PDF-1.4 and nothing more", InvalidInput, "cannot be opened.*cut off"),
        (PDF[: len(PDF) // 2], InvalidInput, "cut off"),
        (PDF[:-40], InvalidInput, "cut off"),
        (assembled([b"<< /Type /Catalog >>"]), InvalidInput, "cannot be opened|no pages"),
    ],
    ids=["encrypted", "without pages", "header", "half", "no end", "no tree"],
)
def test_pages_that_cannot_be_counted_each_have_their_reason(
    data: bytes, error: type, said: str
) -> None:
    """None of them can pass."""
    with pytest.raises(error, match=said):
        count_pages(data)


@pytest.mark.parametrize(
    ("data", "error", "said"),
    [
        (encrypted(), Unsupported, "encrypted"),
        (without_pages(), InvalidInput, "no pages"),
        (scanned(), Unsupported, "no text layer.*a scan"),
        (page(b"0 0 m 9 9 l S"), InvalidInput, "nothing is written"),
    ],
    ids=["encrypted", "without pages", "scan", "blank"],
)
def test_text_that_cannot_be_had_has_its_reason(data: bytes, error: type, said: str) -> None:
    """A scan could be read by other means, a blank page by none."""
    with pytest.raises(error, match=said):
        read_pdf(data, CHARS)


def test_a_picture_within_a_form_makes_a_scan_too() -> None:
    """As scanners' programs write them."""
    picture = stream(
        bytes(64),
        b"/Type /XObject /Subtype /Image /Width 8 /Height 8 /ColorSpace /DeviceGray "
        b"/BitsPerComponent 8",
    )
    form = stream(
        b"q 9 0 0 9 0 0 cm /I Do Q",
        b"/Type /XObject /Subtype /Form /BBox [0 0 99 99] /Resources << /XObject << /I 6 0 R >> >>",
    )
    with pytest.raises(Unsupported, match="no text layer"):
        read_pdf(page(b"/F Do", form, picture, resources=b"/XObject << /F 5 0 R >>"), CHARS)


def test_what_is_there_of_a_pdf_that_was_cut_off_is_read() -> None:
    """The loss is charged where its pages are counted."""
    cut = PAGES[: PAGES.rindex(b"startxref")]
    assert "Many words" in read_pdf(cut, CHARS).text
    with pytest.raises(InvalidInput, match="cut off"):
        count_pages(cut)


def test_text_over_the_limit_is_too_large() -> None:
    """At the limit it is taken."""
    data = page(b"BT /F 9 Tf (0123456789) Tj ET", resources=HELVETICA)
    assert read_pdf(data, 10).text.strip() == "0123456789"
    with pytest.raises(TooLarge, match="more than 9"):
        read_pdf(data, 9)


@pytest.mark.parametrize(
    ("written", "point"),
    [
        (b"D:20240229120000Z", datetime(2024, 2, 29, 12, tzinfo=UTC)),
        (b"D:20240229120000+01'00'", datetime(2024, 2, 29, 11, tzinfo=UTC)),
        (b"D:20240229120000-0530", datetime(2024, 2, 29, 17, 30, tzinfo=UTC)),
        (b"20240229", datetime(2024, 2, 29, tzinfo=UTC)),
        (b"D:20240231120000Z", None),
        (b"D:00000101000000Z", None),
        (b"D:00010101000000+23'00'", None),
        (b"D:20240229120000+99'99'", None),
        (b"yesterday", None),
        (b"", None),
    ],
)
def test_the_time_when_it_was_made_is_read_where_it_is_one(
    written: bytes, point: datetime | None
) -> None:
    """In UTC."""
    text = b"BT /F 9 Tf (words) Tj ET"
    sound = page(text, b"<< /CreationDate (%s) >>" % written, resources=HELVETICA)
    data = sound.replace(b"/Root 1 0 R", b"/Root 1 0 R /Info 5 0 R")
    assert read_pdf(data, CHARS).made_at == point


def test_a_pdf_that_fails_on_a_page_is_a_data_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It opens, but a page of it cannot be loaded or read."""

    def broken(*_arguments: object) -> None:
        raise pypdfium2.PdfiumError("Failed to load page.")

    monkeypatch.setattr(pypdfium2.PdfDocument, "get_page", broken)
    for look in (count_pages, lambda data: read_pdf(data, CHARS)):
        with pytest.raises(InvalidInput, match=r"cannot be read: Failed to load page"):
            look(PDF)


def test_an_encrypted_pdf_is_unsupported_by_plain_force() -> None:
    """Its strings are there, but they are noise."""
    with pytest.raises(Unsupported, match="encrypted"):
        plain(encrypted())


def test_drawn_strings_are_unescaped() -> None:
    """Octal codes, escaped brackets, and pieces set apart for kerning."""
    data = b"%PDF-1.4\nstream\nBT (A\\(b\\) \\344) Tj [(ke) -20 (rn)] TJ ET\nendstream\n"
    assert plain(data) == "A(b) ä\nkern"


@pytest.mark.parametrize("piece", [b"stream\n", b"stream\n[", b"[(a) ", b"((("])
def test_a_hostile_pdf_costs_no_more_than_another(piece: bytes) -> None:
    """Nothing is drawn in it, however often something opens."""
    inside = b"stream\n" + piece * (280_000 // len(piece)) + b"\nendstream\n"
    for data in (inside, inside.removesuffix(b"\nendstream\n")):
        assert plain(b"%PDF-1.4\n" + data) == ""


def test_streams_are_inflated_up_to_a_limit_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many small ones are as large as one."""
    monkeypatch.setattr(pdfs, "MAX_INFLATED_BYTES", 80)
    line = b"(words) Tj"
    inside = b"".join(b"stream\n%s\nendstream\n" % (line + b" " * 10) for _ in range(4))
    assert plain(b"%PDF-1.4\n" + inside) == "\n".join(["words"] * 4)
    with pytest.raises(TooLarge, match="limit of 80"):
        plain(b"%PDF-1.4\n" + inside + b"stream\n%s\nendstream\n" % line)
