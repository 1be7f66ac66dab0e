"""Asset checks over one partition of a table: read it, judge it, tell Dagster.

Both kinds run per partition. A run over a range judges each of its partitions and reports them
together; a run without a partition is refused rather than answered with an empty verdict.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from pipeline_assets.assets.shown import markdown
from pipeline_assets.checks.expectations import (
    ITEM_KEY,
    JUDGED,
    validate_no_bugs,
    validate_quality,
    validate_structure,
)
from pipeline_assets.checks.limits import QualityLimits
from pipeline_assets.checks.suites import FailedExpectation, SuiteResult
from pipeline_assets.core.status import Status
from pipeline_assets.errors import without_secrets

ERROR_CHARS = 200
"""Of an example: enough to tell what went wrong, in a line."""
SHOWN_ROWS = 20
"""Of those that break a rule: five a rule, and rarely more than a few rules are broken."""

ReadPartition = Callable[[str], pa.Table]

FAILURES_SCHEMA = dg.TableSchema(
    columns=[
        dg.TableColumn("partition", "string"),
        dg.TableColumn("rule", "string", description="what the data should keep"),
        dg.TableColumn("column", "string"),
        dg.TableColumn("rows", "int", description="rows that break it; none for a whole column"),
        dg.TableColumn("sample", "string", description="keys of at most five of these rows"),
        dg.TableColumn("observed", "float", description="for a rule about the whole column"),
        dg.TableColumn("expectation", "string"),
    ]
)


@dataclass(frozen=True, slots=True)
class _Check:
    """What the two kinds of check differ in."""

    name: str
    description: str
    severity: dg.AssetCheckSeverity
    blocking: bool
    judge: Callable[[pa.Table], SuiteResult]
    key: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Verdict:
    partition: str
    rows: int
    result: SuiteResult
    samples: Sequence[Mapping[str, Any]]
    commonest: str = ""


def structure_check(
    name: str,
    *,
    asset_key: dg.AssetKey | Sequence[str] | str,
    read: ReadPartition,
    key: Sequence[str],
    required: Sequence[str],
    partitions_def: dg.PartitionsDefinition[Any],
    schema: pa.Schema | None = None,
) -> dg.AssetChecksDefinition:
    """The check that stops what depends on a structurally damaged partition."""
    suite = f"{_asset_name(asset_key)}.{name}"

    def judge(table: pa.Table) -> SuiteResult:
        return validate_structure(table, name=suite, key=key, required=required, schema=schema)

    check = _Check(
        name,
        "Columns, key, statuses and nulls are as the contract says.",
        dg.AssetCheckSeverity.ERROR,
        blocking=True,
        judge=judge,
        key=key,
    )
    return _definition(check, asset_key, read, partitions_def)


def bugs_check(
    name: str,
    *,
    asset_key: dg.AssetKey | Sequence[str] | str,
    read: ReadPartition,
    key: Sequence[str],
    partitions_def: dg.PartitionsDefinition[Any],
    most: float = 0.0,
) -> dg.AssetChecksDefinition:
    """The check that fails for unclassified exceptions, by default any, and still stops nothing."""
    suite = f"{_asset_name(asset_key)}.{name}"
    check = _Check(
        name,
        f"{f'At most {most:.2%} of the rows' if most else 'No row'} met an unclassified exception; "
        "one that a fallback made good counts.",
        dg.AssetCheckSeverity.ERROR,
        blocking=False,
        judge=lambda table: validate_no_bugs(table, name=suite, key=key, most=most),
        key=key,
    )
    return _definition(check, asset_key, read, partitions_def)


def quality_check(
    name: str,
    *,
    asset_key: dg.AssetKey | Sequence[str] | str,
    read: ReadPartition,
    partitions_def: dg.PartitionsDefinition[Any],
    threshold: float,
    limits: QualityLimits,
    key: Sequence[str] = ITEM_KEY,
) -> dg.AssetChecksDefinition:
    """The check that warns about low quality and stops nothing: the pipeline moves forward."""
    suite = f"{_asset_name(asset_key)}.{name}"

    def judge(table: pa.Table) -> SuiteResult:
        return validate_quality(
            table,
            name=suite,
            threshold=threshold,
            limits=limits,
            key=key,
        )

    check = _Check(
        name,
        _asked(limits, threshold),
        dg.AssetCheckSeverity.WARN,
        blocking=False,
        judge=judge,
        key=key,
    )
    return _definition(check, asset_key, read, partitions_def)


def _asked(limits: QualityLimits, threshold: float) -> str:
    rules = "; ".join(limits.rules(threshold).values()) or "no limit is set"
    return f"Enough rows have a value, and a good one: {rules}."


def _asset_name(asset_key: dg.AssetKey | Sequence[str] | str) -> str:
    return dg.AssetKey.from_coercible(asset_key).to_user_string()


def _definition(
    check: _Check,
    asset_key: dg.AssetKey | Sequence[str] | str,
    read: ReadPartition,
    partitions_def: dg.PartitionsDefinition[Any],
) -> dg.AssetChecksDefinition:
    return partitioned_check(
        check.name,
        asset_key=asset_key,
        description=check.description,
        blocking=check.blocking,
        judge=lambda names: _check_result(check, [_verdict(check, read, name) for name in names]),
        partitions_def=partitions_def,
    )


def partitioned_check(
    name: str,
    *,
    asset_key: dg.AssetKey | Sequence[str] | str,
    description: str,
    judge: Callable[[Sequence[str]], dg.AssetCheckResult],
    partitions_def: dg.PartitionsDefinition[Any],
    blocking: bool = False,
) -> dg.AssetChecksDefinition:
    """The check that gives one verdict for the partitions of a run."""
    with warnings.catch_warnings():
        # Partitioned checks are a preview; the summaries that matter do not rest on them.
        warnings.simplefilter("ignore", dg.PreviewWarning)

        @dg.asset_check(
            asset=dg.AssetKey.from_coercible(asset_key),
            name=name,
            description=description,
            blocking=blocking,
            partitions_def=partitions_def,
        )
        def run(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
            return judge(_partitions(context, name))

    return run


def _partitions(context: dg.AssetCheckExecutionContext, check: str) -> Sequence[str]:
    op_context = context.op_execution_context
    if not (op_context.has_partition_key or op_context.has_partition_key_range):
        raise dg.Failure(f"{check} judges one partition: start it with a partition key")
    return op_context.partition_keys


def _verdict(check: _Check, read: ReadPartition, partition: str) -> _Verdict:
    table = read(partition)
    result = check.judge(table)
    samples = _samples(check, table, result.failures)
    few_made = any(failure.broken and failure.column == "status" for failure in result.failures)
    commonest = _commonest(table) if few_made else ""
    return _Verdict(partition, table.num_rows, result, samples, commonest)


def _commonest(table: pa.Table) -> str:
    """The error kind of most of the rows that have no value, with an error for an example."""
    unmade = table.filter(pc.field("status").isin([Status.FAILED.value, Status.SKIPPED.value]))
    kinds = Counter(unmade["error_kind"].drop_null().to_pylist())
    if not kinds:
        return ""
    [(kind, rows)] = kinds.most_common(1)
    errors = unmade.filter(pc.field("error_kind") == kind)["error"].drop_null()
    example = without_secrets(errors[0].as_py())[:ERROR_CHARS] if len(errors) else "it says nothing"
    return f"{kind} ({rows} {'row' if rows == 1 else 'rows'}), such as: {example}"


def _samples(
    check: _Check, table: pa.Table, failures: Sequence[FailedExpectation]
) -> Sequence[Mapping[str, Any]]:
    """What the failures name by key, with the columns that rules are about."""
    named = {key for failure in failures for key in failure.sample}
    if not named or not {*check.key} <= {*table.column_names}:
        return ()
    keys = pc.binary_join_element_wise(*(table[name].cast("string") for name in check.key), "/")
    columns = (failure.column for failure in failures)
    judged = dict.fromkeys([*check.key, *JUDGED, *columns, "quality_factors"])
    shown = table.select([name for name in judged if name in table.column_names])
    rows = shown.filter(pc.is_in(keys, pa.array(named))).slice(0, SHOWN_ROWS).to_pylist()
    return [_with_worst(row) for row in rows]


def _with_worst(row: dict[str, Any]) -> dict[str, Any]:
    """The row with the stage that cost an item's quality most, in place of all of them."""
    factors = row.pop("quality_factors", None)
    if not factors:
        return row
    worst = min(factors, key=lambda each: -1 if each["factor"] is None else each["factor"])
    cost = "unknown yet" if worst["factor"] is None else f"{worst['factor']:.4g}"
    why = f" ({worst['reason']})" if worst["reason"] else ""
    return {**row, "worst_factor": f"{worst['stage']} {worst['rung_or_status']}: {cost}{why}"}


def _check_result(check: _Check, verdicts: Sequence[_Verdict]) -> dg.AssetCheckResult:
    failed = [(v.partition, failure) for v in verdicts for failure in v.result.failures]
    commonest = next((v.commonest for v in verdicts if v.commonest), "")
    return dg.AssetCheckResult(
        passed=all(v.result.passed for v in verdicts),
        severity=check.severity,
        description=_summary([failure for _, failure in failed], commonest) or None,
        metadata={
            "rows": sum(v.rows for v in verdicts),
            "expectations": sum(v.result.evaluated for v in verdicts),
            "failed_expectations": len(failed),
            **_numbers(verdicts),
            **({"commonest_error": commonest} if commonest else {}),
            **_failures_table(failed),
            **_sample_rows([row for verdict in verdicts for row in verdict.samples]),
        },
    )


def _summary(failures: Sequence[FailedExpectation], commonest: str) -> str:
    said = [_said(failure) for failure in failures]
    return "; ".join([*said, f"mostly {commonest}"] if commonest else said)


def _said(failure: FailedExpectation) -> str:
    if failure.broken and failure.judged is not None and failure.unexpected is not None:
        return f"{failure.broken}: {failure.judged - failure.unexpected} of {failure.judged}"
    return f"not so: {failure.rule}{_extent(failure)}"


def _extent(failure: FailedExpectation) -> str:
    rows = failure.unexpected
    if rows is not None:
        return " (1 row breaks it)" if rows == 1 else f" ({rows} rows break it)"
    return f" (observed {failure.observed:.4f})" if failure.observed is not None else ""


def _numbers(verdicts: Sequence[_Verdict]) -> Mapping[str, float]:
    # Over several partitions a number would need weights to mean anything.
    return verdicts[0].result.numbers if len(verdicts) == 1 else {}


def _failures_table(
    failed: Sequence[tuple[str, FailedExpectation]],
) -> dict[str, dg.MetadataValue[Any]]:
    if not failed:
        return {}
    records = [_record(partition, failure) for partition, failure in failed]
    return {"failures": dg.MetadataValue.table(records, FAILURES_SCHEMA)}


def _record(partition: str, failure: FailedExpectation) -> dg.TableRecord:
    return dg.TableRecord(
        {
            "partition": partition,
            "rule": failure.rule,
            "column": failure.column,
            "rows": failure.unexpected,
            "sample": ", ".join(failure.sample),
            "observed": failure.observed,
            "expectation": failure.expectation,
        }
    )


def _sample_rows(rows: Sequence[Mapping[str, Any]]) -> dict[str, dg.MetadataValue[Any]]:
    if not rows:
        return {}
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[row.get(name) for name in names] for row in rows[:SHOWN_ROWS]]
    return {"sample_rows": dg.MetadataValue.md(markdown(names, cells))}
