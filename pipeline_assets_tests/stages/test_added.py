"""Stages of one's own: which fit into the pipeline, and what is said of those that do not."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from pipeline_assets.core.names import TAKEN
from pipeline_assets.core.stage import Rung, Stage
from pipeline_assets.definitions import defs
from pipeline_assets.errors import SettingsError
from pipeline_assets.settings import load_settings
from pipeline_assets.stages import (
    STAGES,
    all_stages,
    find_stage,
    stage_tables,
    store,
    strict_tables,
)
from pipeline_assets.stages.added import KEPT_BY_DAGSTER, added_stages
from pipeline_assets_tests.hours import Finished, command, environment

BEFORE = STAGES[:-1]


def _rung(**changes: Any) -> Rung:
    given: dict[str, Any] = {"name": "only", "factor": 1.0, "reads": ("extracted_text.text",)}
    return Rung(**given | changes, call=lambda _r, _w: [], producer=lambda _r: "own/1")


def _stage(**changes: Any) -> Stage:
    given: dict[str, Any] = {
        "name": "own",
        "description": "A stage of one's own.",
        "values": (pa.field("value", pa.string()),),
        "rungs": (_rung(),),
        "skip_factor": 0.5,
    }
    return Stage(**given | changes)


def _reads(*fields: str, **changes: Any) -> Stage:
    return _stage(rungs=(_rung(reads=fields),), **changes)


@pytest.fixture(autouse=True)
def _module_path() -> Iterator[None]:
    """What looking for modules adds to the path does not outlive the test."""
    before = list(sys.path)
    yield
    sys.path[:] = before


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes modules of stages; gives their names."""

    def make(*stages: object) -> tuple[str, ...]:
        names = tuple(f"module_of_one_s_own_{number}" for number in range(len(stages)))
        for name, stage in zip(names, stages, strict=True):
            monkeypatch.setitem(sys.modules, name, SimpleNamespace(STAGE=stage))
        return names

    return make


def test_without_the_setting_the_stages_are_the_packages() -> None:
    """The very same objects."""
    assert all_stages(load_settings(stages=())) is STAGES


def test_added_stages_come_before_the_join_in_the_order_of_the_setting(modules: Any) -> None:
    """So that the join reads them, and each may read those before it."""
    second = _reads("own.value", name="second")
    settings = load_settings(stages=modules(_stage(strict=True), second))
    names = [stage.name for stage in all_stages(settings)]
    assert names == [*(stage.name for stage in BEFORE), "own", "second", "enriched_items"]
    assert stage_tables(settings) == ("items", *names)
    assert strict_tables(settings) == {"items", "own"}
    assert find_stage(settings, "second") is second
    assert find_stage(settings, "enriched_items").upstream[-2:] == ("own", "second")


def test_the_join_of_no_added_stages_is_the_packages() -> None:
    """What stands in the tables is not made anew by a program that could have had more."""
    assert store.stage(()).inputs == store.STAGE.inputs
    assert store.stage(()).schema == store.STAGE.schema


@pytest.mark.parametrize("per_resource", [False, True])
def test_the_join_reads_each_row_that_an_added_stage_has_for_an_item(per_resource: bool) -> None:
    """One, or one for each role; and its own columns stay what they were."""
    joined = store.stage((_stage(per_resource=per_resource),))
    places = ("own.document", "own.image") if per_resource else ("own",)
    added = [name for name in joined.inputs if name not in store.STAGE.inputs]
    assert added == [f"{place}.{field}" for place in places for field in store.ROW_FIELDS]
    assert joined.schema == store.STAGE.schema


FIT = {
    "what it reads": _reads("items.name", "extracted_text.text", "image_labels.status"),
    "both roles": _reads("fetched.document.sha256", "validated.image.width"),
    "its own role": _reads("fetched.sha256", "fetched.image.status", per_resource=True),
    "what is derived": _stage(
        rungs=(_rung(reads=("derived",)),), derives_from=("items.name",), carries=("items.kind",)
    ),
}


@pytest.mark.parametrize("stage", FIT.values(), ids=FIT.keys())
def test_a_stage_may_read_any_field_before_it(stage: Stage, modules: Any) -> None:
    """By the name under which it will be given."""
    assert added_stages(modules(stage), BEFORE) == (stage,)


UNFIT = {
    "a name that is a path": (_stage(name="../own"), "'../own' cannot name an asset"),
    "a name in capitals": (_stage(name="Own"), "'Own' cannot name an asset"),
    "a name of Python's": (_stage(name="class"), "'class' cannot name an asset"),
    "a name of Dagster's": (_stage(name="config"), "'config' cannot name an asset"),
    "a group with a space": (_stage(group="my group"), "'my group' cannot name an asset"),
    "a rung with a host": (_stage(rungs=(_rung(name="a@b"),)), "'a@b' cannot name an asset"),
    "a stage's table": (_stage(name="fetched"), "there is a table 'fetched' already"),
    "the items": (_stage(name="items"), "there is a table 'items' already"),
    "a derived table": (_stage(name="drift"), "there is a table 'drift' already"),
    "a column of every table": (
        _stage(values=(pa.field("confidence", pa.float32()),)),
        "every table has a column 'confidence' already; name its value otherwise",
    ),
    "a key": (
        _stage(values=(pa.field("item_id", pa.string()),)),
        "every table has a column 'item_id' already",
    ),
    "a table that nobody makes": (
        _reads("summaries.text"),
        "no stage before it makes a table 'summaries'; read one of items, fetched,",
    ),
    "the join": (_reads("enriched_items.text"), "no stage before it makes a table"),
    "itself": (_reads("own.value"), "no stage before it makes a table 'own'"),
    "a column that is not there": (
        _reads("extracted_text.words"),
        "it reads extracted_text.words, but extracted_text has only item_id, title, text,",
    ),
    "no role": (
        _reads("fetched.sha256"),
        "it reads fetched.sha256; say it as fetched.document.sha256 or fetched.image.sha256",
    ),
    "no such role": (_reads("fetched.video.sha256"), "say it as fetched.document.sha256 or"),
    "a role too many": (
        _reads("extracted_text.document.text"),
        "it reads extracted_text.document.text; say it as extracted_text.text",
    ),
    "what is carried": (_stage(carries=("text",)), "no stage before it makes a table ''"),
    "no stage": ("not a stage", "it has no STAGE; declare one"),
}


@pytest.mark.parametrize(("stage", "said"), UNFIT.values(), ids=UNFIT.keys())
def test_a_stage_that_does_not_fit_is_refused_with_what_to_do(
    stage: object, said: str, modules: Any
) -> None:
    """Naming the setting and the module."""
    [name] = modules(stage)
    with pytest.raises(SettingsError) as caught:
        added_stages((name,), BEFORE)
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"PIPELINE_STAGES={name!r} is not usable: ")


def test_two_stages_of_one_name_are_refused(modules: Any) -> None:
    """The second is at fault."""
    names = modules(_stage(), replace(_stage(), description="another"))
    with pytest.raises(SettingsError, match="there is a table 'own' already") as caught:
        added_stages(names, BEFORE)
    assert caught.value.value == names[1]


def test_a_stage_is_named_after_those_that_it_reads(modules: Any) -> None:
    """The order of the setting is an order of work."""
    names = modules(_reads("own.value", name="second"), _stage())
    with pytest.raises(SettingsError, match="name the module that makes it first"):
        added_stages(names, BEFORE)


BADLY_DECLARED = """
from pipeline_assets.core.stage import Stage
STAGE = Stage(name="own", description="", values=(), rungs=(), skip_factor=0.5)
"""
MODULES = {
    "broken": ("1 +", "ended with SyntaxError"),
    "failing": ("raise OSError('no model')", "ended with OSError: no model"),
    "refused": (
        BADLY_DECLARED,
        "ended with ValueError: stage 'own': rungs need distinct names",
    ),
    "stageless": ("STAGES = ()", "it has no STAGE"),
}


def _run_with(folder: Path, module: str) -> Finished:
    values = {"PIPELINE_DATA": str(folder / "data"), "PIPELINE_STAGES": module}
    with environment(values, folder):
        return command("plan", "--hour", "2026-03-02-06")


@pytest.mark.parametrize("kind", MODULES)
def test_a_module_that_cannot_be_used_ends_a_command_in_one_line(tmp_path: Path, kind: str) -> None:
    """It is looked for in the working directory, too."""
    source, said = MODULES[kind]
    (tmp_path / f"own_{kind}.py").write_text(source)
    finished = _run_with(tmp_path, f"own_{kind}")
    assert finished.code == 1
    [line] = finished.err.strip().splitlines()
    assert line.startswith(f"pipeline-assets: PIPELINE_STAGES='own_{kind}' is not usable: ")
    assert said in line


@pytest.mark.parametrize("module", ["nowhere_to_be_found", "../own", ".own"])
def test_a_module_that_is_not_there_says_where_it_was_looked_for(
    tmp_path: Path, module: str
) -> None:
    """A path is no name of a module."""
    finished = _run_with(tmp_path, module)
    assert finished.code == 1
    [line] = finished.err.strip().splitlines()
    assert "can be imported, or lie in the working directory" in line


def test_every_table_that_is_no_stage_keeps_its_name() -> None:
    """An asset that is added to the package is known here."""
    assets = {spec.key.to_user_string() for spec in defs.resolve_all_asset_specs()}
    assert assets - {"items", *(stage.name for stage in BEFORE)} <= TAKEN


@pytest.mark.parametrize("name", sorted(KEPT_BY_DAGSTER))
def test_dagster_gives_none_of_its_names_away(name: str) -> None:
    """Each word of the list is one that it refuses."""
    with pytest.raises(dg.DagsterInvalidDefinitionError):
        dg.asset(name=name)(lambda: None)
