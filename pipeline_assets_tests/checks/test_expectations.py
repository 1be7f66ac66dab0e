"""What the structure and the quality suite accept, and what they say of what they do not."""

import logging
import socket
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from pipeline_assets.checks.expectations import (
    validate_no_bugs,
    validate_quality,
    validate_structure,
)
from pipeline_assets.checks.limits import QualityLimits, default_limits
from pipeline_assets.checks.suites import (
    SAMPLE_ROWS,
    FailedExpectation,
    SuiteError,
    SuiteResult,
    run_suite,
)
from pipeline_assets.checks.suites import rule as suite_rule
from pipeline_assets.core.contract import RESOURCE_KEY, stage_schema
from pipeline_assets.core.names import ENRICHED
from pipeline_assets_tests.checks.tables import (
    FAILED,
    FALLBACK,
    GOOD,
    KEY,
    NOT_APPLICABLE,
    OK,
    PENDING,
    REQUIRED,
    SCHEMA,
    SKIPPED,
    rows_table,
)


def structure(table: pa.Table, **options: Any) -> SuiteResult:
    """The structure suite with the key and required columns of the small tables."""
    return validate_structure(
        table, **{"name": "image_labels", "key": KEY, "required": REQUIRED, **options}
    )


def quality(*scores: float | None, threshold: float = 0.8, **limits: float) -> SuiteResult:
    """The quality suite over rows with these scores, with these limits beside the usual ones."""
    rows = [OK | {"quality": score} if score is not None else PENDING for score in scores]
    usual = default_limits(ENRICHED, threshold)
    return validate_quality(
        rows_table(*rows), name=ENRICHED, threshold=threshold, limits=replace(usual, **limits)
    )


def test_one_row_of_each_status_passes() -> None:
    """Every status has a form in which it is good."""
    result = structure(rows_table(*GOOD), schema=SCHEMA)
    assert result == SuiteResult(passed=True, evaluated=22)


def test_an_empty_table_passes() -> None:
    """An hour without items is a table of 0 rows, and sound."""
    assert structure(rows_table(), schema=SCHEMA).passed


@pytest.mark.parametrize(
    ("row", "rule", "column"),
    [
        (NOT_APPLICABLE | {"status": "done"}, "status is one of the five", "status"),
        (NOT_APPLICABLE | {"status": None}, "status is never null", "status"),
        (OK | {"retryable": None}, "retryable is never null", "retryable"),
        (OK | {"attempts": None}, "attempts is never null", "attempts"),
        (OK | {"cost_usd": None}, "cost_usd is never null", "cost_usd"),
        (FAILED | {"error_kind": "oops"}, "error_kind is in the taxonomy", "error_kind"),
        (OK | {"quality": 1.01}, "quality is within 0..1", "quality"),
        (OK | {"quality": -0.01}, "quality is within 0..1", "quality"),
        (OK | {"confidence": 1.5}, "confidence is within 0..1", "confidence"),
        (OK | {"rung": None}, "an ok row names its rung", "rung"),
        (FAILED | {"rung": "http"}, "only an ok row has a rung", "rung"),
        (PENDING | {"rung": "http"}, "only an ok row has a rung", "rung"),
        (SKIPPED | {"fallback_used": "x"}, "only an ok row has a fallback", "fallback_used"),
        (
            FALLBACK | {"error_kind": None},
            "a fallback says why no better rung made it",
            "error_kind",
        ),
        (PENDING | {"quality": 0.5}, "a pending row has no quality yet", "quality"),
        (OK | {"quality": None}, "a row that is not pending has a quality", "quality"),
        (OK | {"quality": float("nan")}, "a row that is not pending has a quality", "quality"),
        (NOT_APPLICABLE | {"quality": None}, "a row that is not pending has a quality", "quality"),
        (
            FAILED | {"error_kind": None},
            "a failed or skipped row has an error kind",
            "error_kind",
        ),
        (SKIPPED | {"error": None}, "a failed or skipped row says what went wrong", "error"),
        (OK | {"label": None}, "an ok row has label", "label"),
        (FALLBACK | {"vector": None}, "an ok row has vector", "vector"),
    ],
)
def test_a_broken_row_fails_exactly_its_rule(row: dict[str, Any], rule: str, column: str) -> None:
    """Nothing but the broken rule is reported, with the key of the row."""
    result = structure(rows_table(*GOOD, row | {"item_id": "broken"}))
    assert not result.passed
    assert [(f.rule, f.column, f.unexpected, f.sample) for f in result.failures] == [
        (rule, column, 1, ("broken",))
    ]


def test_a_key_that_comes_twice_fails_for_both_rows() -> None:
    """Each of the rows is counted and shown."""
    (failure,) = structure(rows_table(OK, OK | {"item_id": "i0"})).failures
    assert (failure.rule, failure.column) == ("no two rows have the same key", "item_id")
    assert (failure.unexpected, failure.sample) == (2, ("i0", "i0"))


def test_a_compound_key_is_unique_as_a_whole() -> None:
    """The same item may come once per role; its sample names both parts."""
    schema = stage_schema(RESOURCE_KEY, [])
    good = [OK | {"item_id": "a", "role": role} for role in ("image", "document")]
    options: dict[str, Any] = {"key": ("item_id", "role"), "required": ()}
    assert structure(rows_table(*good, schema=schema), **options).passed
    (failure,) = structure(rows_table(*good, good[0], schema=schema), **options).failures
    assert failure.column == "item_id, role"
    assert failure.sample == ("a/image", "a/image")


def test_a_sample_has_at_most_five_rows() -> None:
    """All are counted, few are shown."""
    (failure,) = structure(rows_table(*[OK | {"rung": None}] * 9)).failures
    assert failure.unexpected == 9
    assert failure.sample == tuple(f"i{n}" for n in range(SAMPLE_ROWS))


@pytest.mark.parametrize(
    ("table", "rule", "columns"),
    [
        (
            rows_table(OK).drop_columns(["updated_at"]),
            "the columns are those of the schema, in its order",
            ("updated_at",),
        ),
        (
            rows_table(OK).append_column("extra", pa.array([1])),
            "the columns are those of the schema, in its order",
            ("extra",),
        ),
        (
            rows_table(OK).select([*SCHEMA.names[:-2], "updated_at", "run_id"]),
            "the columns are those of the schema, in its order",
            ("run_id", "updated_at"),
        ),
        (
            rows_table(OK).set_column(
                SCHEMA.get_field_index("quality"), "quality", pa.array([1.0], pa.float64())
            ),
            "the columns have the types of the schema",
            ("quality",),
        ),
        (
            rows_table(OK).set_column(SCHEMA.get_field_index("retry_at"), "retry_at", pa.nulls(1)),
            "the columns have the types of the schema",
            ("retry_at",),
        ),
    ],
)
def test_wrong_columns_are_named_and_rows_not_judged(
    table: pa.Table, rule: str, columns: tuple[str, ...]
) -> None:
    """A missing, added, moved or differently typed column is the only thing reported."""
    (failure,) = structure(table, schema=SCHEMA).failures
    assert (failure.rule, failure.sample) == (rule, columns)


def test_without_a_schema_the_contract_columns_are_still_checked() -> None:
    """The stage's own columns may be anything; key and contract may not."""
    own = rows_table(OK).rename_columns({"label": "category"})
    assert structure(own, required=()).passed
    assert not structure(own.drop_columns(["key"]), required=()).passed


def test_good_rows_pass_the_quality_suite_with_their_numbers() -> None:
    """The numbers are there for plots, also when all is well."""
    result = quality(1.0, 1.0, 0.9, 0.8, None)
    assert result.passed
    assert result.numbers == pytest.approx(
        {
            "share_scored": 0.8,
            "share_at_threshold": 1.0,
            "mean": 0.925,
            "tenth_percentile": 0.8,
            "share_ok": 1.0,
        }
    )


def test_a_score_at_the_threshold_counts_in_spite_of_float32() -> None:
    """1.0 x 0.9 x 0.8 is 0.72, and so is what float32 makes of it."""
    assert quality(0.72, threshold=0.72).passed
    assert not quality(0.7199, threshold=0.72).passed


@pytest.mark.parametrize(
    ("scores", "options", "broken"),
    [
        ([1.0] * 7 + [0.79] * 3, {}, ["at least 80% of the rows reach 0.8"]),
        ([1.0] * 7 + [0.79] * 3, {"share": 0.7}, []),
        ([0.9] * 10, {"mean": 0.95}, ["the mean is at least 0.95"]),
        ([1.0] * 8 + [0.2] * 2, {}, ["the tenth percentile is at least 0.5"]),
        ([1.0] * 8 + [0.2] * 2, {"p10": 0.2}, []),
        ([None, None], {}, ["some rows have a quality"]),
    ],
)
def test_low_quality_says_which_limit(
    scores: list[float | None], options: dict[str, float], broken: list[str]
) -> None:
    """Each limit fails alone, and can be another."""
    assert [f.rule for f in quality(*scores, **options).failures] == broken


@pytest.mark.parametrize(
    ("rows", "limit", "broken"),
    [
        ([OK] * 4 + [FAILED], 0.8, 0),
        ([OK] * 4 + [FAILED], 0.81, 1),
        ([OK] * 4 + [SKIPPED] + [PENDING, NOT_APPLICABLE] * 5, 0.8, 0),
        ([OK] * 3 + [SKIPPED] + [PENDING, NOT_APPLICABLE] * 5, 0.8, 1),
        ([FAILED] * 3, None, 0),
        ([NOT_APPLICABLE] * 3, 1.0, 0),
    ],
)
def test_the_share_of_ok_rows_is_one_of_those_with_something_to_do(
    rows: list[dict[str, Any]], limit: float | None, broken: int
) -> None:
    """What is pending, or does not apply, has no part in it."""
    limits = QualityLimits(ok=limit)
    result = validate_quality(rows_table(*rows), name="image_labels", threshold=0.8, limits=limits)
    assert len(result.failures) == broken


def test_one_internal_error_fails_even_where_a_fallback_saved_the_row() -> None:
    """An unclassified exception is a bug until shown otherwise."""
    table = rows_table(OK, FALLBACK | {"error_kind": "internal"})
    (failure,) = validate_no_bugs(table, name="enriched_items", key=KEY).failures
    assert failure == FailedExpectation(
        rule="no row met an unclassified exception",
        expectation="expect_column_values_to_not_be_in_set",
        column="error_kind",
        unexpected=1,
        sample=("i1",),
    )


@pytest.mark.parametrize(("most", "passes"), [(0.0, False), (0.24, False), (0.25, True)])
def test_a_share_of_internal_errors_can_be_let_pass(most: float, *, passes: bool) -> None:
    """It is one of all rows, with and without errors."""
    table = rows_table(OK, OK, OK, FALLBACK | {"error_kind": "internal"})
    assert validate_no_bugs(table, name="enriched_items", key=KEY, most=most).passed is passes


def test_an_empty_table_has_no_quality_to_miss() -> None:
    """Nothing is expected of nothing."""
    assert quality() == SuiteResult(passed=True, evaluated=0)


def test_an_expectation_that_cannot_be_evaluated_is_an_error() -> None:
    """It proves nothing about the data, so it is no failed expectation."""
    with pytest.raises(SuiteError, match=r"image_labels: expect_column_mean.*no_such"):
        run_suite(
            "image_labels",
            rows_table(OK),
            KEY,
            lambda words: [
                words.expect.ExpectColumnMeanToBeBetween(
                    column="no_such", min_value=0, meta=suite_rule("the mean exists")
                )
            ],
        )


def test_no_suite_touches_the_network(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor does it chat in the log."""

    def refuse(*arguments: object, **_: object) -> None:
        raise AssertionError(f"the network was asked for {arguments}")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    with caplog.at_level(logging.INFO):
        assert structure(rows_table(*GOOD)).passed
        assert not quality(0.1).passed
    assert not caplog.records


def test_importing_the_checks_loads_neither_the_library_nor_pandas() -> None:
    """Definitions pay nothing for checks that do not run."""
    heavy = "{'great_expectations', 'pandas', 'torch'}"
    code = f"import sys, pipeline_assets.checks.expectations; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
