"""PDFs: sound ones, spoilt ones, and such whose objects lead nowhere, everywhere or into a loop."""

import zlib
from collections.abc import Iterator, Sequence
from functools import cache

from pipeline_assets.sample.documents import pdf_document
from pipeline_assets.sample.drawing import Subject
from pipeline_assets.sample.pdf import pdf
from pipeline_assets_tests.hostile.spoiled import spoiled

CATALOGUE = b"<< /Type /Catalog /Pages 2 0 R >>"
ONE_PAGE = b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>"


def assembled(objects: Sequence[bytes], trailer: bytes = b"") -> bytes:
    """A PDF of these objects, numbered from 1, of which the first is the catalogue."""
    body, offsets = bytearray(b"%PDF-1.7\n"), []
    for number, content in enumerate(objects, 1):
        offsets.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    head = b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(objects) + 1, table)
    size = b"<< /Size %d /Root 1 0 R %s >>" % (len(objects) + 1, trailer)
    return bytes(body) + head + b"trailer\n%s\nstartxref\n%d\n%%%%EOF\n" % (size, len(body))


def page(content: bytes, *more: bytes, resources: bytes = b"", entries: bytes = b"") -> bytes:
    """A PDF of one page with this content stream (object 4); `more` are further objects from 5."""
    leaf = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R %s >>" % (
        b"/Resources << %s >> " % resources + entries
    )
    return assembled([CATALOGUE, ONE_PAGE, leaf, stream(content), *more])


def stream(data: bytes, entries: bytes = b"") -> bytes:
    """A stream object."""
    return b"<< /Length %d %s >>\nstream\n%s\nendstream" % (len(data), entries, data)


def scanned() -> bytes:
    """A page with a picture and no text."""
    picture = stream(
        bytes(64),
        b"/Type /XObject /Subtype /Image /Width 8 /Height 8 /ColorSpace /DeviceGray "
        b"/BitsPerComponent 8",
    )
    return page(b"q 500 0 0 500 0 0 cm /I Do Q", picture, resources=b"/XObject << /I 5 0 R >>")


def encrypted() -> bytes:
    """A PDF that opens with a password that nobody knows."""
    rules = b"/Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <%s> /U <%s> >> /ID [<00> <00>]"
    secret = b"5a" * 32
    leaf = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] >>"
    return assembled([CATALOGUE, ONE_PAGE, leaf], rules % (secret, secret))


def without_pages() -> bytes:
    """A PDF that is sound and empty."""
    return assembled([CATALOGUE, b"<< /Type /Pages /Kids [] /Count 0 >>"])


@cache
def sound_pdfs() -> dict[str, bytes]:
    """With text, over one page and several."""
    return {
        "one page": pdf_document(Subject("shirt", "red", 5)),
        "pages": pdf("Pages", ["Many words in each of many lines. " * 20] * 30),
        "deflated": page(b"", stream(b"x"), entries=b"/Contents 5 0 R"),
        "scanned": scanned(),
    }


def hostile_pdfs(seed: int) -> Iterator[tuple[str, bytes]]:
    """Everything, each with its name."""
    yield from spoiled(sound_pdfs(), seed)
    yield "encrypted", encrypted()
    yield "without pages", without_pages()
    yield "header only", b"%PDF-1.7\n"
    yield "an end only", b"%PDF-1.7\nstartxref\n0\n%%EOF"
    yield "a page behind a header", b"%PDF-1.7\n<html><body><p>words</p></body></html>"
    yield from _loops()
    yield from _lies()
    yield from _bombs()


def _loops() -> Iterator[tuple[str, bytes]]:
    leaf = b"<< /Type /Page /Parent 2 0 R >>"
    yield "tree in itself", assembled([CATALOGUE, b"<< /Type /Pages /Kids [2 0 R] /Count 9 >>"])
    yield (
        "tree in a ring",
        assembled(
            [
                CATALOGUE,
                b"<< /Type /Pages /Kids [3 0 R 3 0 R] /Count 99 >>",
                b"<< /Type /Pages /Kids [2 0 R 2 0 R] /Count 99 /Parent 2 0 R >>",
            ]
        ),
    )
    yield "table in itself", assembled([CATALOGUE, ONE_PAGE, leaf], b"/Prev 10")
    sound = assembled([CATALOGUE, ONE_PAGE, leaf])
    at = sound.rindex(b"xref\n0")
    yield "previous table in a loop", assembled([CATALOGUE, ONE_PAGE, leaf], b"/Prev %d" % at)
    itself = b"/Resources << /XObject << /F 5 0 R >> >>"
    form = stream(b"/F Do", b"/Type /XObject /Subtype /Form " + itself)
    yield "form in itself", page(b"/F Do", form, resources=b"/XObject << /F 5 0 R >>")
    yield "length in itself", assembled([CATALOGUE, ONE_PAGE, leaf, b"<< /Length 4 0 R >>"])
    yield "content in itself", page(b"", b"[5 0 R 5 0 R]", entries=b"/Contents 5 0 R")


def _lies() -> Iterator[tuple[str, bytes]]:
    for count in (-1, 0, 1_000_000, 2**31 - 1, 10**30):
        pages = b"<< /Type /Pages /Kids [3 0 R] /Count %d >>" % count
        yield f"count {count}", assembled([CATALOGUE, pages, b"<< /Type /Page /Parent 2 0 R >>"])
    yield "page that is none", assembled([CATALOGUE, ONE_PAGE, b"(a string)"])
    yield "missing objects", assembled([CATALOGUE, b"<< /Type /Pages /Kids [77 0 R] /Count 1 >>"])
    yield (
        "odd information",
        assembled(
            [CATALOGUE, ONE_PAGE, b"<< /Type /Page /Parent 2 0 R >>"],
            rb"/Info << /Title (\376\377\330\000\330\000) /CreationDate (D:99999999999999+99) >>",
        ),
    )


def _bombs() -> Iterator[tuple[str, bytes]]:
    text = b"BT /F 9 Tf 9 9 Td " + b"(words of a page) Tj T* " * 60_000 + b"ET"
    font = b"/Font << /F << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >>"
    yield "text by the million", page(text, resources=font)
    inflated = zlib.compress(b"0 0 m 9 9 l S\n" * 6_000_000, 9)
    leaf = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 4 0 R >>"
    deflated = stream(inflated, b"/Filter /FlateDecode")
    twice = stream(zlib.compress(inflated, 9), b"/Filter [/FlateDecode /FlateDecode]")
    yield "inflated twice", assembled([CATALOGUE, ONE_PAGE, leaf, twice])
    yield "many deflated streams", page(b"", *[deflated] * 40)
    yield "nested arrays", page(b"[" * 1_000_000 + b"]" * 1_000_000, resources=b"[" * 100_000)
    yield "nested dictionaries", assembled([b"<< /A " * 200_000 + b">> " * 200_000])
    ring = b"".join(b"/P%d 2 0 R " % number for number in range(20_000))
    yield "many names", assembled([CATALOGUE, ONE_PAGE, b"<< /Type /Page %s >>" % ring])
    yield "saved states", page(b"q " * 300_000)
