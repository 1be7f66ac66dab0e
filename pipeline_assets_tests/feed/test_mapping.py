"""Which column is which field: what may be said, and what it makes of a row."""

from datetime import UTC, datetime

import pytest

from pipeline_assets.feed.mapping import (
    AS_THEY_ARE,
    FeedMapping,
    check_said,
    parse_pairs,
)

NOW = datetime(2026, 3, 2, 6, tzinfo=UTC)
REST = {"item_id": "i", "name": "n", "kind": "'product'", "event_time": "t"}
COLUMNS = ["i", "n", "t", "x", "y"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", {}),
        ("item_id=Handle,name=Title", {"item_id": "Handle", "name": "Title"}),
        (" name = Body (HTML) , ", {"name": "Body (HTML)"}),
        ("name='a, b=c',kind=\"it's\"", {"name": "'a, b=c'", "kind": '"it\'s"'}),
        ("event_time=@modified", {"event_time": "@modified"}),
    ],
)
def test_pairs_are_read(text: str, said: dict[str, str]) -> None:
    """Names of columns may have spaces and brackets; commas need quotes."""
    assert parse_pairs(text) == said


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name", "'name': FIELD=Column"),
        ("name=", "FIELD=Column"),
        ("=Title", "FIELD=Column"),
        ("name='open", "FIELD=Column"),
        ("name=a,name=b", "'name=b': name has an origin already"),
    ],
)
def test_what_is_no_pair_is_refused(text: str, problem: str) -> None:
    """With what is allowed."""
    with pytest.raises(ValueError, match=problem):
        parse_pairs(text)


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"titel": "Title"}, "titel=Title: no field; one of item_id, name"),
        ({"name": "@modified"}, "only event_time=@modified"),
        ({"event_time": "@created"}, "only event_time=@modified"),
        ({"kind": "''"}, "names no column and no text"),
        ({"kind": "'product"}, "its quote is not closed"),
    ],
)
def test_what_can_be_no_mapping_is_refused_at_the_start(said: dict[str, str], problem: str) -> None:
    """Whatever columns the feed has."""
    with pytest.raises(ValueError, match=problem):
        check_said(said)


@pytest.mark.parametrize(
    ("origin", "values", "value"),
    [
        ("x", {"x": 5}, 5),
        ("x", {}, None),
        ("'red'", {}, "red"),
        ("'https://s/{x}.html'", {"x": " a "}, "https://s/a.html"),
        ("'{x}-{y}'", {"x": "a", "y": 7}, "a-7"),
        ("'{x}-{y}'", {"x": "a", "y": ""}, None),
        ("'{x}'", {"x": None}, None),
        ("'{x}'", {"x": ["a"]}, ["a"]),
        ("'{x}'", {"x": True}, True),
    ],
)
def test_a_field_is_a_column_or_a_text_with_columns(
    origin: str, values: dict[str, object], value: object
) -> None:
    """A text has no value where one of its columns has none."""
    mapped = FeedMapping({**REST, "description": origin}).over(COLUMNS)
    assert mapped.values(values, NOW)["description"] == value


def test_the_time_of_the_file_stands_in_for_one_of_the_row() -> None:
    """Where the feed has no times of its own."""
    mapped = FeedMapping({**REST, "event_time": "@modified"}).over(COLUMNS)
    assert mapped.values({}, NOW)["event_time"] == NOW


def test_fields_that_are_not_mapped_are_columns_of_their_own_name() -> None:
    """Where there are any; the others have no value."""
    mapped = FeedMapping({"name": "Title"}).over(["item_id", "Title", "kind", "event_time", "name"])
    values = {"item_id": "1", "Title": "t", "kind": "k", "event_time": "e", "name": "no"}
    assert mapped.values(values, NOW) == {
        "item_id": "1",
        "name": "t",
        "kind": "k",
        "event_time": "e",
    }


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({}, "it has no column 'item_id'; it has 'i', 'n', 't', 'x', 'y'; required are item_id"),
        (
            {**REST, "image_url": "Image Src"},
            "it has no column 'Image Src', which PIPELINE_FEED_COLUMNS takes for image_url; it has",
        ),
        ({**REST, "image_url": "'http://s/{img}'"}, "it has no column 'img', which"),
    ],
)
def test_a_column_that_is_missing_is_named_with_those_that_are_there(
    said: dict[str, str], problem: str
) -> None:
    """One clear error."""
    with pytest.raises(ValueError, match=problem):
        FeedMapping(said).over(COLUMNS)


def test_a_column_that_is_there_twice_is_refused_only_where_it_is_read() -> None:
    """Exports repeat columns that nobody needs."""
    names = [*REST, "colour", "colour"]
    assert AS_THEY_ARE.shown(names).unknown == ("colour",)
    with pytest.raises(ValueError, match="'name' is there twice"):
        AS_THEY_ARE.over([*names, "name"])
