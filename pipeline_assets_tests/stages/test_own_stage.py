"""The seventh stage of the docs, just as it lies there: a table like every other."""

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from docs import language
from pipeline_assets.commands.breakers import open_breaker, reset_breaker
from pipeline_assets.commands.budget import budgets
from pipeline_assets.commands.dead_letters import LetterFilter, dead_letters
from pipeline_assets.commands.plan import plan
from pipeline_assets.commands.quality import By, quality
from pipeline_assets.commands.show import show
from pipeline_assets.core.rows import Made, Outcome, Work
from pipeline_assets.core.stage import RungCall
from pipeline_assets.errors import DataError
from pipeline_assets.sample.shop import Shop
from pipeline_assets.stages import all_stages
from pipeline_assets.stages.store import SOURCES
from pipeline_assets_tests import hours
from pipeline_assets_tests.conftest import HOUR, ITEMS, Clock, Platform, called, open_resources

FILE = Path(language.__file__)
MODULE = "docs.language"
MOST_LINES = 50
COMMAND = Path(sys.executable).with_name("pipeline-assets")

GERMAN = "Das Hemd ist aus Leinen und wird bei 30 Grad gewaschen."
ENGLISH = "The shirt is made of fine linen and is washed at 30 degrees."
FEW_WORDS = "Chemise, le lot"
NO_WORDS = "AB-12 / 44 x 30"


def test_the_file_is_as_short_as_is_said_of_it() -> None:
    """Empty lines are not counted."""
    assert len([line for line in FILE.read_text().splitlines() if line]) <= MOST_LINES


def told(call: RungCall, *texts: str) -> list[Outcome]:
    """What a rung gives for these texts."""
    return list(call(None, [Work(("a",), {language.TEXT: text}) for text in texts]))


def languages(outcomes: Sequence[Outcome]) -> list[str | None]:
    """The language of each, if it has one."""
    return [each.values[0] if isinstance(each, Made) else None for each in outcomes]


def test_the_library_is_believed_where_it_is_sure() -> None:
    """The others say how sure it is of what, and are no reason to try again."""
    outcomes = told(language.library, GERMAN, FEW_WORDS, ENGLISH, NO_WORDS)
    assert languages(outcomes) == ["de", None, "en", None]
    assert all(isinstance(each, DataError) for each in outcomes[1::2])
    assert "% sure that it is" in str(outcomes[1])


def test_a_language_that_iso_639_1_does_not_have_is_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However sure the library is."""

    class Sure:
        def classify(self, _text: str) -> tuple[str, float]:
            return "zxx", 0.99

    monkeypatch.setattr(language, "model", Sure)
    [outcome] = told(language.library, NO_WORDS)
    assert isinstance(outcome, DataError)


def test_stop_words_tell_the_language_of_a_few_words() -> None:
    """They claim no confidence; without one there is no value."""
    outcomes = told(language.stop_words, FEW_WORDS, "Das Hemd", NO_WORDS, "", ENGLISH)
    assert languages(outcomes) == ["fr", "de", None, None, "en"]


@pytest.fixture
def own(finished_root: Path, tmp_path: Path, shop: Shop) -> Iterator[Platform]:
    """A finished hour, on the day on which the stage is added."""
    data, clock = tmp_path / "own", Clock()
    shutil.copytree(finished_root, data)
    resources = open_resources(data, clock, shop, stages=(MODULE,))
    yield Platform(resources, clock)
    resources.close()


def run(platform: Platform) -> dict[str, int]:
    """Bring all stages up to date; how many rows each rung was given."""
    return called(platform.run(*all_stages(platform.resources.settings)))


def retell(platform: Platform, *texts: str) -> list[str]:
    """Change the texts of as many items; their ids."""
    table = platform.resources.tables.read("extracted_text", HOUR)
    told = table["text"].to_pylist()
    places = [place for place, text in enumerate(told) if text][: len(texts)]
    for place, text in zip(places, texts, strict=True):
        told[place] = text
    at = table.schema.get_field_index("text")
    changed = table.set_column(at, table.schema.field("text"), pa.array(told, pa.string()))
    platform.resources.tables.write("extracted_text", HOUR, changed)
    return [table["item_id"][place].as_py() for place in places]


def test_adding_a_stage_makes_its_rows_and_joins_every_item_once_more(own: Platform) -> None:
    """Nothing else is done again, and the next run has nothing to do."""
    texts = {item for item, row in own.rows("extracted_text").items() if row["status"] == "ok"}
    assert run(own) == {"language.library": len(texts), "enriched_items.join": ITEMS}
    assert {item for item, row in own.rows("language").items() if row["language"] == "en"} == texts
    assert run(own) == {}


def test_a_text_that_was_lost_upstream_costs_nothing_here(own: Platform) -> None:
    """It was charged where it was lost; and no document is nothing to do."""
    run(own)
    upstream = {item: row["status"] for item, row in own.rows("extracted_text").items()}
    without = {k: row for k, row in own.rows("language").items() if row["status"] != "ok"}
    assert {upstream[item] for item in without} == {"skipped", "not-applicable"}
    for item, row in without.items():
        why = "upstream" if upstream[item] == "skipped" else None
        assert (row["status"], row["error_kind"], row["quality"]) == (upstream[item], why, 1.0)


def test_a_row_says_which_rung_made_it_and_the_score_multiplies(own: Platform) -> None:
    """Where neither rung can tell, the row is a dead letter and the item goes on all the same."""
    before = own.rows("enriched_items")
    sure, few, none = retell(own, GERMAN, FEW_WORDS, NO_WORDS)
    run(own)
    rows, enriched = own.rows("language"), own.rows("enriched_items")
    assert [rows[item]["language"] for item in (sure, few, none)] == ["de", "fr", None]
    assert [rows[item]["rung"] for item in (sure, few, none)] == ["library", "stop_words", None]
    assert (rows[none]["status"], rows[none]["error_kind"]) == ("failed", "unsupported")
    for item, factor in ((sure, 1.0), (few, 0.8), (none, 0.7)):
        assert rows[item]["quality"] == pytest.approx(factor)
        assert enriched[item]["quality"] == pytest.approx(before[item]["quality"] * factor)
    for row in enriched.values():
        assert [each["stage"] for each in row["quality_factors"]] == [*SOURCES, "language"]
        product = math.prod(each["factor"] for each in row["quality_factors"])
        assert row["quality"] == pytest.approx(product, abs=1e-4)
    assert enriched[few]["quality_factors"][-1]["rung_or_status"] == "stop_words"


def test_a_healed_row_reaches_the_items(own: Platform) -> None:
    """Degraded while the library was out of order, and improvable until it is not."""
    resources = own.resources
    open_breaker(resources, "language.library", None)
    run(own)
    texts = [item for item, row in own.rows("language").items() if row["status"] == "ok"]
    degraded = own.rows("enriched_items")
    assert {own.rows("language")[item]["error_kind"] for item in texts} == {"circuit_open"}
    assert all(degraded[item]["improvable"] for item in texts)
    reset_breaker(resources, "language.library")
    assert run(own) == {"language.library": len(texts), "enriched_items.join": len(texts)}
    healed = own.rows("enriched_items")
    for item in texts:
        assert healed[item]["quality"] == pytest.approx(degraded[item]["quality"] / 0.8)


def test_where_no_rung_can_be_asked_the_row_is_skipped(own: Platform) -> None:
    """Deliberately not done, and improvable; nobody waits for it."""
    for rung in ("library", "stop_words"):
        open_breaker(own.resources, f"language.{rung}", None)
    [item] = retell(own, ENGLISH)
    run(own)
    row, enriched = own.rows("language")[item], own.rows("enriched_items")[item]
    assert (row["status"], row["language"], row["retryable"]) == ("skipped", None, True)
    assert row["quality"] == pytest.approx(0.7)
    assert (enriched["status"], enriched["improvable"]) == ("ok", True)


def test_every_command_knows_the_stage(own: Platform) -> None:
    """As it knows the package's."""
    resources = own.resources
    planned = plan(resources, HOUR, items=frozenset(), force=False)["stages"]
    assert [each["stage"] for each in planned][-2:] == ["language", "enriched_items"]
    run(own)
    item = next(iter(own.rows("language")))
    shown = show(resources, item)
    assert shown is not None
    assert "language" in shown["stages"]
    assert "language" in {group["stage"] for group in quality(resources, By.STAGE)}
    assert "language" in {each["stage"] for each in budgets(resources) if each["known"]}
    assert dead_letters(resources, LetterFilter(stage="language")) == []


@dataclass(frozen=True)
class Run:
    """What a run said, and the data root that it left behind."""

    data: Path
    metadata: dict[str, dict[str, Any]]
    warnings: list[str]

    def stages(self, table: str, column: str = "stage") -> set[str]:
        """What a table has in a column."""
        return {row[column] for row in hours.table(self.data, table)}


@pytest.fixture(scope="module")
def users_run(finished_root: Path, tmp_path_factory: pytest.TempPathFactory, shop: Shop) -> Run:
    """`pipeline-assets run` in a folder with a copy of the file, and `PIPELINE_STAGES=language`."""
    folder = tmp_path_factory.mktemp("user")
    shutil.copy(FILE, folder)
    data = folder / "data"
    shutil.copytree(finished_root, data)
    foreign = ("PIPELINE_", "DAGSTER_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    settings = {**hours.environment_of(data, shop.url), "PIPELINE_STAGES": FILE.stem}
    done = subprocess.run(
        [COMMAND, "run", "--hour", HOUR, "--format", "json"],
        env={**clean, **settings, "PIPELINE_WORKERS": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    [hour] = json.loads(done.stdout)["hours"]
    return Run(data, hour["metadata"], hour["warnings"])


def test_a_file_in_the_working_directory_is_picked_up(users_run: Run) -> None:
    """It is an asset of the hour, worked on in a worker process; its checks pass."""
    shown = users_run.metadata["language"]
    assert shown["dagster/row_count"] == shown["rows_planned"] == ITEMS
    assert shown["rung_library_made"] == shown["status_ok"]
    assert not [warning for warning in users_run.warnings if "language" in warning]


def test_the_derived_tables_know_the_stage(users_run: Run) -> None:
    """Its rows are counted in the summary, its calls in the reliability."""
    assert "language" in users_run.stages("quality_summary")
    assert "language.library" in users_run.stages("reliability", "name")


DESCRIBED = """
import json
from pipeline_assets.definitions import defs
graph = defs.get_repository_def().asset_graph
print(json.dumps({
    "checks": sorted(k.name for k in graph.asset_check_keys if k.asset_key.path == ["language"]),
    "job": sorted(k.path[0] for k in defs.resolve_job_def("hour").asset_layer.selected_asset_keys),
    "upstream": {
        spec.key.path[0]: sorted(dep.asset_key.path[0] for dep in spec.deps)
        for spec in defs.resolve_all_asset_specs()
    },
}))
"""


def test_the_definitions_have_the_asset_with_its_checks() -> None:
    """In the job of an hour, between what it reads and the join."""
    loaded = subprocess.run(
        [sys.executable, "-c", DESCRIBED],
        env={**os.environ, "PIPELINE_STAGES": MODULE},
        cwd=FILE.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert loaded.returncode == 0, loaded.stderr
    described = json.loads(loaded.stdout)
    assert described["checks"] == ["no_bugs", "quality", "structure"]
    assert "language" in described["job"]
    assert described["upstream"]["language"] == ["extracted_text", "items"]
    assert "language" in described["upstream"]["enriched_items"]
