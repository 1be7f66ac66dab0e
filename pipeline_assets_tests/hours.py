"""Hours of the sample shop as a user runs them: through Dagster and the command line.

Settings come from the environment, as they do outside tests.
"""

import io
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pipeline_assets.assets.location import Location
from pipeline_assets.checks.freshness import freshness_key
from pipeline_assets.cli import main
from pipeline_assets.definitions import defs
from pipeline_assets.sample.catalogue import CatalogueItem, catalogue, write_feed
from pipeline_assets.settings import load_settings
from pipeline_assets.stages import STAGES
from pipeline_assets.store.storage import Storage, storage_at
from pipeline_assets.store.tables import Tables
from pipeline_assets_tests.conftest import HOUR, HOUR_START

SEED = 23
HOSTILE = "P-hostile"
NAME_ONLY = "P-name-only"
HOSTILE_NAME = "<svg onload=alert(1)> | [free](javascript:alert(2)) `x`\n| a | b | *c*"
FAULTS = {"404": 0.01, "truncated-jpeg": 0.01, "html-as-jpeg": 0.01}
"""One item each: a share above zero gives at least one."""

EVERYTHING: list[Any] = [*(defs.assets or ()), *(defs.asset_checks or ())]

Row = dict[str, Any]


def environment_of(data: Path, shop_url: str, feed: Path | None = None) -> dict[str, str]:
    """The settings of a small platform that trusts the sample shop."""
    return {
        "PIPELINE_DATA": str(data),
        "PIPELINE_FEED": str(feed or data / "feed.csv"),
        "PIPELINE_FETCH_ALLOW": shop_url.removeprefix("http://"),
        "PIPELINE_ACCELERATOR": "cpu",
    }


@contextmanager
def environment(values: Mapping[str, str], folder: Path) -> Iterator[None]:
    """Just these settings, in a folder that has no dagster.yaml and no pipeline.toml of ours."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", "")  # so that it is put back, too, where a command sets it
        for name in list(os.environ):
            if name.startswith(("PIPELINE_", "DAGSTER_")):
                patch.delenv(name)
        for name, value in values.items():
            patch.setenv(name, value)
        patch.chdir(folder)
        yield


def goods_of_an_hour(shop_url: str, count: int) -> list[CatalogueItem]:
    """Items of `HOUR`: `count` from the catalogue, three of them faulty, and two odd ones."""
    drawn = list(catalogue(count, SEED, HOUR_START, base_url=shop_url, faults=FAULTS))
    plain = replace(drawn[0], kind="product", description="", document_url=None, image_url=None)
    return [
        *drawn,
        replace(plain, item_id=HOSTILE, name=HOSTILE_NAME),
        replace(plain, item_id=NAME_ONLY, name="Teapot"),
    ]


def write_goods(data: Path, goods: Sequence[CatalogueItem]) -> None:
    """Make a data root with nothing but its feed."""
    data.mkdir(parents=True)
    write_feed(data / "feed.csv", goods)


def materialized(
    *assets: str, hour: str = HOUR, items: Sequence[str] = (), force: bool = False
) -> dg.ExecuteInProcessResult:
    """Materialize assets of an hour with their checks, by default the whole hour."""
    specs = defs.resolve_all_asset_specs()
    whole = [spec.key.to_user_string() for spec in specs if spec.partitions_def is not None]
    named = assets or whole
    options = {"config": {"items": list(items), "force": force}}
    return executed(
        dg.AssetSelection.assets(*named),
        hour,
        ops={stage.name: options for stage in STAGES if stage.name in named},
    )


def executed(
    selection: dg.AssetSelection, hour: str | None = HOUR, ops: Mapping[str, Any] | None = None
) -> dg.ExecuteInProcessResult:
    """Run what is selected of our assets and checks, in an instance that is forgotten."""
    return dg.materialize(
        EVERYTHING,
        partition_key=hour,
        selection=selection
        - dg.AssetSelection.checks(
            freshness_key(Location(load_settings()))
        ),  # the hours are of the past
        run_config={
            "ops": dict(ops or {}),
            "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
        },
        raise_on_error=False,
    )


def shown(result: dg.ExecuteInProcessResult) -> dict[str, dict[str, Any]]:
    """The metadata of each materialization, by asset."""
    return {
        made.asset_key.to_user_string(): {
            name: value.value for name, value in made.metadata.items()
        }
        for event in result.get_asset_materialization_events()
        for made in [event.step_materialization_data.materialization]
    }


def verdicts(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    """What each check said, by asset and name."""
    return {
        f"{each.asset_key.to_user_string()}.{each.check_name}": each
        for each in result.get_asset_check_evaluations()
    }


def failure(result: dg.ExecuteInProcessResult) -> str:
    """The message of the first step that failed, with its cause."""
    step = next(event for event in result.all_node_events if event.is_step_failure)
    error = step.step_failure_data.error
    assert error is not None
    return f"{error.message} {error.cause.message if error.cause else ''}"


def rows(data: Path | Storage, asset: str, hour: str = HOUR) -> dict[str, Row]:
    """The rows of a table by item; those of a resource by item/role."""
    found = table(data, asset, hour)
    return {"/".join(filter(None, (row["item_id"], row.get("role")))): row for row in found}


def table(data: Path | Storage, asset: str, hour: str = HOUR) -> list[Row]:
    """The rows of any table, in its order."""
    return Tables(storage_at(data).below("tables")).read(asset, hour).to_pylist()


def asset(name: str) -> dg.AssetSelection:
    """One asset."""
    return dg.AssetSelection.assets(name)


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    code: int
    out: str
    err: str


def command(*arguments: str) -> Finished:
    """Run `pipeline-assets` in this process, from its arguments to its exit code."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with (
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", ["pipeline-assets", *arguments])
        try:
            main()
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else 1
    return Finished(code, out.getvalue(), err.getvalue())
