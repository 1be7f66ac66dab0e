"""A minimal writer for PDF 1.4: plain paragraphs in Helvetica on as many pages as they need."""

import textwrap
from collections.abc import Sequence
from typing import Final

_LINE_CHARS: Final = 84  # Helvetica at 11 points within the margins of an A4 page
_LINES_A_PAGE: Final = 48
_HEADER: Final = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n"
_FIXED_OBJECTS: Final = 3  # catalogue, page tree, font


def pdf(title: str, paragraphs: Sequence[str]) -> bytes:
    """Set a title and paragraphs; characters outside Latin-1 become question marks."""
    lines = [title]
    for paragraph in paragraphs:
        lines += ["", *textwrap.wrap(paragraph, _LINE_CHARS)]
    starts = range(0, len(lines), _LINES_A_PAGE)
    return _file(_objects([lines[start : start + _LINES_A_PAGE] for start in starts]))


def _objects(pages: list[list[str]]) -> list[bytes]:
    """Give the bodies of objects 1, 2, 3 ...: each page is followed by its content stream."""
    first = _FIXED_OBJECTS + 1
    kids = " ".join(f"{first + 2 * i} 0 R" for i in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for i, lines in enumerate(pages):
        stream = _content(lines)
        page = (
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] "
            f"/Resources << /Font << /F1 3 0 R >> >> /Contents {first + 2 * i + 1} 0 R >>"
        )
        objects.append(page.encode())
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
    return objects


def _content(lines: list[str]) -> bytes:
    shown = b"\n".join(b"(%s) Tj T*" % _escaped(line) for line in lines)
    return b"BT /F1 11 Tf 15 TL 60 780 Td\n%s\nET" % shown


def _escaped(line: str) -> bytes:
    raw = line.encode("latin-1", "replace")
    return raw.replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")


def _file(objects: list[bytes]) -> bytes:
    """Number the objects and append the table of their offsets."""
    body, offsets = bytearray(_HEADER), []
    for number, content in enumerate(objects, 1):
        offsets.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    size = len(objects) + 1
    trailer = b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (size, len(body))
    return bytes(body) + b"xref\n0 %d\n0000000000 65535 f \n%s" % (size, table) + trailer
