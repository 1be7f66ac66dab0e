"""Every notebook runs from top to bottom, and shows what the tables hold."""

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from io import StringIO
from math import prod
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest
from nbclient import NotebookClient

from pipeline_assets.adapters.tables import Tables

REPOSITORY = Path(__file__).parents[2]
FOLDER = REPOSITORY / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
ITEMS = 60
LARGEST_BYTES = 200_000
CELL_TIMEOUT_S = 60
COMMAND_LINE = "from pipeline_assets.cli import main; main()"

Outputs = list[Any]
parsed: Any = nbformat.reads  # has no types


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


def execute(notebook: Path, folder: Path) -> Outputs:
    """Run a copy of a notebook as if it had been opened in `folder`; all outputs, in order."""
    copy = parsed(notebook.read_text(encoding="utf-8"), as_version=4)
    metadata = {"metadata": {"path": str(folder)}}
    NotebookClient(copy, timeout=CELL_TIMEOUT_S, resources=metadata).execute()
    return outputs(copy)


def outputs(notebook: Any) -> Outputs:
    """All outputs of a notebook, in order."""
    return [each for cell in notebook.cells for each in cell.get("outputs", [])]


def frames(shown: Outputs) -> list[pd.DataFrame]:
    """The data frames among some outputs."""
    pages = [each["data"]["text/html"] for each in shown if "text/html" in each.get("data", {})]
    return [pd.read_html(StringIO(page), index_col=0)[0] for page in pages]


def printed(shown: Outputs) -> str:
    """What was printed."""
    return "".join(each["text"] for each in shown if each["output_type"] == "stream")


@pytest.fixture(scope="module")
def quality(tables: Tables) -> Outputs:
    """What `quality_distribution` shows of the demo's tables."""
    assert tables.hours("enriched_items")
    return execute(FOLDER / "quality_distribution.ipynb", FOLDER)


def enriched(tables: Tables) -> dict[str, list[dict[str, Any]]]:
    """The enriched items of each hour."""
    columns = ["item_id", "quality", "quality_factors"]
    hours = tables.hours("enriched_items")
    return {hour: tables.read("enriched_items", hour, columns).to_pylist() for hour in hours}


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_notebook_runs_from_the_repository_root(notebook: Path, tables: Tables) -> None:
    """No cell fails, and something is shown."""
    assert tables.root.is_dir()
    assert execute(notebook, REPOSITORY)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_committed_is_small_and_was_run_in_order(notebook: Path) -> None:
    """Outputs are there for readers on a code host, and say nothing of the machine."""
    text = notebook.read_text(encoding="utf-8")
    saved = parsed(text, as_version=4)
    nbformat.validate(saved)
    cells = [cell for cell in saved.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert outputs(saved)
    assert not [each for each in outputs(saved) if each["output_type"] == "error"]
    assert len(text.encode()) < LARGEST_BYTES
    assert not re.search(r"(/home/|/Users/|/tmp/|127\.0\.0\.1|localhost)", text)


def test_each_hour_shows_its_items_and_their_quality(quality: Outputs, tables: Tables) -> None:
    """The figures per hour are those of `enriched_items`."""
    shown = frames(quality)[0].set_index("hour")
    found = enriched(tables)
    assert list(shown.index) == list(found)
    for hour, items in found.items():
        qualities = [item["quality"] for item in items]
        assert int(shown["items"][hour]) == len(items) == ITEMS
        assert float(shown["mean"][hour]) == pytest.approx(sum(qualities) / ITEMS, abs=6e-4)
        assert float(shown["lowest"][hour]) == pytest.approx(min(qualities), abs=6e-4)
        at_threshold = sum(round(quality, 4) >= 0.8 for quality in qualities)
        assert int(shown["at_threshold"][hour]) == at_threshold


def test_the_bars_count_every_item_once(quality: Outputs, tables: Tables) -> None:
    """One bar for each hour and quality, with the number of its items."""
    lines = re.findall(r"^(\S+)  ([01]\.\d{3})  +(\d+)  █+$", printed(quality), re.MULTILINE)
    counted = {(hour, share): int(count) for hour, share, count in lines}
    assert counted == Counter(
        (hour, f"{item['quality']:.3f}")
        for hour, items in enriched(tables).items()
        for item in items
    )


def test_each_rung_shows_its_rows(quality: Outputs, tables: Tables) -> None:
    """The rows of all hours, by stage and by rung or status."""
    shown = frames(quality)[1]
    counted = Counter[tuple[str, str]]()
    for stage, rung, rows in zip(shown["stage"], shown["rung"], shown["rows"], strict=True):
        counted[stage, rung] += int(rows)
    expected = Counter[tuple[str, str]]()
    for stage in shown["stage"].unique():
        for hour in tables.hours(stage):
            for row in tables.read(stage, hour, ["status", "rung"]).to_pylist():
                expected[stage, row["rung"] or f"({row['status']})"] += 1
    assert counted == expected
    assert len(shown["stage"].unique()) == 5


def test_the_calls_tell_of_the_outage(quality: Outputs) -> None:
    """The tables are healed; what the fallback made in between is still on record."""
    calls = frames(quality)[2]
    by_fallback = calls[calls["rung"] == "cpu_clip"]
    assert sorted(by_fallback["stage"]) == ["embeddings", "image_labels"]
    assert (by_fallback["made"] + by_fallback["recalled"] > 0).all()


def test_the_worst_item_is_explained_by_its_factors(quality: Outputs, tables: Tables) -> None:
    """The factors shown are the item's own, and their product is its quality."""
    lowest, hour, worst = min(
        (
            (round(item["quality"], 4), hour, item)
            for hour, items in enriched(tables).items()
            for item in items
        ),
        key=lambda found: (found[0], found[1], found[2]["item_id"]),
    )
    factors = worst["quality_factors"]
    assert prod(each["factor"] for each in factors) == pytest.approx(lowest, abs=1e-4)
    text = printed(quality)
    assert f"{worst['item_id']} of hour {hour}" in text
    assert re.search(rf"= {lowest:.4g}$", text, re.MULTILINE)
    shown = frames(quality)[-1]
    assert list(shown["stage"]) == [each["stage"] for each in factors]
    assert list(shown["rung_or_status"]) == [each["rung_or_status"] for each in factors]
    assert list(shown["factor"]) == pytest.approx([each["factor"] for each in factors], abs=1e-4)
