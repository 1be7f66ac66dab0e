"""Search by a picture's vector, and for more like an item."""

import pytest

from pipeline_assets.search import NotIndexed, SearchIndex
from pipeline_assets_tests.search.samples import HOUR, embed, item, pictured, table


@pytest.fixture
def shelf(index: SearchIndex) -> SearchIndex:
    """Things with and without pictures, in two spaces."""
    rows = [
        pictured("red-mug", "red", name="Enamel mug", label="mug"),
        pictured("red-pot", "red round", name="Pot"),
        pictured("blue-mug", "blue", name="Mug", space="clip-b"),
        pictured("blue-pot", "blue", name="Pan"),
        item("mug", "Plain mug"),
    ]
    index.replace_hour(HOUR, table(*rows))
    return index


def test_a_picture_finds_what_looks_like_it(shelf: SearchIndex) -> None:
    """In the spaces that it was embedded in, best first."""
    hits = shelf.nearest({"clip-a": embed(["red"])[0]})
    assert [hit.item_id for hit in hits] == ["red-mug", "red-pot"]
    assert all(hit.ranks.keys() == {"vector:clip-a:image"} for hit in hits)


def test_more_like_an_item_are_others_by_look_and_by_words(shelf: SearchIndex) -> None:
    """Also of other spaces, and without a vector; never the item itself."""
    found = [hit.item_id for hit in shelf.like("red-mug")]
    assert set(found) == {"red-pot", "blue-mug", "mug"}
    assert [hit.item_id for hit in shelf.like("mug", top=1)] == ["blue-mug"]
    assert len(shelf.like("red-mug", top=2)) == 2


def test_nothing_is_like_an_item_that_is_not_current(shelf: SearchIndex) -> None:
    """Which is said, instead of finding nothing."""
    with pytest.raises(NotIndexed, match="no current item 'tea'"):
        shelf.like("tea")


def test_nothing_is_like_anything_where_there_is_no_index(index: SearchIndex) -> None:
    """Likewise."""
    assert index.nearest({"clip-a": embed(["red"])[0]}) == []
    with pytest.raises(NotIndexed):
        index.like("tea")
