"""Pages: sound ones, spoilt ones, nested and repeated ones, in encodings that they do not have."""

import codecs
from collections.abc import Iterator
from functools import cache
from random import Random

from pipeline_assets.sample.documents import html_page
from pipeline_assets.sample.drawing import Subject
from pipeline_assets_tests.hostile.spoiled import spoiled

WORDS = "Ein Satz, der wenig sagt, und noch einer, der auch nicht mehr zu sagen weiß als dieser. "
HUGE_BYTES = 50_000_000
LONG = 15_000
"""Pieces of a page that is large without being huge."""


@cache
def sound_pages() -> dict[str, bytes]:
    """A shop's page, a text, and one with everything that may stand in a head."""
    head = (
        '<html lang="de-AT"><head><meta charset="utf-8"><title>Titel</title>'
        '<meta property="article:published_time" content="2024-02-29T13:00:00+01:00">'
        '<script type="application/ld+json">{"@type": "Article", "headline": "Titel", '
        '"datePublished": "2024-02-29"}</script></head>'
    )
    return {
        "product": html_page(Subject("shirt", "red", 5)),
        "text": (WORDS * 40).encode(),
        "article": f"{head}<body><article><p>{WORDS * 6}</p></article></body></html>".encode(),
        "old article": f"<html><body><p>{WORDS * 9}</p></body></html>".encode("cp1252"),
    }


def hostile_pages(seed: int) -> Iterator[tuple[str, bytes]]:
    """Everything, each with its name."""
    yield from spoiled(sound_pages(), seed)
    yield from _no_pages(seed)
    yield from _nested()
    yield from _repeated()
    yield from _entities()
    yield from _encodings()
    yield from _heads()


def _no_pages(seed: int) -> Iterator[tuple[str, bytes]]:
    yield "empty", b""
    yield "a zero", b"\0"
    yield "zeros", bytes(100_000)
    yield "zeros behind a tag", b"<html>" + bytes(100_000)
    yield "noise", Random(seed).randbytes(10_000)
    yield "noise behind a tag", b"<html><body>" + Random(seed).randbytes(100_000)
    yield "a picture", b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(100)
    yield "an archive", b"PK\x03\x04" + bytes(100)


def _nested() -> Iterator[tuple[str, bytes]]:
    yield "50 MB of div", b"<div>" * (HUGE_BYTES // 5)
    yield "nested links", b"<html><body>" + b"<a href=x>x" * 4 * LONG
    for tag in ("div", "b", "table><tr><td", "ul><li", "font", "svg", "template"):
        yield f"nested {tag}", b"<html><body>" + f"<{tag}>x".encode() * LONG
    closed = b"<div>" * LONG + WORDS.encode() + b"</div>" * LONG
    yield "nested and closed", b"<html><body>" + closed
    yield "misnested", b"<html><body>" + b"<b><i></b></i><p><b>" * LONG
    yield "nested 200 deep", b"<html>" + b"<div>" * 200 + WORDS.encode() * 9 + b"</div>" * 200


def _repeated() -> Iterator[tuple[str, bytes]]:
    yield "paragraphs", b"<html><body>" + f"<p>{WORDS}</p>".encode() * LONG
    yield "links", b"<html><body>" + b"<p><a href=x>y</a> words</p>" * LONG
    yield "attributes", b"<html><body><p " + b"a=1 " * LONG + b">" + WORDS.encode()
    yield "one attribute", b"<html><body><p class='" + b"a " * LONG + b"'>" + WORDS.encode()
    yield "comments", b"<html>" + b"<!-- -- -->" * LONG
    yield "scripts", b"<html>" + b"<script>if (a < b) {}</script>" * LONG
    yield "one word", b"<html><body><p>" + b"w" * 12_000_000
    yield "a long text", WORDS.encode() * (HUGE_BYTES // len(WORDS) // 4)
    yield "titles", b"<html><head>" + b"<title>t</title>" * LONG
    yield "a long title", b"<html><head><title>" + b"t" * LONG + b"</title><body><p>words"
    yield "tags that never end", b"<html><body " * LONG


def _entities() -> Iterator[tuple[str, bytes]]:
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "lol"}">' for n in range(12))
    xhtml = f'<?xml version="1.0"?><!DOCTYPE html [{laughs}]><html><body><p>&l11;</p></body></html>'
    yield "a billion laughs", xhtml.encode()
    outside = '<!DOCTYPE html [<!ENTITY x SYSTEM "file:///etc/hostname">]><html><body><p>&x; words'
    yield "an entity from outside", outside.encode()
    yield "references", b"<html><body><p>" + b"&#x110000;&#0;&#xd800;&nosuch;&amp" * LONG
    yield "huge references", b"<html><body><p>" + (b"&#" + b"9" * 5000 + b";") * 100


def _encodings() -> Iterator[tuple[str, bytes]]:
    text = f"<html><body><p>{WORDS * 5}".encode()
    for charset in (
        "utf-7",
        "undefined",
        "zlib",
        "rot13",
        "idna",
        "punycode",
        "utf-16",
        "x" * 4000,
    ):
        declared = f"<html><head><meta charset='{charset}'></head>".encode()
        yield f"declares {charset[:20]}", declared + text + b"\xff\xfe\xe4"
    for name in ("utf-16", "utf-16-le", "utf-32", "iso2022_jp", "gb18030", "cp037"):
        yield f"is {name}", text.decode().encode(name, "replace")
    yield "odd UTF-16", codecs.BOM_UTF16_LE + text.decode().encode("utf-16-le")[:-1] + b"\xd8"
    yield "mixed", text + WORDS.encode("cp1252") + WORDS.encode("utf-16-le") + b"\xed\xa0\x80"
    yield "overlong", b"<html><body><p>" + b"\xc0\xbcscript\xc0\xbe" * 1000 + text
    yield "surrogates", b"<html><body><p>" + b"\xed\xa0\x80\xed\xb0\x80" * 1000 + text
    yield "controls", b"<html><body><p>" + bytes(range(1, 32)) * 100 + text
    yield "directions", ("<html><body><p>" + "\u202e\u2066\ufeff\ufffe words " * 1000).encode()


def _heads() -> Iterator[tuple[str, bytes]]:
    body = f"<body><article><p>{WORDS * 6}</p></article></body></html>"
    for date in (
        "9999-99-99",
        "0000-00-00",
        "1e999",
        "99999999-01-01",
        "\u0661" * 4 + "-01-01",
        "now",
    ):
        meta = f'<meta property="article:published_time" content="{date}">'
        yield f"published {date}", f"<html><head>{meta}</head>{body}".encode()
    for name, data in (("arrays", "[" * 100_000), ("objects", '{"@graph":' * 50_000)):
        script = f'<script type="application/ld+json">{data}</script>'
        yield f"nested {name} in a script", f"<html><head>{script}</head>{body}".encode()
    yield "a language without end", f"<html lang='{'x' * 100_000}'>{body}".encode()
