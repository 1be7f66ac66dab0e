"""The assets that follow from the stage tables: queues, summaries, reliability, search."""

import re
from collections import Counter

import pytest

from pipeline_assets.accelerator.accelerator import Fault, InjectedFault
from pipeline_assets.assets.monitoring import WATCHED
from pipeline_assets.commands.accelerator import heal
from pipeline_assets.commands.search import search
from pipeline_assets.core.names import ENRICHED
from pipeline_assets.core.status import Status
from pipeline_assets.monitoring.derived import DERIVED, STAGE_TABLES
from pipeline_assets.monitoring.reliability import FINDABLE, USABLE, WORKFLOW
from pipeline_assets.resources import opened
from pipeline_assets.store.tables import Tables
from pipeline_assets_tests import hours
from pipeline_assets_tests.assets.conftest import ITEMS, Copied, Hour
from pipeline_assets_tests.conftest import HOUR

ALL = ITEMS + 2
THRESHOLD = 0.8
NAMES = (*DERIVED, "recovery", "reliability", *WATCHED)


def quality(row: hours.Row) -> float:
    """As it is compared: after rounding."""
    return round(row["quality"], 4)


def test_each_derived_table_shows_its_rows_and_a_preview(good: Hour) -> None:
    """What the table has."""
    shown = hours.shown(good.result)
    for name in NAMES:
        found = hours.table(good.data, name)
        assert shown[name]["dagster/row_count"] == len(found), name
        assert shown[name]["preview"].startswith("| "), name


def test_each_derived_table_shows_its_columns(good: Hour) -> None:
    """Names and types, in the order of the file, each with what it holds."""
    shown = hours.shown(good.result)
    tables = Tables(good.data / "tables")
    for name in NAMES:
        columns = shown[name]["dagster/column_schema"].columns
        assert [(each.name, each.type) for each in columns] == [
            (field.name, str(field.type)) for field in tables.schema(name, HOUR)
        ], name
        assert all(each.description for each in columns), name


def test_a_good_hour_has_nothing_to_retry(good: Hour) -> None:
    """Items under the threshold that nothing can improve are no work."""
    enriched = good.rows(ENRICHED)
    assert [item for item, row in enriched.items() if quality(row) < THRESHOLD]
    assert hours.table(good.data, "retry_queue") == []


def test_the_retry_queue_has_what_can_improve_of_items_under_the_threshold(degraded: Hour) -> None:
    """An item at exactly 0.8 is good enough, though a better rung could make it."""
    enriched = degraded.rows(ENRICHED)
    at_threshold = {i for i, row in enriched.items() if quality(row) == THRESHOLD}
    assert hours.NAME_ONLY in at_threshold
    assert all(enriched[item]["improvable"] for item in at_threshold)
    queue = hours.table(degraded.data, "retry_queue")
    under = {i for i, row in enriched.items() if quality(row) < THRESHOLD and row["improvable"]}
    assert {row["item_id"] for row in queue} == under
    assert {row["priority"] for row in queue} == {"LOW"}
    for row in queue:
        source = degraded.rows(row["stage"])["/".join(filter(None, (row["item_id"], row["role"])))]
        assert source["retryable"]
        assert (row["error_kind"], row["attempts"]) == (source["error_kind"], source["attempts"])


def test_the_worst_items_come_first_in_the_retry_queue(degraded: Hour) -> None:
    """The item without its picture is worse off than those with a small model's label."""
    queue = hours.table(degraded.data, "retry_queue")
    scores = [row["item_quality"] for row in queue]
    assert scores == sorted(scores)
    assert len(set(scores)) > 1
    assert queue[0]["item_id"] in {degraded.at_fault("404"), degraded.at_fault("html-as-jpeg")}


def test_dead_letters_are_the_failures_that_no_retry_helps(good: Hour) -> None:
    """The picture that is gone and the page that calls itself one, each with its reason."""
    letters = hours.table(good.data, "dead_letters")
    assert {(row["item_id"], row["stage"], row["role"], row["error_kind"]) for row in letters} == {
        (good.at_fault("404"), "fetched", "image", "not_found"),
        (good.at_fault("html-as-jpeg"), "validated", "image", "invalid_input"),
    }
    assert all(row["error"] and row["attempts"] == 1 and row["last_seen"] for row in letters)


@pytest.mark.parametrize("hour", ["good", "degraded"])
def test_the_summary_counts_what_the_tables_have(hour: str, request: pytest.FixtureRequest) -> None:
    """By stage, status, rung and reason; nothing is counted twice and nothing left out."""
    found: Hour = request.getfixturevalue(hour)
    names = (*STAGE_TABLES, ENRICHED)
    counted = Counter(
        (name, row["status"], row["rung"], row["error_kind"])
        for name in names
        for row in found.rows(name).values()
    )
    summary = hours.table(found.data, "quality_summary")
    groups = {(r["stage"], r["status"], r["rung"], r["error_kind"]): r for r in summary}
    assert {group: row["rows"] for group, row in groups.items()} == counted
    improvable = Counter(
        (name, row["status"], row["rung"], row["error_kind"])
        for name in names
        for row in found.rows(name).values()
        if row["retryable"]
    )
    assert {g: row["improvable"] for g, row in groups.items() if row["improvable"]} == improvable
    scores = [quality(row) for row in found.rows(ENRICHED).values()]
    made = [row for row in summary if row["stage"] == ENRICHED]
    assert sum(row["at_threshold"] for row in made) == sum(s >= THRESHOLD for s in scores)
    assert min(row["quality_min"] for row in made) == pytest.approx(min(scores))


def test_reliability_is_told_at_three_levels(degraded: Hour) -> None:
    """Rung calls that failed, a workflow that did not, and what it is worth."""
    found = {(r["level"], r["name"]): r for r in hours.table(degraded.data, "reliability")}
    primary = found["task", "image_labels.accelerator_clip"]
    assert (primary["succeeded"], primary["rate"]) == (0, 0.0)
    assert primary["attempted"] > 0
    fetched = found["task", "fetched.http"]
    rows = [r for r in degraded.rows("fetched").values() if r["status"] != Status.NOT_APPLICABLE]
    ok = [row for row in rows if row["status"] == Status.OK]
    assert (fetched["attempted"], fetched["succeeded"]) == (len(rows), len(ok))
    assert fetched["rate"] == pytest.approx(len(ok) / len(rows))
    assert found["workflow", WORKFLOW]["rate"] == 1.0
    outcome = found["outcome", USABLE]
    usable = sum(quality(row) >= THRESHOLD for row in degraded.rows(ENRICHED).values())
    assert (outcome["attempted"], outcome["succeeded"]) == (ALL, usable)
    assert outcome["rate"] == pytest.approx(usable / ALL)


@pytest.mark.parametrize("hour", ["good", "degraded"])
def test_reliability_shows_its_figures_as_numbers(
    hour: str, request: pytest.FixtureRequest
) -> None:
    """For the UI to plot; every item is in the index, so that names lead to items."""
    found: Hour = request.getfixturevalue(hour)
    shown = hours.shown(found.result)["reliability"]
    table = {(r["level"], r["name"]): r for r in hours.table(found.data, "reliability")}
    rates = {
        "rate_workflow": ("workflow", WORKFLOW),
        "rate_usable": ("outcome", USABLE),
        "rate_findable": ("outcome", FINDABLE),
    }
    assert {name: shown[name] for name in rates} == {
        name: table[row]["rate"] for name, row in rates.items()
    }
    # All but the one whose name is markup are called by words that nothing else outdoes.
    assert shown["rate_findable"] > 0.9
    assert shown["retries"] == sum(row["retries"] or 0 for row in table.values())
    assert shown["cost_usd"] == 0.0


def test_reliability_shows_a_table_for_people(degraded: Hour) -> None:
    """A line for each figure, with what its level is about; who waits to heal is said."""
    shown = hours.shown(degraded.result)["reliability"]
    lines = shown["reliability"].splitlines()
    assert lines[0] == "| level | name | succeeded | and |"
    assert len(lines) == 2 + shown["dagster/row_count"]
    enriched = degraded.rows(ENRICHED).values()
    waiting = sum(row["improvable"] for row in enriched if row["priority"] == "batch")
    assert shown["recovery_batch_waiting"] == waiting
    assert f"| recovery | batch |  | {waiting} wait |" in lines
    [usable] = [line for line in lines if "usable" in line]
    assert re.search(rf"\| [0-9.]+%: \d+ of {ALL} \|", usable)


def test_a_healed_hour_shows_how_soon_it_was(degraded: Hour, copied: Copied) -> None:
    """Against the objective of the items' class."""
    copied(degraded)
    with opened() as resources:
        heal(resources)
    shown = hours.shown(hours.materialized())["reliability"]
    assert (shown["recovery_batch_in_time"], shown["recovery_batch_waiting"]) == (1.0, 0)
    assert 0 <= shown["recovery_batch_median_s"] <= shown["recovery_batch_p95_s"] < 600


def test_drift_of_the_first_hour_says_nothing(good: Hour) -> None:
    """There is nothing to compare it with."""
    found = hours.table(good.data, "drift")
    assert {row["distance"] for row in found} == {None}
    assert {row["reference_rows"] for row in found} == {0}


def test_the_index_counts_the_hours_items(good: Hour) -> None:
    """Each item once, with a vector."""
    shown = hours.shown(good.result)["search_index"]
    assert shown["dagster/row_count"] == shown["items_of_this_hour"] == ALL
    assert shown["vectors_of_this_hour"] == ALL
    with opened() as resources:
        assert resources.search.count() == ALL


def test_an_item_without_picture_or_label_is_found_by_its_name(good: Hour) -> None:
    """By words alone."""
    assert good.rows("image_labels")[hours.NAME_ONLY]["status"] == Status.NOT_APPLICABLE
    with opened() as resources:
        hits = search(resources, "teapot", mode="keyword", top=3)
    assert [hit["item_id"] for hit in hits] == [hours.NAME_ONLY]


def test_search_and_queues_follow_a_heal(degraded: Hour, copied: Copied) -> None:
    """The degraded rows are redone by the better rung, and everything after them follows."""
    copy = copied(degraded)
    item = next(i for i, row in copy.rows(ENRICHED).items() if quality(row) == 0.72)
    name = str(copy.rows("items")[item]["name"])
    with opened() as resources:
        fallback, primary = resources.fallback.producer, resources.primary.producer
        assert resources.search.spaces() == (fallback,)
        before = {hit["item_id"]: hit for hit in search(resources, name, mode="hybrid", top=40)}
        heal(resources)
    healed = hours.materialized()
    assert healed.success
    assert hours.table(copy.data, "retry_queue") == []
    with opened() as resources:
        assert resources.search.spaces() == (primary,)
        after = {hit["item_id"]: hit for hit in search(resources, name, mode="hybrid", top=40)}
        assert resources.search.count() == ALL
    assert round(before[item]["quality"], 4) == 0.72
    assert after[item]["quality"] == pytest.approx(1.0)
    assert hours.shown(healed)["fetched"]["rows_planned"] == 0
    assert hours.verdicts(healed)["enriched_items.quality"].passed


def test_an_outage_in_a_good_hour_changes_nothing(good: Hour, copied: Copied) -> None:
    """What was good is not made worse: the rows stand, and so does the index."""
    copy = copied(good)
    before = copy.rows(ENRICHED)
    with opened() as resources:
        resources.accelerator.fail(InjectedFault(Fault.UNAVAILABLE))
    assert hours.materialized().success
    assert copy.rows(ENRICHED) == before
    assert hours.table(copy.data, "retry_queue", HOUR) == []
