"""The contract's columns, and the structural rules that every published table keeps."""

import math
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.core.contract import (
    CONTRACT,
    CONTRACT_NAMES,
    ITEM_KEY,
    MEANINGS,
    RESOURCE_KEY,
    SCHEMA_VERSION,
    SCHEMA_VERSION_KEY,
    broken_rules,
    check_contract,
    list_of,
    stage_schema,
)
from pipeline_assets.core.hours import hour_name
from pipeline_assets.core.status import Status
from pipeline_assets.errors import ContractError, ErrorKind
from pipeline_assets_tests.core.builders import LABEL

SCHEMA = stage_schema(ITEM_KEY, (LABEL,))
REQUIRED = ("label",)
BASE: dict[str, Any] = {"item_id": "a", "retryable": False, "attempts": 1, "cost_usd": 0.0}
WHY: dict[str, Any] = {"error_kind": "timeout", "error": "slow"}
OK: dict[str, Any] = {"status": "ok", "rung": "primary", "quality": 1.0, "label": "chair"}
FALLBACK: dict[str, Any] = {**OK, "rung": "cpu", "fallback_used": "cpu", "quality": 0.9, **WHY}
SKIPPED: dict[str, Any] = {"status": "skipped", "quality": 0.5, "confidence": 0.0, **WHY}
FAILED: dict[str, Any] = {"status": "failed", "quality": 0.5, **WHY}
PENDING: dict[str, Any] = {"status": "pending"}
BLOCKED: dict[str, Any] = {**PENDING, "error_kind": "upstream", "error": "items failed: bad time"}
NOT_APPLICABLE: dict[str, Any] = {"status": "not-applicable", "quality": 1.0}
GOOD = (OK, FALLBACK, SKIPPED, FAILED, PENDING, BLOCKED, NOT_APPLICABLE)


def table_of(*rows: dict[str, Any]) -> pa.Table:
    """A table of rows; what they do not name is as on any row."""
    columns = {
        field.name: pa.array([{**BASE, **row}.get(field.name) for row in rows], field.type)
        for field in SCHEMA
    }
    return pa.table(columns, schema=SCHEMA)


@pytest.mark.parametrize("row", GOOD)
def test_a_good_row_of_each_status_passes(row: dict[str, Any]) -> None:
    """Alone, and among the others."""
    assert broken_rules(table_of(row), REQUIRED) == []
    check_contract("labels", table_of(*GOOD), REQUIRED)


def test_a_table_without_rows_passes() -> None:
    """An hour without items is a valid hour."""
    assert broken_rules(SCHEMA.empty_table(), REQUIRED) == []


@pytest.mark.parametrize("kind", ErrorKind)
def test_every_kind_of_the_taxonomy_may_stand_in_a_row(kind: ErrorKind) -> None:
    """The column and the module of errors have one vocabulary."""
    assert broken_rules(table_of({**FAILED, "error_kind": str(kind)})) == []


QUALITY, CONFIDENCE = "quality is outside 0..1", "confidence is outside 0..1"
NULL_QUALITY = "quality is null exactly on pending rows"
SAYS_WHY = "failed and skipped rows say why"
RUNG = "rung is set exactly on ok rows"


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ({**OK, "status": "done", "rung": None}, "status is not one of the five"),
        ({**OK, "status": "OK", "rung": None}, "status is not one of the five"),
        ({**PENDING, "status": None}, "status is not one of the five"),
        ({**FAILED, "error_kind": "oops"}, "error_kind is not in the taxonomy"),
        ({**FAILED, "error_kind": ""}, "error_kind is not in the taxonomy"),
        ({**OK, "rung": None}, RUNG),
        ({**FAILED, "rung": "primary"}, RUNG),
        ({**PENDING, "rung": "primary"}, RUNG),
        ({**SKIPPED, "fallback_used": "cpu"}, "fallback_used only on ok rows"),
        ({**OK, "quality": None}, NULL_QUALITY),
        ({**NOT_APPLICABLE, "quality": None}, NULL_QUALITY),
        ({**PENDING, "quality": 0.5}, NULL_QUALITY),
        ({**OK, "quality": 1.001}, QUALITY),
        ({**OK, "quality": -0.001}, QUALITY),
        ({**OK, "quality": math.nan}, QUALITY),
        ({**OK, "quality": math.inf}, QUALITY),
        ({**OK, "confidence": 1.001}, CONFIDENCE),
        ({**OK, "confidence": -math.inf}, CONFIDENCE),
        ({**OK, "confidence": math.nan}, CONFIDENCE),
        ({**FAILED, "error": None}, SAYS_WHY),
        ({**FAILED, "error_kind": None}, SAYS_WHY),
        ({**SKIPPED, "error": None}, SAYS_WHY),
        ({**SKIPPED, "error_kind": None}, SAYS_WHY),
        ({**FALLBACK, "error_kind": None}, "a fallback says why no better rung made it"),
        ({**OK, "label": None}, "label is null on an ok row"),
    ],
)
def test_a_row_that_breaks_a_rule_is_found_among_good_ones(row: dict[str, Any], rule: str) -> None:
    """The mask marks that row and no other; the table is not published, and the error says why."""
    table = table_of(*GOOD, {**row, "item_id": "the bad one"}, *GOOD)
    broken = dict(broken_rules(table, REQUIRED))
    assert list(broken) == [rule]
    assert table.filter(broken[rule])["item_id"].to_pylist() == ["the bad one"]
    with pytest.raises(ContractError, match="the bad one") as refused:
        check_contract("labels of 2026-03-02-06", table, REQUIRED)
    assert refused.value.rule == rule
    assert "labels of 2026-03-02-06 is not published, the previous table stays" in str(
        refused.value
    )


@given(st.one_of(st.none(), st.floats(width=32)))
def test_quality_and_confidence_are_within_the_unit_or_refused(share: float | None) -> None:
    """For every number there is, and for those that are not numbers."""
    inside = share is not None and 0 <= share <= 1
    rules = dict(broken_rules(table_of({**OK, "quality": share, "confidence": share})))
    assert (not rules) is inside
    assert (CONFIDENCE in rules) is (share is not None and not inside)


def test_a_stage_table_has_key_values_and_contract_in_this_order() -> None:
    """Names, order and types are relied on from outside."""
    schema = stage_schema(RESOURCE_KEY, (LABEL,))
    assert schema.names == ["item_id", "role", "label", *CONTRACT_NAMES]
    assert schema.metadata == {SCHEMA_VERSION_KEY: str(SCHEMA_VERSION).encode()}
    assert [(field.name, str(field.type)) for field in CONTRACT] == [
        ("status", "string"),
        ("rung", "string"),
        ("fallback_used", "string"),
        ("confidence", "float"),
        ("quality", "float"),
        ("error_kind", "string"),
        ("error", "string"),
        ("retryable", "bool"),
        ("retry_at", "timestamp[us, tz=UTC]"),
        ("attempts", "int16"),
        ("cost_usd", "double"),
        ("key", "string"),
        ("producer", "string"),
        ("duration_ms", "float"),
        ("run_id", "string"),
        ("updated_at", "timestamp[us, tz=UTC]"),
    ]


def test_every_shared_column_says_what_it_means() -> None:
    """Those of the key as well."""
    assert list(MEANINGS) == [*(field.name for field in RESOURCE_KEY), *CONTRACT_NAMES]


def test_there_are_five_statuses() -> None:
    """One of the five, never null."""
    assert set(Status) == {"pending", "failed", "not-applicable", "skipped", "ok"}


def test_a_list_type_is_declared_as_parquet_gives_it_back() -> None:
    """Its element is called `element`."""
    assert list_of(pa.string()).field(0) == pa.field("element", pa.string())


@pytest.mark.parametrize(
    ("hour", "name"),
    [
        (datetime(2026, 3, 2, 6, tzinfo=UTC), "2026-03-02-06"),
        (datetime(2026, 12, 31, 23, tzinfo=UTC), "2026-12-31-23"),
        (datetime(2027, 1, 1, 0, tzinfo=UTC), "2027-01-01-00"),
    ],
)
def test_an_hour_is_named_so_that_names_sort_by_time(hour: datetime, name: str) -> None:
    """`YYYY-MM-DD-HH`, without a colon."""
    assert hour_name(hour) == name
