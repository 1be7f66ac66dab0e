"""PDFs: their pages and text by their structure, and the strings drawn in them by plain force."""

import re
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from pipeline_assets.errors import InvalidInput, TooLarge, Unsupported

MAX_INFLATED_BYTES = 20_000_000
"""Of all the streams that plain force looks into."""
END_WITHIN = 4096
"""Bytes from the end within which a whole PDF says %%EOF; readers ask for 1024, and shops add."""
FORM_DEPTH = 3
"""Forms within forms in which a page's pictures are looked for."""
NO_PAGES = "the PDF is empty: it has no pages"

_NO_PAGES = re.compile(rb"/Count\s++0\b")
_PAGE = re.compile(rb"/Type\s*+/Page\b")
_STREAM = re.compile(rb"stream\r?\n")
_STREAM_END = re.compile(rb"\r?\nendstream")
_SHOWN = re.compile(
    rb"\((?:\\.|[^\\()])*+\)\s*+(?:Tj|'|\")"
    rb"|\[(?:\((?:\\.|[^\\()])*+\)|[^\[\]()\\])*+\]\s*+TJ",
    re.DOTALL,
)
_STRING = re.compile(rb"\(((?:\\.|[^\\()])*+)\)", re.DOTALL)
_MADE = re.compile(
    r"(?:D:)?(\d{4})(\d\d)(\d\d)(?:(\d\d)(\d\d)(\d\d))?(?:Z|([+-])(\d\d)'?(\d\d)?'?)?"
)


@dataclass(frozen=True, slots=True)
class PdfText:
    """What a PDF says, and of itself: its title and when it was made, where it does."""

    title: str | None
    text: str
    made_at: datetime | None
    pages: int


def count_pages(data: bytes) -> int:
    """The number of pages of a PDF, each of which opens.

    Raises `Unsupported` if encrypted, `InvalidInput` for one that is damaged, cut off or empty.
    """
    with _PdfFile(data) as pdf:
        pages = _pages(pdf)
        for page in pdf:
            page.close()
    if not _has_end(data):
        raise InvalidInput(f"the PDF is cut off: it has no end; pages up to there: {pages}")
    return pages


def read_pdf(data: bytes, max_chars: int) -> PdfText:
    """The text of the pages. Raises like `count_pages`, but reads what there is of a PDF.

    Raises `Unsupported` for a scan, `InvalidInput` where nothing is written, `TooLarge` for more
    than so many characters.
    """
    with _PdfFile(data) as pdf:
        pages = _pages(pdf)
        text = "\n\n".join(_page_texts(pdf, max_chars))
        if not text.strip():
            raise _wordless(pdf, pages)
        made_at = _point_in_time(pdf.get_metadata_value("CreationDate"))
        return PdfText(pdf.get_metadata_value("Title") or None, text, made_at, pages)


def drawn_strings(data: bytes) -> Iterator[str]:
    """Whatever strings are drawn in the streams of a PDF that may be damaged.

    Raises `Unsupported` if encrypted, `TooLarge` where the streams are.
    """
    if b"/Encrypt" in data:
        raise Unsupported("the PDF is encrypted: its strings cannot be read")
    at, left = 0, MAX_INFLATED_BYTES
    while opened := _STREAM.search(data, at):
        closed = _STREAM_END.search(data, opened.end())
        if closed is None:
            return
        stream = _inflated(data[opened.end() : closed.start()], left)
        left -= len(stream)
        for shown in _SHOWN.finditer(stream):
            parts = (_unescaped(part) for part in _STRING.findall(shown.group()))
            yield b"".join(parts).decode("latin-1")
        at = closed.end()


class _PdfFile:
    """A PDF that is open for the length of a `with` block."""

    def __init__(self, data: bytes) -> None:
        import pypdfium2  # noqa: PLC0415

        try:
            self._pdf = pypdfium2.PdfDocument(data)
        except pypdfium2.PdfiumError:
            raise _unopened(data) from None

    def __enter__(self) -> Any:
        return self._pdf

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        import pypdfium2  # noqa: PLC0415

        self._pdf.close()
        if isinstance(error, pypdfium2.PdfiumError):
            raise InvalidInput(f"the PDF cannot be read: {error}") from None


def _unopened(data: bytes) -> InvalidInput | Unsupported:
    """Why pdfium does not open it: what it says itself may be left from the PDF before."""
    if b"/Encrypt" in data:
        return Unsupported("the PDF is encrypted and cannot be opened without its password")
    if not _has_end(data):
        return InvalidInput("the PDF cannot be opened: it is cut off, or never was one")
    if _NO_PAGES.search(data) and not _PAGE.search(data):
        return InvalidInput(NO_PAGES)
    return InvalidInput("the PDF cannot be opened: it is damaged")


def _has_end(data: bytes) -> bool:
    return b"%%EOF" in data[-END_WITHIN:]


def _pages(pdf: Any) -> int:
    pages = len(pdf)
    if not pages:
        raise InvalidInput(NO_PAGES)
    return pages


def _page_texts(pdf: Any, max_chars: int) -> Iterator[str]:
    left = max_chars
    for page in pdf:
        text = _page_text(page)
        left -= len(text.strip())
        if left < 0:
            raise TooLarge(f"the PDF has more than {max_chars} characters of text")
        yield text


def _page_text(page: Any) -> str:
    text = page.get_textpage()
    try:
        return str(text.get_text_bounded())
    finally:
        text.close()
        page.close()


def _wordless(pdf: Any, pages: int) -> InvalidInput | Unsupported:
    """Why there is no text: a scan could be read by other means, blank pages by none."""
    if any(_has_picture(page) for page in pdf):
        return Unsupported(
            f"the PDF has no text layer: it is pictures only (pages: {pages}), as a scan is, and "
            "takes character recognition to read"
        )
    return InvalidInput(f"the PDF has no text: nothing is written on its pages ({pages})")


def _has_picture(page: Any) -> bool:
    from pypdfium2 import raw  # noqa: PLC0415

    try:
        pictures = page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE], max_depth=FORM_DEPTH)
        return next(pictures, None) is not None
    finally:
        page.close()


def _point_in_time(written: str) -> datetime | None:
    """The time that a PDF writes as D:20240229120000+01'00'."""
    found = _MADE.match(written)
    if found is None:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in found.groups()[:6])
    ahead = timedelta(hours=int(found[8] or 0), minutes=int(found[9] or 0))
    with suppress(ValueError, OverflowError):  # the 31st of February, or before year 1
        zone = timezone(-ahead if found[7] == "-" else ahead)
        return datetime(year, month, day, hour, minute, second, tzinfo=zone).astimezone(UTC)
    return None


def _inflated(stream: bytes, at_most: int) -> bytes:
    """The stream as it was before it was deflated, or as it is. Raises `TooLarge`."""
    decompressor = zlib.decompressobj()
    try:
        found = decompressor.decompress(stream, at_most + 1)
    except zlib.error:
        found = stream
    if len(found) > at_most:
        raise TooLarge(
            f"the PDF's streams are over the limit of {MAX_INFLATED_BYTES} bytes for plain force"
        )
    return found


def _unescaped(string: bytes) -> bytes:
    return re.sub(rb"\\([()\\])", rb"\1", re.sub(rb"\\(\d{1,3})", _octal, string))


def _octal(match: re.Match[bytes]) -> bytes:
    return bytes([int(match.group(1), 8) & 0xFF]) if match.group(1).isdigit() else b""
