"""Which rows tell of an item or a URL."""

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.upkeep.traces import Traces, is_telling, without, without_urls

URL, OTHER_URL, SECRET = "https://h/1.jpg", "https://h/2.jpg", "https://u:p@h/1.jpg?token=x"
HOUR = "2026-03-02-06"
OF_URL = Traces(urls=frozenset({URL}))
OF_IMAGE = Traces(resources=frozenset({(HOUR, "a", "image")}))


def rows(**columns: list[Any]) -> pa.Table:
    """A table of text columns."""
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})


@pytest.mark.parametrize(
    ("traces", "table", "found"),
    [
        (Traces(items=frozenset({"a"})), rows(item_id=["a", "b", "ab", None]), [1, 0, 0, 0]),
        (Traces(items=frozenset({"a"})), rows(other=["a"]), [0]),
        (OF_URL, rows(item_id=["a", "b", "c"], url=[URL, OTHER_URL, None]), [1, 0, 0]),
        (OF_URL, rows(item_id=["a", "b"], image_url=[None, URL]), [0, 1]),
        (OF_URL, rows(error=[f"{URL}: the server answered 404", "404", None]), [1, 0, 0]),
        (OF_URL, rows(problem=[f"document_url {URL!r} is no"]), [1]),
        (OF_URL, rows(description=[URL]), [0]),
        (Traces(urls=frozenset({SECRET})), rows(error=["https://h/1.jpg?token=***: 404"]), [1]),
        (OF_IMAGE, rows(item_id=["a", "a", "b"], role=["image", "document", "image"]), [1, 0, 0]),
        (OF_IMAGE, rows(item_id=["a", "a"], role=[None, "document"]), [1, 0]),
        (OF_IMAGE, rows(item_id=["a", "b"], text=["of a", "of b"]), [1, 0]),
        (Traces(resources=frozenset({("2026-03-02-07", "a", "image")})), rows(item_id=["a"]), [0]),
        (Traces(), rows(item_id=["a"], url=[URL], error=[None]), [0]),
    ],
)
def test_rows_are_found_by_their_columns(traces: Traces, table: pa.Table, found: list[int]) -> None:
    """Whatever the table is called, and whatever else it has."""
    assert traces.found_in(HOUR, table).to_pylist() == list(map(bool, found))


@pytest.mark.parametrize(
    ("table", "resources"),
    [
        (rows(item_id=["a"], image_url=[URL]), {("a", ""), ("a", "image")}),
        (rows(item_id=["a"], role=["document"], url=[URL]), {("a", "document")}),
        (rows(item_id=["a"], error=[f"{URL} is gone"]), {("a", "")}),
        (rows(item_id=[None], problem=[URL]), set()),
        (rows(item_id=["a"], image_url=[OTHER_URL]), set()),
    ],
)
def test_a_url_leads_to_what_it_is_to_an_item(
    table: pa.Table, resources: set[tuple[str, str]]
) -> None:
    """Of that hour alone."""
    found = OF_URL.of(HOUR, table)
    assert found.resources == {(HOUR, *each) for each in resources}


def test_an_item_leads_to_its_urls() -> None:
    """Whose copies may be its own."""
    table = rows(item_id=["a", "b"], document_url=[URL, None], image_url=[OTHER_URL, SECRET])
    assert Traces(items=frozenset({"a"})).of(HOUR, table).sources == {URL, OTHER_URL}


def test_an_item_may_lose_its_urls() -> None:
    """In its columns, and in what is said of them; the rest is as it was."""
    table = rows(item_id=["a"], image_url=[URL], document_url=[OTHER_URL], error=[f"{URL}: no"])
    assert without_urls(table, frozenset({URL})).to_pylist() == [
        {"item_id": "a", "image_url": None, "document_url": OTHER_URL, "error": "…: no"}
    ]
    assert without_urls(table, frozenset({SECRET})) is table


@given(st.lists(st.sampled_from("abc")), st.sets(st.sampled_from("abcd")))
def test_what_is_taken_out_is_not_found_again(items: list[str], gone: set[str]) -> None:
    """And a table in which nothing is found is the same table."""
    traces, table = Traces(items=frozenset(gone)), rows(item_id=items)
    left = without(table, traces.found_in(HOUR, table))
    assert left["item_id"].to_pylist() == [item for item in items if item not in gone]
    assert without(left, traces.found_in(HOUR, left)) is left


@pytest.mark.parametrize(
    ("column", "telling"),
    [
        ("item_id", 1),
        ("role", 1),
        ("url", 1),
        ("image_url", 1),
        ("error", 1),
        ("text", 0),
        ("curl", 0),
    ],
)
def test_few_columns_are_read_to_find_rows(column: str, telling: int) -> None:
    """Texts and vectors are not."""
    assert is_telling(column) == bool(telling)
