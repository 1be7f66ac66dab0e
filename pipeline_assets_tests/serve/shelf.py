"""A finished hour with everything that the service shows: trouble, and a name that is markup."""

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline_assets.core.names import ENRICHED, QUALITY_SUMMARY
from pipeline_assets.core.status import Status
from pipeline_assets.monitoring.derived import DERIVED, derive
from pipeline_assets.resources import Resources
from pipeline_assets.sample.shop import Shop
from pipeline_assets.stages import stage_tables
from pipeline_assets_tests.conftest import HOUR, Clock, open_resources

EVIL_NAME = "<script>document.title = 'owned'</script> & <b>shirt</b>"


def copied(finished: Path, data: Path, shop: Shop) -> Resources:
    """A copy of a finished hour, with its derived tables and its index."""
    shutil.copytree(finished, data)
    resources = open_resources(data, Clock(), shop)
    tables, stages = resources.tables, stage_tables(resources.settings)
    evil = evil_item(resources)
    for asset in ("items", ENRICHED):
        named = tables.read(asset, HOUR).to_pylist()
        names = [EVIL_NAME if row["item_id"] == evil else row["name"] for row in named]
        _change(resources, asset, "name", names)
    fetched = tables.read("fetched", HOUR).to_pylist()
    failed = [row["item_id"] for row in fetched if row["status"] == Status.FAILED]
    _change(resources, "fetched", "retryable", [row["item_id"] == failed[-1] for row in fetched])
    for table in DERIVED:
        made = derive(tables, table, HOUR, 0.8, stages)
        tables.write(table, HOUR, made)
        if table == QUALITY_SUMMARY:
            resources.hours.keep(HOUR, made)
    resources.breakers.reset("image_labels.cpu_clip")
    resources.breakers.open_for("image_labels.accelerator_clip", 60.0)
    resources.search.replace_hour(HOUR, tables.read(ENRICHED, HOUR))
    return resources


def evil_item(resources: Resources) -> str:
    """The item that is given the name: the first with a label."""
    rows = resources.tables.read(ENRICHED, HOUR, ["item_id", "label"]).to_pylist()
    return next(str(row["item_id"]) for row in rows if row["label"] is not None)


def _change(resources: Resources, asset: str, column: str, values: list[Any]) -> None:
    table = resources.tables.read(asset, HOUR)
    field = table.schema.field(column)
    changed = table.set_column(
        table.schema.get_field_index(column), field, pa.array(values, field.type)
    )
    resources.tables.write(asset, HOUR, changed)
