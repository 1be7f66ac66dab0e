"""Every notebook runs from top to bottom, and its figures are those of the tables."""

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from math import prod
from pathlib import Path
from statistics import fmean
from typing import Any

import nbformat
import pandas as pd
import pytest
from nbclient import NotebookClient

from pipeline_assets.commands.breakers import events
from pipeline_assets.resources import opened
from pipeline_assets.store.rung_calls import read_calls
from pipeline_assets.store.tables import Tables
from pipeline_assets_tests import REPOSITORY
from pipeline_assets_tests.analytics.marks import marks
from pipeline_assets_tests.lengths import HANG_S
from pipeline_assets_tests.search.judged import ndcg

FOLDER = REPOSITORY / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
ITEMS = 140
"""So many that an hour has the hundred pictures that drift is looked for in."""
LARGEST_BYTES = 200_000
COMMAND_LINE = "from pipeline_assets.cli import main; main()"

Row = dict[str, Any]
parsed: Any = nbformat.reads  # has no types


@dataclass(frozen=True)
class Shown:
    """What a notebook shows: its tables, its figures and what it prints, in their order."""

    frames: list[pd.DataFrame]
    figures: list[list[dict[str, str]]]
    printed: str


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tables]:
    """The demo's tables; the notebooks' kernels find them by `PIPELINE_DATA`."""
    folder = tmp_path_factory.mktemp("notebooks")
    data = folder / "data"
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("PIPELINE_", "DAGSTER_"))]:
            patch.delenv(name)
        patch.setenv("PIPELINE_DATA", str(data))
        patch.setenv("JUPYTER_RUNTIME_DIR", str(folder / "jupyter"))
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        demo = [sys.executable, "-c", COMMAND_LINE, "demo", "--items", str(ITEMS)]
        ended = subprocess.run(demo, cwd=folder, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
        yield Tables(data / "tables")


def execute(name: str) -> Shown:
    """Run a copy of a notebook as if it had been opened in its folder."""
    copy = parsed((FOLDER / f"{name}.ipynb").read_text(encoding="utf-8"), as_version=4)
    metadata = {"metadata": {"path": str(FOLDER)}}
    NotebookClient(copy, timeout=HANG_S, resources=metadata).execute()
    return shown(copy)


def outputs(notebook: Any) -> list[Any]:
    """All outputs of a notebook, in order."""
    return [each for cell in notebook.cells for each in cell.get("outputs", [])]


def shown(notebook: Any) -> Shown:
    """Its outputs, by what they are."""
    every = outputs(notebook)
    data = [each.get("data", {}) for each in every]
    pages = [each["text/html"] for each in data if "text/html" in each]
    return Shown(
        frames=[pd.read_html(StringIO(page), index_col=0)[0] for page in pages],
        figures=[marks(each["image/svg+xml"]) for each in data if "image/svg+xml" in each],
        printed="".join(each["text"] for each in every if each["output_type"] == "stream"),
    )


@pytest.fixture(scope="module")
def quality(tables: Tables) -> Shown:
    """What `quality_distribution` shows of the demo's tables."""
    assert tables.hours("enriched_items")
    return execute("quality_distribution")


@pytest.fixture(scope="module")
def reliability(tables: Tables) -> Shown:
    """What `reliability` shows."""
    assert tables.hours("reliability")
    return execute("reliability")


@pytest.fixture(scope="module")
def search(tables: Tables) -> Shown:
    """What `search_quality` shows."""
    assert tables.hours("enriched_items")
    return execute("search_quality")


@pytest.fixture(scope="module")
def drift(tables: Tables) -> Shown:
    """What `drift` shows."""
    assert tables.hours("drift")
    return execute("drift")


def rows(tables: Tables, name: str) -> dict[str, list[Row]]:
    """The rows of each hour of a table."""
    return {hour: tables.read(name, hour).to_pylist() for hour in tables.hours(name)}


def every_row(tables: Tables, name: str) -> list[Row]:
    """The rows of all hours, each with its hour."""
    return [{**row, "hour": hour} for hour, found in rows(tables, name).items() for row in found]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_committed_is_small_and_was_run_in_order(notebook: Path) -> None:
    """Outputs are there for readers on a code host, and say nothing of the machine."""
    text = notebook.read_text(encoding="utf-8")
    saved = parsed(text, as_version=4)
    nbformat.validate(saved)
    cells = [cell for cell in saved.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert shown(saved).frames
    assert shown(saved).figures
    assert {each["output_type"] for each in outputs(saved)} <= {"execute_result", "stream"}
    assert "stderr" not in {each.get("name") for each in outputs(saved)}
    assert len(text.encode()) < LARGEST_BYTES
    assert not re.search(
        r"(/home/|/Users/|/tmp/|/work/|site-packages|127\.0\.0\.1|localhost)", text
    )


def test_the_notebooks_are_all_tested() -> None:
    """One that is added is executed here, or this test says so."""
    names = ["drift", "quality_distribution", "reliability", "search_quality"]
    assert [path.stem for path in NOTEBOOKS] == names


def test_each_hour_shows_its_items_and_their_quality(quality: Shown, tables: Tables) -> None:
    """The figures per hour are those of `enriched_items`."""
    by_hour = quality.frames[0].set_index("hour")
    found = rows(tables, "enriched_items")
    assert list(by_hour.index) == list(found)
    for hour, items in found.items():
        qualities = [round(item["quality"], 4) for item in items]
        assert int(by_hour["rows"][hour]) == len(items) == ITEMS
        assert float(by_hour["mean"][hour]) == pytest.approx(fmean(qualities), abs=1e-4)
        assert float(by_hour["lowest"][hour]) == pytest.approx(min(qualities), abs=1e-4)
        share = sum(quality >= 0.8 for quality in qualities) / ITEMS
        assert float(by_hour["at_threshold"][hour]) == pytest.approx(share, abs=1e-4)


def test_the_bars_count_every_item_once(quality: Shown, tables: Tables) -> None:
    """One bar for each hour and quality, with the number of its items."""
    drawn = {(bar["hour"], float(bar["quality"])): int(bar["items"]) for bar in quality.figures[0]}
    items = every_row(tables, "enriched_items")
    assert drawn == Counter((item["hour"], round(item["quality"], 4)) for item in items)


def test_each_stage_shows_its_rows(quality: Shown, tables: Tables) -> None:
    """How many there are, how many have a value, and how good they are."""
    by_stage = quality.frames[1].set_index("stage")
    assert len(by_stage) == 5
    for stage in by_stage.index:
        found = every_row(tables, stage)
        assert int(by_stage["rows"][stage]) == len(found)
        assert int(by_stage["ok"][stage]) == sum(row["status"] == "ok" for row in found)
        mean = fmean(row["quality"] for row in found)
        assert float(by_stage["mean"][stage]) == pytest.approx(mean, abs=1e-4)


def test_each_rung_shows_its_rows(quality: Shown, tables: Tables) -> None:
    """The rows of all hours, by stage and by rung or status."""
    by_rung = quality.frames[2]
    columns = (by_rung[name] for name in ("stage", "rung", "rows"))
    counted = {(stage, rung): int(count) for stage, rung, count in zip(*columns, strict=True)}
    stages = list(by_rung["stage"].unique())
    assert len(stages) == 5
    assert counted == Counter(
        (stage, row["rung"] or f"({row['status']})")
        for stage in stages
        for row in every_row(tables, stage)
    )


def test_each_label_shows_its_items(quality: Shown, tables: Tables) -> None:
    """In the table and in the bars below it."""
    counted = Counter(row["label"] or "(none)" for row in every_row(tables, "enriched_items"))
    by_label = quality.frames[3].set_index("label")["rows"]
    assert {label: int(count) for label, count in by_label.items()} == counted
    assert {bar["label"]: int(bar["rows"]) for bar in quality.figures[1]} == counted


def test_healing_is_shown_from_what_items_were_worth(quality: Shown, tables: Tables) -> None:
    """Before: those in trouble as they were then, the others as they are. Now: all as they are."""
    drawn = {
        (bar["moment"], float(bar["quality"])): int(bar["items"]) for bar in quality.figures[2]
    }
    troubled = {hour: found for hour, found in rows(tables, "recovery").items() if found}
    assert len(troubled) == 1
    (hour, found), *_ = troubled.items()
    then = {row["item_id"]: row["quality_then"] for row in found}
    expected = Counter[tuple[str, float]]()
    for item in rows(tables, "enriched_items")[hour]:
        expected["now", round(item["quality"], 4)] += 1
        before = {**item, "quality": then[item["item_id"]]} if item["item_id"] in then else item
        expected["before", round(before["quality"], 4)] += 1
    assert drawn == expected
    assert drawn["before", 0.72] > 0


def test_what_degraded_items_cost_is_told_of_just_these(quality: Shown, tables: Tables) -> None:
    """Their number, their quality before and now, and more attempts than others took."""
    costs = quality.frames[4].astype({"was_degraded": str}).set_index(["hour", "was_degraded"])
    by_kind = costs.to_dict("index")
    (hour, found), *_ = ((h, each) for h, each in rows(tables, "recovery").items() if each)
    degraded = by_kind[hour, "True"]
    assert degraded["items"] == len(found)
    assert degraded["quality_before"] == pytest.approx(
        fmean(row["quality_then"] for row in found), abs=1e-3
    )
    assert degraded["quality_now"] > degraded["quality_before"]
    assert degraded["attempts_per_item"] > by_kind[hour, "False"]["attempts_per_item"]


def test_the_calls_tell_of_the_outage(quality: Shown) -> None:
    """The tables are healed; what the fallback made in between is still on record."""
    calls = quality.frames[5]
    by_fallback = calls[calls["rung"] == "cpu_clip"]
    assert sorted(by_fallback["stage"]) == ["embeddings", "image_labels"]
    assert (by_fallback["made"] + by_fallback["recalled"] > 0).all()


def test_the_worst_item_is_explained_by_its_factors(quality: Shown, tables: Tables) -> None:
    """The factors shown are the item's own, and their product is its quality."""
    items = every_row(tables, "enriched_items")
    worst = min(items, key=lambda row: (round(row["quality"], 4), row["hour"], row["item_id"]))
    factors = worst["quality_factors"]
    assert f"{worst['item_id']} of hour {worst['hour']}" in quality.printed
    assert f"quality {worst['quality']:.4g}" in quality.printed
    explained = quality.frames[-1]
    assert prod(explained["factor"]) == pytest.approx(worst["quality"], abs=1e-4)
    assert list(explained["stage"]) == [each["stage"] for each in factors]
    assert list(explained["rung_or_status"]) == [each["rung_or_status"] for each in factors]


def test_the_three_rates_are_those_of_calls_items_and_outcomes(
    reliability: Shown, tables: Tables
) -> None:
    """Counted anew from the calls and the items; the bars are the same rates."""
    rates = reliability.frames[0].set_index(["hour", "level", "name"]).to_dict("index")
    bars = {(bar["hour"], bar["name"]): float(bar["rate"]) for bar in reliability.figures[0]}
    assert len(bars) == len(rates)
    for hour, items in rows(tables, "enriched_items").items():
        calls = read_calls(tables, hour).to_pylist()
        task = rates[hour, "task", "rung calls, row by row"]
        assert task["attempted"] == sum(call["rows"] for call in calls)
        assert task["succeeded"] == sum(call["made"] for call in calls)
        workflow = rates[hour, "workflow", "through all stages"]
        assert workflow["succeeded"] == sum(item["status"] == "ok" for item in items)
        usable = rates[hour, "outcome", "usable: quality at the threshold"]
        assert usable["succeeded"] == sum(round(item["quality"], 4) >= 0.8 for item in items)
        assert bars[hour, "through all stages"] == pytest.approx(workflow["rate"])


def test_recovery_counts_the_items_that_healed(reliability: Shown, tables: Tables) -> None:
    """By class, with those in time; the bars are the medians."""
    found = every_row(tables, "recovery")
    by_class = reliability.frames[1].set_index("priority")
    healed = Counter(row["priority"] for row in found if row["healed_at"])
    assert {name: int(count) for name, count in by_class["healed"].items()} == healed
    in_time = {name: int(count) for name, count in by_class["in_time"].items()}
    assert in_time == {
        name: sum(bool(row["met"]) for row in found if row["priority"] == name) for name in healed
    }
    medians = {bar["priority"]: float(bar["median_s"]) for bar in reliability.figures[1]}
    assert medians == pytest.approx(dict(by_class["median_s"]), abs=1e-3)


def test_the_breakers_opened_in_the_outage_and_closed_again(reliability: Shown) -> None:
    """A line for each transition of the state database, and as many spans."""
    with opened() as resources:
        kept = Counter((event["breaker"], event["to"]) for event in events(resources, None, 100))
    timeline = reliability.frames[2]
    assert Counter(zip(timeline["breaker"], timeline["mode"], strict=True)) == kept
    assert Counter((span["breaker"], span["mode"]) for span in reliability.figures[2]) == kept
    assert {"open", "closed"} <= {mode for _, mode in kept}


def test_the_time_of_each_stage_is_that_of_its_calls(reliability: Shown, tables: Tables) -> None:
    """Spread over the items of the hour."""
    bars = reliability.figures[3]
    drawn = {(bar["hour"], bar["stage"]): float(bar["rung_ms_per_item"]) for bar in bars}
    expected = Counter[tuple[str, str]]()
    for hour in tables.hours("enriched_items"):
        for call in read_calls(tables, hour).to_pylist():
            expected[hour, call["stage"]] += 1000 * call["seconds"] / ITEMS
    assert drawn == pytest.approx(dict(expected))


def test_each_way_of_searching_is_judged_by_the_same_queries(search: Shown, tables: Tables) -> None:
    """The words' score on kinds, computed anew; the bars are the table's."""
    kinds: dict[str, dict[str, int]] = {}
    for row in every_row(tables, "enriched_items"):
        if row["label"]:
            kinds.setdefault(row["label"], {})[row["item_id"]] = 1
    with opened() as resources:
        index = resources.search
        scores = [
            ndcg([hit.item_id for hit in index.search(kind, mode="keyword", embedders={})], items)
            for kind, items in kinds.items()
        ]
    means = search.frames[0].set_index(["kind", "mode"])["ndcg"]
    assert len(means) == 9
    assert means["kind", "keyword"] == pytest.approx(fmean(scores), abs=1e-3)
    assert means["name", "hybrid"] > means["name", "vector"]
    bars = {(bar["kind"], bar["mode"]): float(bar["ndcg"]) for bar in search.figures[0]}
    assert bars == pytest.approx(dict(means), abs=1e-3)


def test_the_newest_hours_drift_is_the_tables(drift: Shown, tables: Tables) -> None:
    """Each feature with its distance; a bar for each that could be compared."""
    kept = rows(tables, "drift")[tables.hours("drift")[-1]]
    assert list(drift.frames[0]["feature"]) == [row["feature"] for row in kept]
    assert list(drift.frames[0]["drifted"]) == [row["drifted"] for row in kept]
    distances = {row["feature"]: row["distance"] for row in kept if row["distance"] is not None}
    drawn = {bar["feature"]: float(bar["distance"]) for bar in drift.figures[0]}
    assert drawn == pytest.approx(distances, abs=1e-6)


def test_the_shares_of_labels_are_counted_from_the_items(drift: Shown, tables: Tables) -> None:
    """Of the items of an hour that have a label."""
    labelled = [row for row in every_row(tables, "item_features") if row["label"]]
    counted = Counter((row["hour"], row["label"]) for row in labelled)
    of_hour = Counter(row["hour"] for row in labelled)
    drawn = {(bar["hour"], bar["label"]): float(bar["share"]) for bar in drift.figures[1]}
    expected = {key: count / of_hour[key[0]] for key, count in counted.items()}
    assert drawn == pytest.approx(expected)


def test_darker_pictures_are_called_drift(drift: Shown) -> None:
    """And the hour as it is, is not."""
    assert "as it is: nothing has moved" in drift.printed
    assert re.search(r"^darkened: .*brightness: median \S+ → \S+", drift.printed, re.MULTILINE)
