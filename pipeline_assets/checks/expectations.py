"""What every table must keep (structure) and what it should reach (quality).

Two pure functions: an Arrow table in, a `SuiteResult` out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline_assets.checks.limits import QualityLimits
from pipeline_assets.checks.suites import Measure, SuiteResult, Vocabulary, rule, run_suite
from pipeline_assets.core.contract import CONTRACT_NAMES, stage_schema
from pipeline_assets.core.status import Status
from pipeline_assets.errors import ErrorKind

ITEM_KEY = ("item_id",)
# Of the contract's columns, those that a rule is about: what is not copied is not filtered.
JUDGED = ("status", "rung", "fallback_used", "confidence", "quality", "error_kind", "error")
QUALITY_DIGITS = 4  # scores are compared after rounding: 1.0 x 0.8 in float32 is not quite 0.8
TENTH = 0.1
TRIED = [Status.OK.value, Status.FAILED.value, Status.SKIPPED.value]
"""What a row with something to do can come to."""


def validate_structure(
    table: pa.Table,
    *,
    name: str,
    key: Sequence[str],
    required: Sequence[str],
    schema: pa.Schema | None = None,
) -> SuiteResult:
    """Does `table` keep the rules of the contract? An empty table does.

    `required` are the value columns that an `ok` row always has. Without `schema`, the key must
    come first and the contract's columns last, the stage's own between them as they are. Rows are
    judged only where the columns are right.
    """
    expected = schema if schema is not None else _expected_schema(table.schema, key)
    columns = run_suite(name, _columns_table(table.schema, expected), ("column",), _columns_suite)
    if not columns.passed:
        return columns
    never_null = [field.name for field in expected if not field.nullable]
    rows = run_suite(
        name,
        _rows_table(table, [*key, *never_null], required),
        key,
        lambda words: [
            *_presence(words, key, never_null),
            *_vocabulary(words),
            *_nullness(words),
            *_required(words, required),
        ],
    )
    return replace(rows, evaluated=columns.evaluated + rows.evaluated)


def validate_quality(
    table: pa.Table,
    *,
    name: str,
    threshold: float,
    limits: QualityLimits,
    key: Sequence[str] = ITEM_KEY,
) -> SuiteResult:
    """Is `table` good enough? An empty table is.

    Rows that are still pending have no score; a table of nothing else fails for that alone. Only
    rows with something to do can be `ok`.
    """
    if not table.num_rows:
        return SuiteResult(passed=True, evaluated=0)
    scored = table.num_rows > table["quality"].null_count
    return run_suite(
        name,
        _quality_table(table, key),
        key,
        lambda words: [
            *_scored(words),
            *(_levels(words, threshold, limits) if scored else ()),
            *_made(words, threshold, limits),
        ],
    )


def validate_no_bugs(
    table: pa.Table, *, name: str, key: Sequence[str], most: float = 0.0
) -> SuiteResult:
    """Is `table` free of unclassified exceptions? Also those that a fallback made good count.

    A share of the rows up to `most` is let pass.
    """
    if not table.num_rows:
        return SuiteResult(passed=True, evaluated=0)
    # A share is one of all rows; of nulls the library knows nothing.
    kinds = pc.fill_null(table["error_kind"], "")
    rows = table.select(list(key)).append_column("error_kind", kinds)
    return run_suite(name, rows, key, lambda words: _no_internal(words, most))


def _expected_schema(schema: pa.Schema, key: Sequence[str]) -> pa.Schema:
    own = [field for field in schema if field.name not in (*key, *CONTRACT_NAMES)]
    return stage_schema([pa.field(name, pa.string(), nullable=False) for name in key], own)


def _columns_table(schema: pa.Schema, expected: pa.Schema) -> pa.Table:
    """One row a column: what is expected at its place and of its type, and what is there."""
    types = {field.name: str(field.type) for field in schema}
    rows = [
        {
            "column": wanted or found,
            "wanted": wanted or "(none)",
            "found": found or "(none)",
            "wanted_type": str(expected.field(wanted).type) if wanted in types else "",
            "found_type": types.get(wanted, ""),
        }
        for wanted, found in zip_longest(expected.names, schema.names)
    ]
    return pa.Table.from_pylist(rows)


def _columns_suite(words: Vocabulary) -> list[Any]:
    equal = words.expect.ExpectColumnPairValuesToBeEqual
    return [
        equal(
            column_A="wanted",
            column_B="found",
            meta=rule("the columns are those of the schema, in its order"),
        ),
        equal(
            column_A="wanted_type",
            column_B="found_type",
            meta=rule("the columns have the types of the schema"),
        ),
    ]


def _rows_table(table: pa.Table, judged: Sequence[str], required: Sequence[str]) -> pa.Table:
    """The columns that rules look at; of value columns, vectors among them, only whether set."""
    names = dict.fromkeys([*judged, *JUDGED])
    present = {name: _present(table[name]) for name in required if name not in names}
    return pa.table({**{name: table[name] for name in names}, **present})


def _present(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.if_else(pc.is_valid(column), "set", pa.scalar(None, pa.string()))


def _presence(words: Vocabulary, key: Sequence[str], never_null: Sequence[str]) -> list[Any]:
    expect = words.expect
    text = "no two rows have the same key"
    unique = (
        expect.ExpectColumnValuesToBeUnique(column=key[0], meta=rule(text))
        if len(key) == 1
        else expect.ExpectCompoundColumnsToBeUnique(column_list=list(key), meta=rule(text))
    )
    return [
        unique,
        *(
            expect.ExpectColumnValuesToNotBeNull(column=name, meta=rule(f"{name} is never null"))
            for name in never_null
        ),
    ]


def _vocabulary(words: Vocabulary) -> list[Any]:
    in_set = words.expect.ExpectColumnValuesToBeInSet
    between = words.expect.ExpectColumnValuesToBeBetween
    return [
        in_set(
            column="status",
            value_set=[status.value for status in Status],
            meta=rule("status is one of the five"),
        ),
        in_set(
            column="error_kind",
            value_set=[kind.value for kind in ErrorKind],
            meta=rule("error_kind is in the taxonomy"),
        ),
        *(
            between(column=name, min_value=0, max_value=1, meta=rule(f"{name} is within 0..1"))
            for name in ("quality", "confidence")
        ),
    ]


def _nullness(words: Vocabulary) -> list[Any]:
    null = words.expect.ExpectColumnValuesToBeNull
    not_null = words.expect.ExpectColumnValuesToNotBeNull
    status = words.column("status")
    ok, not_ok = status == Status.OK.value, status != Status.OK.value
    pending, tried = status == Status.PENDING.value, status != Status.PENDING.value
    unmade = status.is_in([Status.FAILED.value, Status.SKIPPED.value])
    fallback = words.column("fallback_used").is_not_null()
    return [
        expect(column=name, row_condition=where, meta=rule(text))
        for expect, name, where, text in (
            (not_null, "rung", ok, "an ok row names its rung"),
            (null, "rung", not_ok, "only an ok row has a rung"),
            (null, "fallback_used", not_ok, "only an ok row has a fallback"),
            (not_null, "error_kind", fallback, "a fallback says why no better rung made it"),
            (null, "quality", pending, "a pending row has no quality yet"),
            (not_null, "quality", tried, "a row that is not pending has a quality"),
            (not_null, "error_kind", unmade, "a failed or skipped row has an error kind"),
            (not_null, "error", unmade, "a failed or skipped row says what went wrong"),
        )
    ]


def _required(words: Vocabulary, required: Sequence[str]) -> list[Any]:
    ok = words.column("status") == Status.OK.value
    return [
        words.expect.ExpectColumnValuesToNotBeNull(
            column=name, row_condition=ok, meta=rule(f"an ok row has {name}")
        )
        for name in required
    ]


def _quality_table(table: pa.Table, key: Sequence[str]) -> pa.Table:
    quality = pc.round(pc.cast(table["quality"], pa.float64()), QUALITY_DIGITS)
    return table.select([*key, "status"]).append_column("quality", quality)


def _scored(words: Vocabulary) -> list[Any]:
    return [
        words.expect.ExpectColumnProportionOfNonNullValuesToBeBetween(
            column="quality",
            min_value=0,
            strict_min=True,
            meta=rule("some rows have a quality", "share_scored"),
        )
    ]


def _levels(words: Vocabulary, threshold: float, limits: QualityLimits) -> Iterator[Any]:
    expect, said = words.expect, limits.rules(threshold)
    if limits.share is not None:
        yield expect.ExpectColumnValuesToBeBetween(
            column="quality",
            min_value=threshold,
            mostly=limits.share,
            meta=_share_rule(said["share"], "share_at_threshold"),
        )
    if limits.mean is not None:
        yield expect.ExpectColumnMeanToBeBetween(
            column="quality",
            min_value=limits.mean,
            meta=rule(said["mean"], "mean"),
        )
    if limits.p10 is not None:
        yield expect.ExpectColumnQuantileValuesToBeBetween(
            column="quality",
            quantile_ranges={"quantiles": [TENTH], "value_ranges": [[limits.p10, None]]},
            meta=rule(said["p10"], "tenth_percentile"),
        )


def _made(words: Vocabulary, threshold: float, limits: QualityLimits) -> Iterator[Any]:
    if limits.ok is None:
        return
    yield words.expect.ExpectColumnValuesToBeInSet(
        column="status",
        value_set=[Status.OK.value],
        row_condition=words.column("status").is_in(TRIED),
        mostly=limits.ok,
        meta=_share_rule(limits.rules(threshold)["ok"], "share_ok"),
    )


def _share_rule(text: str, number: str) -> dict[str, str]:
    """The rule that at least a share of the rows is so, and how it is said that fewer are."""
    return rule(text, number, Measure.SHARE, broken=text.replace("at least", "fewer than", 1))


def _no_internal(words: Vocabulary, most: float) -> list[Any]:
    said = f"at most {most:.2%} of the rows" if most else "no row"
    return [
        words.expect.ExpectColumnValuesToNotBeInSet(
            column="error_kind",
            value_set=[ErrorKind.INTERNAL.value],
            mostly=1 - most,
            meta=rule(f"{said} met an unclassified exception", "internal_rows", Measure.COUNT),
        )
    ]
