"""The list of what is kept out."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.core.forgotten import ITEM, URL, Forgotten, mark


@given(st.text(), st.text())
def test_what_is_on_it_is_known_and_nothing_else(name: str, other: str) -> None:
    """An item is no URL, though it may be called like one."""
    forgotten = Forgotten(frozenset({mark(ITEM, name)}))
    assert forgotten.item(name)
    assert forgotten.item(other) == (name == other)
    assert not forgotten.url(name)
    assert Forgotten(frozenset({mark(URL, name)})).url(name)


def test_a_name_that_is_not_there_is_not_on_it() -> None:
    """A bad line of the feed may have none."""
    assert not Forgotten(frozenset({mark(ITEM, "None")})).item(None)
    assert not Forgotten().url("https://shop.example/1.jpg")
