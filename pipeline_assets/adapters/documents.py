"""Documents: what the bytes are, how many pages, and their text, by structure or by plain force."""

import codecs
import html
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipeline_assets.errors import InvalidInput, TooLarge, Unsupported

PDF, HTML, TEXT = "application/pdf", "text/html", "text/plain"
SNIFFED_BYTES = 4096
MAX_TEXT_CHARS = 1_000_000
MAX_PLAIN_BYTES = 2_000_000
"""As much of a page as is read by plain force: what is larger is hardly text."""
TITLE_CHARS = 64_000
"""The part of a page in which its title is looked for."""
MAX_INFLATED_BYTES = 20_000_000

_MARKUP = re.compile(
    rb"<\s*(!doctype|html|head|body|title|meta|div|p|h1|article|span|table)\b", re.IGNORECASE
)
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1f]")
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
_STREAM = re.compile(rb"stream\r?\n")
_STREAM_END = re.compile(rb"\r?\nendstream")
_SHOWN = re.compile(
    rb"\((?:\\.|[^\\()])*+\)\s*+(?:Tj|'|\")"
    rb"|\[(?:\((?:\\.|[^\\()])*+\)|[^\[\]()\\])*+\]\s*+TJ",
    re.DOTALL,
)
_STRING = re.compile(rb"\(((?:\\.|[^\\()])*+)\)", re.DOTALL)
_CHARSET = re.compile(rb"""(?i)<meta[^>]+charset\s*+=\s*+["']?\s*+([\w.:-]+)""")
_NO_CHARSETS = ("idna", "punycode", "raw-unicode-escape", "unicode-escape")
"""Codecs of Python that no page is written in; two of them are slow on large inputs."""


@dataclass(frozen=True, slots=True)
class Document:
    """The text of a document, and its title where it has one."""

    title: str | None
    text: str


def sniff(data: bytes) -> str:
    """The media type by content. Raises `InvalidInput` for bytes that are no document."""
    head = data[:SNIFFED_BYTES]
    if b"%PDF-" in head[:1024]:
        return PDF
    if _MARKUP.search(head):
        return HTML
    if not head.strip():
        raise InvalidInput("the document is empty")
    if _BINARY.search(head):
        raise InvalidInput("the bytes are no PDF, page or text")
    return TEXT


def count_pages(data: bytes) -> int:
    """The number of pages of a PDF. Raises `Unsupported` if encrypted, else `InvalidInput`."""
    with _PdfFile(data) as pdf:
        return len(pdf)


def structured(data: bytes) -> Document:
    """Main text by the document's own structure. Raises `InvalidInput` where there is none."""
    media_type = sniff(data)
    if media_type == PDF:
        return _structured_pdf(data)
    if media_type == HTML:
        return _structured_html(data)
    return _document(None, _text_of(data), "the document has no text")


def plain(data: bytes) -> Document:
    """Whatever text can be had by force: tags stripped, a PDF's drawn strings."""
    if sniff(data) == PDF:
        if b"/Encrypt" in data:
            raise Unsupported("the PDF is encrypted: its strings cannot be read")
        return _document(None, "\n".join(_drawn_strings(data)), "no text is drawn in the PDF")
    if len(data) > MAX_PLAIN_BYTES:
        raise TooLarge(
            f"{len(data)} bytes of markup or text, over the limit of {MAX_PLAIN_BYTES} for reading "
            "by plain force"
        )
    source = _text_of(data)
    lines = _without_tags(_BLOCK, "\n", _without_ignored(source))
    text = _unescape(_without_tags(_TAG, " ", lines))
    return _document(_title(source[:TITLE_CHARS]), text, "the page has no text")


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

    found = trafilatura.bare_extraction(_text_of(data), with_metadata=True, include_comments=False)
    if found is None or not found.text:
        raise InvalidInput("no main text was found in the page")
    return _document(found.title, found.text, "the page has no main text")


def _structured_pdf(data: bytes) -> Document:
    with _PdfFile(data) as pdf:
        text = "\n\n".join(_page_text(page) for page in pdf)
        title = pdf.get_metadata_value("Title") or None
    return _document(title, text, "the PDF has no text layer: a scan, or pictures only")


def _page_text(page: Any) -> str:
    text = page.get_textpage()
    try:
        return str(text.get_text_bounded())
    finally:
        text.close()
        page.close()


class _PdfFile:
    """A PDF that is open for the length of a `with` block."""

    def __init__(self, data: bytes) -> None:
        import pypdfium2  # noqa: PLC0415

        try:
            self._pdf = pypdfium2.PdfDocument(data)
        except pypdfium2.PdfiumError as error:
            if "password" in str(error).lower():
                raise Unsupported("the PDF is encrypted and needs a password") from None
            raise InvalidInput(f"the PDF cannot be opened: {error}") from None

    def __enter__(self) -> Any:
        return self._pdf

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        import pypdfium2  # noqa: PLC0415

        self._pdf.close()
        if isinstance(error, pypdfium2.PdfiumError):
            raise InvalidInput(f"the PDF cannot be read: {error}") from None


def _drawn_strings(data: bytes) -> Iterator[str]:
    at = 0
    while opened := _STREAM.search(data, at):
        closed = _STREAM_END.search(data, opened.end())
        if closed is None:
            return
        for shown in _SHOWN.finditer(_inflated(data[opened.end() : closed.start()])):
            parts = (_unescaped(part) for part in _STRING.findall(shown.group()))
            yield b"".join(parts).decode("latin-1")
        at = closed.end()


def _inflated(stream: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(stream, MAX_INFLATED_BYTES)
    except zlib.error:
        return stream


def _unescaped(string: bytes) -> bytes:
    return re.sub(rb"\\([()\\])", rb"\1", re.sub(rb"\\(\d{1,3})", _octal, string))


def _octal(match: re.Match[bytes]) -> bytes:
    return bytes([int(match.group(1), 8) & 0xFF]) if match.group(1).isdigit() else b""


def _text_of(data: bytes) -> str:
    declared = _CHARSET.search(data[:SNIFFED_BYTES])
    for encoding in (declared.group(1).decode("ascii") if declared else "utf-8", "utf-8-sig"):
        try:
            if codecs.lookup(encoding).name not in _NO_CHARSETS:
                return data.decode(encoding)
        except (LookupError, UnicodeError):
            continue
    return data.decode("windows-1252", errors="replace")


def _document(title: str | None, text: str, empty: str) -> Document:
    cleaned = _clean(text)
    if not cleaned:
        raise InvalidInput(empty)
    if len(cleaned) > MAX_TEXT_CHARS:
        raise TooLarge(f"{len(cleaned)} characters of text, over the limit of {MAX_TEXT_CHARS}")
    return Document(_clean(title) or None if title else None, cleaned)


def _clean(text: str) -> str:
    without_controls = "".join(c if c.isprintable() or c in "\n\t" else " " for c in text)
    return _LINES.sub("\n", _SPACES.sub(" ", without_controls)).strip()
