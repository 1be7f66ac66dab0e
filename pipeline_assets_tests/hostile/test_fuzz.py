"""Sound files with anything done to them, as Hypothesis thinks of it."""

from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.documents.documents import HTML, PDF, TEXT, Document, sniff
from pipeline_assets.documents.parsers import Parsers
from pipeline_assets.documents.pictures import decode, open_picture
from pipeline_assets.errors import DataError
from pipeline_assets_tests.hostile.pages import sound_pages
from pipeline_assets_tests.hostile.pdf_files import sound_pdfs
from pipeline_assets_tests.hostile.pictures import sound_pictures

MAX_PIXELS = 100_000

Edit = tuple[float, int, bytes]
"""Where, as a share of the file; how many bytes go; what comes in their place."""

EDITS = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 64), st.binary(max_size=16)), min_size=1, max_size=8
)


def edited(data: bytes, edits: list[Edit]) -> bytes:
    """The file, spoilt."""
    for share, gone, instead in edits:
        at = int(share * len(data))
        data = data[:at] + instead + data[at + gone :]
    return data


def spoilt(sound: dict[str, bytes]) -> st.SearchStrategy[bytes]:
    """Any of the sound files, spoilt."""
    return st.builds(edited, st.sampled_from(list(sound.values())), EDITS)


@pytest.fixture(scope="module")
def parsers() -> Iterator[Parsers]:
    """Real ones."""
    opened = Parsers(10, 500_000_000)
    yield opened
    opened.close()


@given(spoilt(sound_pictures()))
def test_a_spoilt_picture_is_a_picture_or_a_data_error(data: bytes) -> None:
    """Whatever is decoded is in RGB and within the limit."""
    for at_least in (None, 1):
        try:
            size = open_picture(data, MAX_PIXELS).size
            picture = decode(data, MAX_PIXELS, at_least=at_least)
        except DataError:
            continue
        assert picture.mode == "RGB"
        assert picture.width * picture.height <= size[0] * size[1] <= MAX_PIXELS


@given(st.one_of(st.binary(max_size=200), spoilt({**sound_pages(), **sound_pdfs()})))
def test_any_bytes_are_a_document_of_some_kind_or_a_data_error(data: bytes) -> None:
    """By content alone."""
    with suppress(DataError):
        assert sniff(data) in (PDF, HTML, TEXT)


@given(data=spoilt({**sound_pages(), **sound_pdfs()}))
def test_a_spoilt_document_is_a_document_or_a_data_error(parsers: Parsers, data: bytes) -> None:
    """By either way, and none of it is a bug."""
    looks: list[Callable[[bytes], Document]] = [parsers.structured, parsers.plain]
    for look in looks:
        try:
            found = look(data)
        except DataError:
            continue
        assert found.text.strip()
        assert found.title != ""


@given(data=spoilt(sound_pdfs()))
def test_a_spoilt_pdf_has_pages_or_a_data_error(parsers: Parsers, data: bytes) -> None:
    """None at all is an error."""
    with suppress(DataError):
        assert parsers.count_pages(data) > 0
