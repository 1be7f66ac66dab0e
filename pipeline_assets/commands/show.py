"""`show ITEM`: everything that is known of one item, stage by stage."""

from typing import Any

from pipeline_assets.core.names import ENRICHED
from pipeline_assets.resources import Resources
from pipeline_assets.stages import stage_tables
from pipeline_assets.store.tables import Tables

LONG = ("embedding",)
"""Columns of which only the length is shown."""


def show(resources: Resources, item: str) -> dict[str, Any] | None:
    """The item's rows of its newest hour, and the other hours that have it; None if unknown."""
    hours = [hour for hour in resources.tables.hours("items") if _has(resources.tables, hour, item)]
    if not hours:
        return None
    newest = hours[-1]
    stages = {
        name: _rows(resources.tables, name, newest, item)
        for name in stage_tables(resources.settings)
        if resources.tables.exists(name, newest)
    }
    enriched = stages.get(ENRICHED) or [{}]
    return {
        "item_id": item,
        "hour": newest,
        "other_hours": hours[:-1],
        "quality": enriched[0].get("quality"),
        "quality_factors": enriched[0].get("quality_factors"),
        "stages": stages,
    }


def _has(tables: Tables, hour: str, item: str) -> bool:
    return tables.read("items", hour, ["item_id"], (item, item)).num_rows > 0


def _rows(tables: Tables, name: str, hour: str, item: str) -> list[dict[str, Any]]:
    rows = tables.read(name, hour, items=(item, item)).to_pylist()
    return [{column: _short(column, value) for column, value in row.items()} for row in rows]


def _short(column: str, value: Any) -> Any:
    if column in LONG and value is not None:
        return f"{len(value)} numbers"
    return value
