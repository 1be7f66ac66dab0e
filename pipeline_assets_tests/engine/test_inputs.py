"""What a shard's rows are given of the upstream tables."""

from pathlib import Path
from typing import Any

import pytest

from pipeline_assets.core.rows import Row, Work, to_table
from pipeline_assets.core.status import Status
from pipeline_assets.engine.inputs import read_works, row_ids
from pipeline_assets.ingest import items
from pipeline_assets.stages import extract_text, fetch, validate
from pipeline_assets.store.tables import Tables
from pipeline_assets_tests.conftest import HOUR, HOUR_START

EVERYTHING = ("", "z")
STRICT = frozenset({"items"})


def item(name: str, document: str | None = None, **state: Any) -> Row:
    """A row of `items`."""
    values = (name, "product", None, document, None, HOUR_START, "batch", 1)
    made: dict[str, Any] = {"status": Status.OK, "rung": "feed", "quality": 1.0, **state}
    return Row((name,), values, **made)


def resource(name: str, role: str, sha: str, **state: Any) -> Row:
    """A row of `validated`."""
    made: dict[str, Any] = {"status": Status.OK, "rung": "full_decode", "quality": 1.0, **state}
    return Row((name, role), ("text/html", None, None, None, sha), **made)


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    """Three items, of which one is a bad feed row; nothing downstream."""
    made = Tables(tmp_path)
    bad: dict[str, Any] = {
        "status": Status.FAILED,
        "rung": None,
        "quality": 0.0,
        "error_kind": "invalid_input",
        "error": "line 3 of the feed: name is empty",
    }
    rows = [item("a", "http://x/a"), item("b"), item("c", **bad)]
    made.write("items", HOUR, to_table(rows, items.SCHEMA))
    return made


def works(
    tables: Tables, stage: object = fetch.STAGE, span: tuple[str, str] = EVERYTHING
) -> dict[str, Work]:
    """The works of a stage by id."""
    found = read_works(tables, stage, HOUR, span, STRICT)  # type: ignore[arg-type]
    return {"/".join(work.id): work for work in found}


def test_a_resource_stage_has_a_work_for_each_role(tables: Tables) -> None:
    """In order of id, with what `derive` makes of the item."""
    found = works(tables)
    assert list(found) == [
        "a/document",
        "a/image",
        "b/document",
        "b/image",
        "c/document",
        "c/image",
    ]
    assert found["a/document"]["url"] == "http://x/a"
    assert found["a/image"]["url"] is None
    ids = row_ids(tables, fetch.STAGE, HOUR, ("b", "b"))
    assert ids.to_pydict() == {"item_id": ["b", "b"], "role": ["document", "image"]}


def test_only_the_items_asked_for_are_read(tables: Tables) -> None:
    """Both ends included."""
    assert list(works(tables, span=("b", "b"))) == ["b/document", "b/image"]


def test_a_failed_row_of_a_strict_table_blocks_with_its_reason(tables: Tables) -> None:
    """The others go on."""
    found = works(tables)
    assert found["a/document"].blocked is None
    assert found["c/document"].blocked == "items failed: line 3 of the feed: name is empty"


def test_an_upstream_that_has_not_run_blocks(tables: Tables) -> None:
    """A status, not an exception."""
    assert works(tables, validate.STAGE)["a/document"].blocked == "fetched has no row for it yet"


def test_a_pending_upstream_blocks_and_a_skipped_one_does_not(tables: Tables) -> None:
    """What was deliberately not done is an answer."""
    fetched = [
        Row(("a", "document"), (None,) * 9, Status.PENDING, error="interrupted"),
        Row(("a", "image"), (None,) * 9, Status.SKIPPED, quality=0.5, error_kind="timeout",
            error="no answer"),
    ]  # fmt: skip
    tables.write("fetched", HOUR, to_table(fetched, fetch.STAGE.schema))
    found = works(tables, validate.STAGE, ("a", "a"))
    assert found["a/document"].blocked == "fetched is pending: interrupted"
    assert found["a/image"].blocked is None
    assert found["a/image"]["fetched.error"] == "no answer"


def test_an_item_stage_is_given_the_row_of_the_role_that_it_names(tables: Tables) -> None:
    """The document's row and not the picture's."""
    validated = [resource("a", "document", "d" * 64), resource("a", "image", "e" * 64)]
    tables.write("validated", HOUR, to_table(validated, validate.STAGE.schema))
    fetched = [
        Row(("a", role), ("u", None, "p", 1, 2, "d" * 64, None, None, HOUR_START), Status.OK,
            rung="http", quality=1.0)
        for role in ("document", "image")
    ]  # fmt: skip
    tables.write("fetched", HOUR, to_table(fetched, fetch.STAGE.schema))
    work = works(tables, extract_text.STAGE, ("a", "a"))["a"]
    assert work.blocked is None
    assert work["validated.document.sha256"] == "d" * 64
    assert work["fetched.document.pack"] == "p"


def test_a_column_that_a_table_is_too_old_for_is_null(tables: Tables) -> None:
    """The table is read, and brought up when it is next written."""
    fetched = [
        Row(("a", "image"), (None,) * 9, Status.SKIPPED, quality=0.5, error_kind="timeout",
            error="no answer"),
    ]  # fmt: skip
    table = to_table(fetched, fetch.STAGE.schema)
    tables.write("fetched", HOUR, table.drop_columns(["sha256"]))
    work = works(tables, validate.STAGE, ("a", "a"))["a/image"]
    assert (work["fetched.sha256"], work["fetched.error"]) == (None, "no answer")


def test_an_hour_without_items_has_no_works(tmp_path: Path) -> None:
    """No shard, no work."""
    empty = Tables(tmp_path)
    empty.write("items", HOUR, items.SCHEMA.empty_table())
    assert empty.pieces("items", HOUR, 1) == []
    assert works(empty) == {}
