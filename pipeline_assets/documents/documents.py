"""Documents: what the bytes are, how many pages, and their text, by structure or by plain force.

What is done here to a stranger's bytes may take long, or kill: stages ask `parsers` for it.
"""

import codecs
import html
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from pipeline_assets.documents import pdfs
from pipeline_assets.documents.encodings import text_of
from pipeline_assets.documents.languages import declared_language, detected_language
from pipeline_assets.errors import InvalidInput, TooLarge

PDF, HTML, TEXT = "application/pdf", "text/html", "text/plain"
SNIFFED_BYTES = 4096
MAX_TEXT_CHARS = 1_000_000
MAX_PLAIN_BYTES = 2_000_000
"""As much of a page as is read by plain force: what is larger is hardly text."""
HEAD_CHARS = 64_000
"""The part of a page in which its title and its language are looked for."""
TITLE_CHARS = 500
"""As much of a title as is kept: what is longer is a text in the wrong place."""

_MARKUP = re.compile(
    rb"<\s*(!doctype|html|head|body|title|meta|div|p|h1|article|span|table)\b", re.IGNORECASE
)
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1f]")
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# Hostile pages must cost no more than others: every pattern here takes time linear in its input.
_IGNORED = re.compile(r"(?i)<(?:(script|style|noscript|template|svg)\b|!--)")
_IGNORED_END = {
    name: re.compile(rf"(?i)</{name}\s*+>")
    for name in ("script", "style", "noscript", "template", "svg")
}
_COMMENT_END = re.compile("-->")
_TITLE = re.compile(r"(?i)<title\b[^<>]*+>")
_TITLE_END = re.compile(r"(?i)</title")
_BLOCK = re.compile(r"(?i)</?(p|div|br|li|tr|h[1-6]|section|article|ul|ol|table|td|th)\b[^>]*+>")
_TAG = re.compile(r"<[^>]*+>")
_HUGE_REFERENCE = re.compile(r"(?i)&#(?:[0-9]{8,}+|x[0-9a-f]{8,}+);?")
_SPACES = re.compile(r"[ \t\r\f\v\xa0]+")
_LINES = re.compile(r"\s*\n\s*")
# No search through the whole text: it takes any number for a date, and up to a second.
_DATES = {
    "original_date": True,
    "extensive_search": False,
    "outputformat": "%Y-%m-%dT%H:%M:%S%z",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """The text of a document, and what else it says of itself, or shows.

    `language` is an ISO 639 code; `encoding` is how the bytes of a page or text were read.
    """

    title: str | None = None
    text: str
    language: str | None = None
    encoding: str | None = None
    published: datetime | None = None
    pages: int | None = None


def sniff(data: bytes) -> str:
    """The media type by content. Raises `InvalidInput` for bytes that are no document."""
    head = data[:SNIFFED_BYTES]
    if b"%PDF-" in head[:1024]:
        return PDF
    if head.startswith(_UTF16):
        head = head.decode("utf-16", "ignore").encode("utf-8", "ignore")
    if _MARKUP.search(head):
        return HTML
    if not head.strip():
        raise InvalidInput("the document is empty")
    if _BINARY.search(head):
        raise InvalidInput("the bytes are no PDF, page or text")
    return TEXT


def count_pages(data: bytes) -> int:
    """The number of pages of a PDF. Raises `Unsupported` if encrypted, else `InvalidInput`."""
    return pdfs.count_pages(data)


def structured(data: bytes) -> Document:
    """Main text by the document's own structure. Raises `InvalidInput` where there is none."""
    media_type = sniff(data)
    if media_type == PDF:
        return _structured_pdf(data)
    if media_type == HTML:
        return _structured_html(data)
    text, encoding = text_of(data)
    return _document(Document(text=text, encoding=encoding), "the document has no text")


def plain(data: bytes) -> Document:
    """Whatever text can be had by force: tags stripped, a PDF's drawn strings."""
    if sniff(data) == PDF:
        text = "\n".join(pdfs.drawn_strings(data))
        return _document(Document(text=text), "no text is drawn in the PDF")
    if len(data) > MAX_PLAIN_BYTES:
        raise TooLarge(
            f"{len(data)} bytes of markup or text, over the limit of {MAX_PLAIN_BYTES} for reading "
            "by plain force"
        )
    source, encoding = text_of(data)
    head = source[:HEAD_CHARS]
    lines = _without_tags(_BLOCK, "\n", _without_ignored(source))
    found = Document(
        title=_title(head),
        text=_unescape(_without_tags(_TAG, " ", lines)),
        language=declared_language(head),
        encoding=encoding,
    )
    return _document(found, "the page has no text")


def _title(head: str) -> str | None:
    opened = _TITLE.search(head)
    closed = _TITLE_END.search(head, opened.end()) if opened else None
    return _unescape(head[opened.end() : closed.start()]) if opened and closed else None


def _without_ignored(source: str) -> str:
    """The page without scripts, styles and comments; one that is never closed goes to the end."""
    kept, at = [], 0
    while opened := _IGNORED.search(source, at):
        kept.append(source[at : opened.start()])
        name = opened.group(1)
        end = _IGNORED_END[name.lower()] if name else _COMMENT_END
        closed = end.search(source, opened.end())
        at = closed.end() if closed else len(source)
    return " ".join([*kept, source[at:]])


def _without_tags(tag: re.Pattern[str], instead: str, source: str) -> str:
    # Up to the last ">" every tag that opens also closes, so none is looked at twice.
    end = source.rfind(">") + 1
    return tag.sub(instead, source[:end]) + source[end:]


def _unescape(text: str) -> str:
    # Python refuses to read numbers of thousands of digits; no character has so many.
    return html.unescape(_HUGE_REFERENCE.sub("\ufffd", text))


def _structured_html(data: bytes) -> Document:
    import trafilatura  # noqa: PLC0415 - a third of a second that loading the stages must not cost

    source, encoding = text_of(data)
    found = trafilatura.bare_extraction(
        source, with_metadata=True, include_comments=False, date_extraction_params=_DATES
    )
    if found is None or not found.text:
        raise InvalidInput("no main text was found in the page")
    document = Document(
        title=found.title,
        text=found.text,
        language=declared_language(source[:HEAD_CHARS]),
        encoding=encoding,
        published=_published(found.date),
    )
    return _document(document, "the page has no main text")


def _published(date: str | None) -> datetime | None:
    """A date as a page gives it, with or without its time; without a zone it is taken as UTC."""
    if date is None:
        return None
    found = datetime.fromisoformat(date)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _structured_pdf(data: bytes) -> Document:
    found = pdfs.read_pdf(data, MAX_TEXT_CHARS)
    document = Document(
        title=found.title, text=found.text, published=found.made_at, pages=found.pages
    )
    return _document(document, "the PDF has no text that can be printed")


def _document(found: Document, empty: str) -> Document:
    """The document with its text and title cleaned, and with its language, if that can be told."""
    text = _clean(found.text)
    if not text:
        raise InvalidInput(empty)
    if len(text) > MAX_TEXT_CHARS:
        raise TooLarge(f"{len(text)} characters of text, over the limit of {MAX_TEXT_CHARS}")
    return replace(
        found,
        title=_clean(found.title)[:TITLE_CHARS] or None if found.title else None,
        text=text,
        language=found.language or detected_language(text),
    )


def _clean(text: str) -> str:
    without_controls = "".join(c if c.isprintable() or c in "\n\t" else " " for c in text)
    return _LINES.sub("\n", _SPACES.sub(" ", without_controls)).strip()
