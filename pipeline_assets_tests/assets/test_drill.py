"""The asset of the drill and its check, as Dagster runs them."""

import shutil
from typing import Any

import dagster as dg
import pytest

from pipeline_assets.assets.drill import drill_metadata
from pipeline_assets.drill.judging import Drilled
from pipeline_assets.stages import STAGES
from pipeline_assets_tests import hours
from pipeline_assets_tests.assets.conftest import Copied, Hour
from pipeline_assets_tests.conftest import HOUR, NEXT_HOUR

DRILL, CHECK = "fallback_drill", "fallback_drill.fallbacks_work"
TIMES = "1.50 (p95 2.25)"
NO_EVIDENCE = "no evidence: 0 rows compared, of 20 needed"
FALLBACKS = sum(len(stage.rungs) - 1 for stage in STAGES)


def drilled(**options: Any) -> dg.ExecuteInProcessResult:
    """A drill with its check."""
    return hours.executed(hours.asset(DRILL), hour=None, ops={DRILL: {"config": options}})


def test_a_drill_of_a_good_hour_passes_its_check(good: Hour, copied: Copied) -> None:
    """Its table has a row for each fallback; the next drill's come after them."""
    copy = copied(good)
    result = drilled()
    assert result.success
    check = hours.verdicts(result)[CHECK]
    assert check.passed, check.description
    assert {name: value.value for name, value in check.metadata.items()} == {
        "fallbacks": FALLBACKS,
        "broken": 0,
        "disagreeing": 0,
        "not_drilled": 0,
    }
    assert hours.shown(result)[DRILL]["dagster/row_count"] == FALLBACKS
    assert drilled(items=5, hour=HOUR).success
    rows = hours.table(copy.data, DRILL, "all")
    assert len(rows) == 2 * FALLBACKS
    assert {row["rows"] for row in rows[FALLBACKS:]} == {5}
    assert len({row["run_id"] for row in rows}) == 2
    assert [row["at"] for row in rows] == sorted(row["at"] for row in rows)


def test_a_fallback_that_errs_fails_the_check_as_an_error(good: Hour, copied: Copied) -> None:
    """Without the packs no copy can be given, and no byte be looked at; the run goes on."""
    copy = copied(good)
    shutil.rmtree(copy.data / "blobs")
    result = drilled()
    assert result.success
    check = hours.verdicts(result)[CHECK]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert not check.blocking
    assert check.description is not None
    assert "fetched.last_good_copy made no value of" in check.description
    assert check.metadata["broken"].value == 5


def test_a_fallback_that_agrees_less_than_is_wanted_is_a_warning(
    good: Hour, copied: Copied, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It makes values, only other ones."""
    copied(good)
    monkeypatch.setenv("PIPELINE_DRILL_AGREEMENT", "extracted_text.plain=1")
    check = hours.verdicts(drilled())[CHECK]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert check.description is not None
    assert check.description.startswith("extracted_text.plain agrees with the primary by 0.")
    assert check.description.endswith(" rows, 1 is wanted")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"hour": NEXT_HOUR}, f"items has no table for hour {NEXT_HOUR}"),
        ({"items": 0}, "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_drilled_fails_the_run_and_keeps_nothing(
    good: Hour, copied: Copied, options: dict[str, Any], said: str
) -> None:
    """With what is wrong."""
    copy = copied(good)
    try:
        message = hours.failure(drilled(**options))
    except dg.DagsterInvalidConfigError as refused:
        message = str(refused)
    assert said in message
    assert not (copy.data / "tables" / DRILL).exists()


def test_people_see_a_table_and_the_ui_plots_each_agreement() -> None:
    """Factor and agreement side by side; errors by kind."""
    found = Drilled(
        "image_labels",
        "rules",
        0.7,
        rows=40,
        made=38,
        errors={"upstream": 2},
        ms_p50=1.5,
        ms_p95=2.25,
        compared=38,
        agreement=0.61,
    )
    shown = drill_metadata([found, Drilled("fetched", "last_good_copy", 0.95)])
    assert shown["dagster/row_count"] == 2
    assert shown["agreement_image_labels_rules"] == 0.61
    assert shown["agreement_fetched_last_good_copy"] is None
    assert shown["drill"].value.splitlines() == [
        "| stage | rung | factor | agreement | compared | advice | no value | ms a row |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        f"| image_labels | rules | 0.7 | 0.610 | 38 | lower it | 2 upstream of 40 | {TIMES} |",
        f"| fetched | last_good_copy | 0.95 |  | 0 | {NO_EVIDENCE} | 0 of 0 |  |",
    ]
