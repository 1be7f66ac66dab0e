"""Stages of one's own: the modules that PIPELINE_STAGES names, each with a `STAGE`.

What is wrong with one is found before anything runs, and said with what to do about it.
"""

import importlib
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from keyword import iskeyword
from pathlib import Path

import pyarrow as pa

from pipeline_assets.core.contract import CONTRACT_NAMES
from pipeline_assets.core.names import ITEMS, TAKEN
from pipeline_assets.core.stage import Stage
from pipeline_assets.core.status import Role
from pipeline_assets.errors import SettingsError
from pipeline_assets.ingest.items import SCHEMA

SETTING = "PIPELINE_STAGES"
NAME = re.compile(r"[a-z][a-z0-9_]*")
KEPT_BY_DAGSTER = frozenset(
    {
        *("arg_dict", "bool", "conf", "config", "context", "dict", "float", "input"),
        *("input_arg_dict", "int", "meta", "output", "output_arg_dict", "str", "type"),
    }
)
"""Names that Dagster gives to no asset, besides Python's keywords."""

Tables = Mapping[str, pa.Schema]
"""The tables that a stage may read."""


def added_stages(modules: Sequence[str], before: Sequence[Stage]) -> tuple[Stage, ...]:
    """The stages of the modules, in their order; they may read each other and those `before`.

    Raises `SettingsError` for the first that cannot be a stage of this pipeline.
    """
    tables = {ITEMS: SCHEMA, **{stage.name: stage.schema for stage in before}}
    added = []
    for module in modules:
        stage = _imported(module)
        for problem in _problems(stage, tables):
            raise SettingsError(SETTING, module, problem)
        tables[stage.name] = stage.schema
        added.append(stage)
    return tuple(added)


def _imported(module: str) -> Stage:
    here = str(Path.cwd())
    if here not in sys.path:  # a command of the package does not look there by itself
        sys.path.append(here)
    try:
        stage = getattr(importlib.import_module(module), "STAGE", None)
    except Exception as error:
        raise SettingsError(
            SETTING,
            module,
            "name modules that can be imported, or lie in the working directory, comma-separated; "
            f"importing this one ended with {type(error).__name__}: {error}",
        ) from error
    if not isinstance(stage, Stage):
        raise SettingsError(
            SETTING, module, "it has no STAGE; declare one: STAGE = Stage(name=…, rungs=…)"
        )
    return stage


def _problems(stage: Stage, tables: Tables) -> Iterator[str]:
    """What keeps a stage from being one of this pipeline, each with what to do."""
    for name in (stage.name, stage.group, *(rung.name for rung in stage.rungs)):
        if NAME.fullmatch(name) is None or iskeyword(name) or name in KEPT_BY_DAGSTER:
            yield (
                f"{name!r} cannot name an asset, a folder and a breaker; use lower-case letters, "
                "digits and _, begin with a letter, and avoid Python's and Dagster's own words"
            )
    if stage.name in {*tables, *TAKEN}:
        yield f"there is a table {stage.name!r} already; give its STAGE another name"
    for column in stage.values:
        if column.name in {*stage.key_names, *CONTRACT_NAMES}:
            yield f"every table has a column {column.name!r} already; name its value otherwise"
    for field in stage.inputs:
        yield from _unreadable(field, stage, tables)


def _unreadable(field: str, stage: Stage, tables: Tables) -> Iterator[str]:
    """Why an upstream field would never have a value."""
    place, _, column = field.rpartition(".")
    table = place.partition(".")[0]
    if table not in tables:
        yield (
            f"it reads {field}, but no stage before it makes a table {table!r}; read one of "
            f"{', '.join(tables)}, or name the module that makes it first"
        )
        return
    places = _places(table, stage, tables[table])
    if place not in places:
        yield f"it reads {field}; say it as {' or '.join(f'{each}.{column}' for each in places)}"
    if column not in tables[table].names:
        yield f"it reads {field}, but {table} has only {', '.join(tables[table].names)}"


def _places(table: str, stage: Stage, schema: pa.Schema) -> tuple[str, ...]:
    """How a stage names a row of the table: with a role where an item has several."""
    if "role" not in schema.names:
        return (table,)
    roles = tuple(f"{table}.{role}" for role in Role)
    return (table, *roles) if stage.per_resource else roles
