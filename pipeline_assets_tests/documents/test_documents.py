"""Documents: what the bytes are, and their text."""

from datetime import UTC, datetime

import pytest

from pipeline_assets.documents import documents
from pipeline_assets.documents.documents import plain, sniff, structured
from pipeline_assets.errors import InvalidInput, TooLarge
from pipeline_assets.sample.documents import html_page, pdf_document
from pipeline_assets.sample.drawing import Subject

SHIRT = Subject("shirt", "red", 5)
PAGE, PDF = html_page(SHIRT), pdf_document(SHIRT)
EMPTY_PAGE = b"<html><head><script>var x = 'words';</script></head></html>"


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (PAGE, documents.HTML),
        (b"<P>no doctype, no head", documents.HTML),
        (PDF, documents.PDF),
        (b"some junk first\n%PDF-1.4", documents.PDF),
        ("Grüße, ganz ohne Auszeichnung".encode(), documents.TEXT),
        ("<p>Grüße".encode("utf-16"), documents.HTML),
        ("Grüße".encode("utf-16-be").join([b"\xfe\xff", b""]), documents.TEXT),
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


ARTICLE = """<html lang="de-AT"><head><meta charset="utf-8"><title>Ein Titel</title>
<meta property="article:published_time" content="2024-02-29T13:00:00+01:00"></head>
<body><article><p>Ein Satz, der wenig sagt, und noch einer, der nicht mehr zu sagen weiß.</p>
<p>Ein zweiter Absatz von 2019, damit es ein Artikel ist und keine bloße Zeile.</p></article>
<footer>Copyright 2021</footer></body></html>"""


def test_a_page_says_of_itself_what_it_can() -> None:
    """Title, language without its region, encoding, and the time in UTC; pages it has none."""
    found = structured(ARTICLE.encode())
    assert (found.title, found.language, found.encoding, found.pages) == (
        "Ein Titel",
        "de",
        "utf-8",
        None,
    )
    assert found.published == datetime(2024, 2, 29, 12, tzinfo=UTC)


def test_what_a_page_does_not_say_is_not_made_up() -> None:
    """A year in the text is no date; the language is told by the words."""
    silent = ARTICLE.replace(' lang="de-AT"', "").replace("2024-02-29T13:00:00+01:00", "")
    found = structured(silent.encode("cp1252").replace(b'"utf-8"', b'"latin1"'))
    assert (found.published, found.language, found.encoding) == (None, "de", "cp1252")


def test_plain_force_finds_title_language_and_encoding() -> None:
    """A time it does not look for."""
    found = plain(ARTICLE.encode("utf-16"))
    assert (found.title, found.language, found.encoding) == ("Ein Titel", "de", "utf-16-le")
    assert found.published is None


def test_a_pdf_has_pages_and_the_time_when_it_was_made() -> None:
    """Its text has no encoding of ours."""
    found = structured(PDF)
    assert (found.pages, found.language, found.encoding) == (1, "en", None)


@pytest.mark.parametrize("date", ["9999-99-99", "0000-00-00", "yesterday", "99999999-01-01"])
def test_a_date_that_is_none_costs_nothing(date: str) -> None:
    """The text is there."""
    found = structured(ARTICLE.replace("2024-02-29T13:00:00+01:00", date).encode())
    assert (found.published, found.title) == (None, "Ein Titel")


def test_a_title_is_no_text() -> None:
    """It is cut where a text would begin."""
    page = ARTICLE.replace("Ein Titel", "Titel " * 1000).encode()
    assert len(plain(page).title or "") == documents.TITLE_CHARS
