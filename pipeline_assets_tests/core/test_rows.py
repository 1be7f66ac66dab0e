"""Rows and Arrow tables: there and back again."""

import math
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.core.contract import ITEM_KEY, RESOURCE_KEY, list_of, stage_schema
from pipeline_assets.core.rows import Row, brought_up, from_table, to_table
from pipeline_assets.core.status import Status
from pipeline_assets.errors import ErrorKind
from pipeline_assets_tests.core.builders import LABEL, NOW, make_row, make_work

VALUES = (LABEL, pa.field("scores", list_of(pa.float32())))
SCHEMA = stage_schema(RESOURCE_KEY, VALUES)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
UNIT = st.floats(0, 1, width=32)
TIMES = st.datetimes(datetime(1970, 1, 2), datetime(2262, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Or nothing."""
    return st.one_of(st.none(), strategy)


ROWS = st.builds(
    Row,
    id=st.tuples(TEXT, st.sampled_from(["document", "image"])),
    values=st.tuples(maybe(TEXT), maybe(st.lists(UNIT, max_size=3))),
    status=st.sampled_from(Status),
    rung=maybe(TEXT),
    fallback_used=maybe(TEXT),
    confidence=maybe(UNIT),
    quality=maybe(UNIT),
    error_kind=maybe(st.sampled_from(ErrorKind).map(str)),
    error=maybe(TEXT),
    retryable=st.booleans(),
    retry_at=maybe(TIMES),
    attempts=st.integers(0, 2**15 - 1),
    cost_usd=st.floats(0, 1e6),
    key=maybe(TEXT),
    producer=maybe(TEXT),
    duration_ms=maybe(st.floats(0, 1e6, width=32)),
    run_id=maybe(TEXT),
    updated_at=maybe(TIMES),
)


@given(st.lists(ROWS, max_size=5))
def test_rows_survive_the_table_that_holds_them(rows: list[Row]) -> None:
    """Every column, in order; the statuses come back as statuses."""
    table = to_table(rows, SCHEMA)
    table.validate(full=True)
    assert table.schema == SCHEMA
    again = from_table(table, len(RESOURCE_KEY))
    assert again == rows
    assert all(isinstance(row.status, Status) for row in again)


def test_no_rows_are_a_typed_table() -> None:
    """No column is ever of the null type."""
    assert to_table([], SCHEMA).schema == SCHEMA
    assert from_table(SCHEMA.empty_table(), 2) == []


def test_columns_that_are_null_throughout_keep_their_type() -> None:
    """Typed from the first row on."""
    table = to_table([Row(("a", "image"), (None, None), Status.PENDING)], SCHEMA)
    assert table.schema.types == SCHEMA.types


def test_a_stage_without_values_of_its_own_has_rows_all_the_same() -> None:
    """The contract's columns are enough."""
    schema = stage_schema(ITEM_KEY, ())
    rows = [make_row(values=(), updated_at=NOW), make_row(Status.PENDING, id=("b",), values=())]
    assert from_table(to_table(rows, schema), 1) == rows


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(Row(("a",), ("chair", None), Status.OK), id="a key column is missing"),
        pytest.param(Row(("a", "image"), ("chair",), Status.OK), id="a value is missing"),
        pytest.param(Row(("a", "image"), ("x", None, 1), Status.OK), id="a value too many"),
    ],
)
def test_rows_that_do_not_fill_the_schema_are_refused(row: Row) -> None:
    """Rather than shifted by a column."""
    with pytest.raises(ValueError, match="rows have"):
        to_table([row], SCHEMA)


def test_rows_of_different_widths_are_refused() -> None:
    """All of them, since one is wrong."""
    rows = [Row(("a", "image"), (None,) * n, Status.PENDING) for n in (2, 1)]
    with pytest.raises(ValueError, match="zip"):
        to_table(rows, SCHEMA)


def test_float32_columns_round_and_nothing_else_does() -> None:
    """Quality 0.9 comes back as the nearest float32; cost in full."""
    row = make_row(quality=0.9, cost_usd=0.1)
    (again,) = from_table(to_table([row], stage_schema(ITEM_KEY, (LABEL,))), 1)
    assert again.quality is not None
    assert math.isclose(again.quality, 0.9, rel_tol=1e-7)
    assert again.cost_usd == 0.1


def test_work_gives_its_fields_by_name() -> None:
    """A field that nobody declared is a KeyError, never a silent None."""
    work = make_work("a", items_size=3)
    assert work["items.size"] == 3
    with pytest.raises(KeyError):
        work["items.colour"]


@given(st.lists(ROWS, max_size=5))
def test_a_table_of_another_schema_is_brought_up_to_the_present_one(rows: list[Row]) -> None:
    """What came later is null, what is no more is left, what is in both is kept."""
    table = to_table(rows, SCHEMA)
    assert brought_up(table, SCHEMA) is table
    other = stage_schema(RESOURCE_KEY, (pa.field("pages", pa.int32()), VALUES[0]))
    brought = brought_up(table, other)
    assert brought.schema.equals(other, check_metadata=True)
    assert [row.values for row in from_table(brought, 2)] == [(None, r.values[0]) for r in rows]
    assert [row[2:] for row in from_table(brought, 2)] == [row[2:] for row in rows]
