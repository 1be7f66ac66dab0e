"""The check factories, run by Dagster on a small partitioned asset."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from pipeline_assets.checks.factories import quality_check, structure_check
from pipeline_assets.checks.limits import QualityLimits
from pipeline_assets_tests.checks.tables import (
    FAILED,
    FALLBACK,
    GOOD,
    KEY,
    NOT_APPLICABLE,
    OK,
    REQUIRED,
    SCHEMA,
    rows_table,
)

HOURS = dg.HourlyPartitionsDefinition("2026-01-01-00:00")
GOOD_HOUR, DAMAGED, DEGRADED = "2026-01-01-00:00", "2026-01-01-01:00", "2026-01-01-02:00"
UNMADE, EXPLAINED = "2026-01-01-03:00", "2026-01-01-04:00"
FACTORS = [
    {"stage": "fetched", "rung_or_status": "http", "factor": 1.0, "reason": None},
    {"stage": "image_labels", "rung_or_status": "cpu_clip", "factor": 0.4, "reason": "overloaded"},
    {"stage": "embeddings", "rung_or_status": "cpu_clip", "factor": 0.8, "reason": None},
]
TABLES: Mapping[str, pa.Table] = {
    GOOD_HOUR: rows_table(*GOOD),
    DAMAGED: rows_table(OK, OK | {"rung": None}),
    DEGRADED: rows_table(*[FALLBACK | {"quality": 0.72}] * 4),
    UNMADE: rows_table(
        OK,
        FAILED | {"error_kind": "timeout", "error": "no answer in 10 s"},
        FAILED,
        FAILED | {"error": "the server answered 404 again"},
        NOT_APPLICABLE,
    ),
    EXPLAINED: rows_table(FALLBACK | {"quality": 0.32}).append_column(
        "quality_factors", [[FACTORS]]
    ),
}


@dg.asset(partitions_def=HOURS)
def labels() -> None:
    """A table that is already there."""


@dg.asset(partitions_def=HOURS, deps=[labels])
def downstream() -> None:
    """What a blocking check stops."""


STRUCTURE = structure_check(
    "structure",
    asset_key=labels.key,
    read=TABLES.__getitem__,
    key=KEY,
    required=REQUIRED,
    partitions_def=HOURS,
    schema=SCHEMA,
)
QUALITY = quality_check(
    "quality",
    asset_key="labels",
    read=TABLES.__getitem__,
    partitions_def=HOURS,
    threshold=0.8,
    limits=QualityLimits(mean=0.7, share=0.5, ok=0.5),
)
EVERYTHING = [labels, downstream, STRUCTURE, QUALITY]


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    """An instance in memory for all runs of this module."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def run(
    instance: dg.DagsterInstance, hour: str
) -> tuple[dg.ExecuteInProcessResult, dict[str, dg.AssetCheckEvaluation]]:
    """Materialize one hour: the result, and the evaluations by check name."""
    result = dg.materialize(EVERYTHING, partition_key=hour, instance=instance, raise_on_error=False)
    return result, {e.check_name: e for e in result.get_asset_check_evaluations()}


def materialized(result: dg.ExecuteInProcessResult) -> set[str]:
    """The assets that the run materialized."""
    return {
        str(event.asset_key.to_user_string())
        for event in result.get_asset_materialization_events()
        if event.asset_key
    }


def test_a_good_hour_passes_both_checks_with_its_numbers(instance: dg.DagsterInstance) -> None:
    """The numbers are metadata, so that the UI plots them."""
    result, checks = run(instance, GOOD_HOUR)
    assert result.success
    assert {name: check.passed for name, check in checks.items()} == {
        "structure": True,
        "quality": True,
    }
    assert {check.partition for check in checks.values()} == {GOOD_HOUR}
    numbers = {name: value.value for name, value in checks["quality"].metadata.items()}
    assert numbers["rows"] == 6
    assert numbers["share_at_threshold"] == pytest.approx(0.6)
    assert "failures" not in numbers


def test_structural_damage_is_an_error_and_stops_what_depends_on_it(
    instance: dg.DagsterInstance,
) -> None:
    """The failing rule, its extent and the offending key are in the metadata."""
    result, checks = run(instance, DAMAGED)
    assert not result.success
    assert materialized(result) == {"labels"}
    check = checks["structure"]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert check.description == "not so: an ok row names its rung (1 row breaks it)"
    assert [record.data for record in failures(check)] == [
        {
            "partition": DAMAGED,
            "rule": "an ok row names its rung",
            "column": "rung",
            "rows": 1,
            "sample": "i1",
            "observed": None,
            "expectation": "expect_column_values_to_not_be_null",
        }
    ]
    samples = check.metadata["sample_rows"]
    assert isinstance(samples, dg.MarkdownMetadataValue)
    assert str(samples.md_str).splitlines() == [
        "| item_id | status | rung | fallback_used | confidence | quality | error_kind | error |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        "| i1 | ok |  |  |  | 1.0 |  |  |",
    ]


def test_low_quality_warns_and_stops_nothing(instance: dg.DagsterInstance) -> None:
    """The pipeline moves forward."""
    result, checks = run(instance, DEGRADED)
    assert result.success
    assert materialized(result) == {"labels", "downstream"}
    check = checks["quality"]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "fewer than 50% of the rows reach 0.8: 0 of 4" in str(check.description)
    assert checks["structure"].passed


def test_too_few_values_say_how_many_and_what_went_wrong_most(
    instance: dg.DagsterInstance,
) -> None:
    """Of the rows with something to do; the kind of most errors, with the first of them."""
    check = run(instance, UNMADE)[1]["quality"]
    commonest = "not_found (2 rows), such as: the server answered 404"
    assert (check.description or "").endswith(
        f"; fewer than 50% of the rows are ok: 1 of 4; mostly {commonest}"
    )
    assert check.metadata["commonest_error"].value == commonest


def test_a_sampled_item_says_which_stage_cost_most(instance: dg.DagsterInstance) -> None:
    """By its rung, and why no better one made it."""
    result = dg.materialize([labels, QUALITY], partition_key=EXPLAINED, instance=instance)
    [check] = result.get_asset_check_evaluations()
    samples = check.metadata["sample_rows"]
    assert isinstance(samples, dg.MarkdownMetadataValue)
    assert "| image\\_labels cpu\\_clip: 0.4 (overloaded) |" in str(samples.md_str)


@pytest.mark.parametrize(
    ("limits", "asks"),
    [
        (
            QualityLimits(mean=0.7, p10=0.5, share=0.5),
            "at least 50% of the rows reach 0.8; the mean is",
        ),
        (QualityLimits(ok=0.9), "a good one: at least 90% of the rows are ok."),
        (QualityLimits(ok=0.0), "a good one: at least 0% of the rows are ok."),
        (QualityLimits(ok=None), "a good one: no limit is set."),
    ],
)
def test_a_quality_check_says_what_it_asks(limits: QualityLimits, asks: str) -> None:
    """With its numbers, also where nobody has seen it fail."""
    check = quality_check(
        "quality",
        asset_key="labels",
        read=TABLES.__getitem__,
        partitions_def=HOURS,
        threshold=0.8,
        limits=limits,
    )
    [spec] = check.check_specs
    assert asks in (spec.description or "")


def test_a_run_over_a_range_judges_each_partition(instance: dg.DagsterInstance) -> None:
    """One verdict for all, which says which partition is at fault."""
    job = dg.Definitions(
        assets=[labels],
        asset_checks=[STRUCTURE],
        jobs=[dg.define_asset_job("hours", selection=dg.AssetSelection.assets(labels))],
    ).resolve_job_def("hours")
    result = job.execute_in_process(
        instance=instance,
        raise_on_error=False,
        tags={
            "dagster/asset_partition_range_start": GOOD_HOUR,
            "dagster/asset_partition_range_end": DEGRADED,
        },
    )
    (check,) = result.get_asset_check_evaluations()
    assert not check.passed
    assert {record.data["partition"] for record in failures(check)} == {DAMAGED}
    assert check.metadata["rows"].value == sum(
        TABLES[hour].num_rows for hour in (GOOD_HOUR, DAMAGED, DEGRADED)
    )


def test_a_run_without_a_partition_is_refused(instance: dg.DagsterInstance) -> None:
    """No empty verdict is given for a table that nobody named."""
    with pytest.raises(dg.Failure, match="start it with a partition key"):
        dg.materialize(
            [labels, STRUCTURE],
            selection=dg.AssetSelection.checks(STRUCTURE),
            instance=instance,
        )


def test_defining_checks_warns_of_nothing(recwarn: pytest.WarningsRecorder) -> None:
    """The preview warning is silenced where we accept it, and only there."""
    arguments: dict[str, Any] = {"key": KEY, "required": (), "partitions_def": HOURS}
    structure_check("quiet", asset_key="labels", read=TABLES.__getitem__, **arguments)
    assert not recwarn.list


def failures(check: dg.AssetCheckEvaluation) -> list[dg.TableRecord]:
    """The table of failures in the metadata of a check."""
    value = check.metadata["failures"]
    assert isinstance(value, dg.TableMetadataValue)
    return list(value.records)
