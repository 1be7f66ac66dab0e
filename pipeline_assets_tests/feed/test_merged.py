"""Rows of one item right after one another: what becomes of them as one."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.feed.merged import merged
from pipeline_assets.feed.rows import RawRow


def test_of_each_field_the_first_value_counts() -> None:
    """Under the first row's line, whatever the order of what is empty."""
    rows = [
        RawRow(2, {"item_id": "a", "name": "Shirt", "image_url": ""}),
        RawRow(3, {"item_id": " a ", "name": "", "image_url": "1.jpg"}),
        RawRow(4, {"item_id": "a", "name": "Other", "image_url": "2.jpg"}),
        RawRow(5, {"item_id": "b", "name": "Hat"}),
        RawRow(6, {"item_id": "a", "name": "Again"}),
    ]
    assert list(merged(rows)) == [
        RawRow(2, {"item_id": "a", "name": "Shirt", "image_url": "1.jpg"}),
        rows[3],
        rows[4],
    ]


def test_a_problem_of_any_row_is_the_items() -> None:
    """So that it is not lost; a row without an id stays by itself."""
    rows = [
        RawRow(2, {"item_id": "a", "name": "Shirt"}),
        RawRow(3, {"item_id": "a"}, "line 3 has 1 fields where the header has 2"),
        RawRow(4, {}, "line 4 is not CSV"),
        RawRow(5, {}, "line 5 is not CSV"),
    ]
    whole, *others = merged(rows)
    assert (whole.line, whole.values["name"]) == (2, "Shirt")
    assert whole.problem == "line 3 has 1 fields where the header has 2"
    assert others == rows[2:]


@given(st.lists(st.sampled_from(["a", "b", None])))
def test_every_item_keeps_a_row(items: list[str | None]) -> None:
    """And as many as there are changes from one to another."""
    rows = [RawRow(line, {"item_id": item}) for line, item in enumerate(items)]
    expected = [
        item
        for line, item in enumerate(items)
        if line == 0 or item is None or items[line - 1] != item
    ]
    assert [row.values["item_id"] for row in merged(rows)] == expected
