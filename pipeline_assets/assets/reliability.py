"""The asset of the reliability figures: the numbers that the UI plots, and a table for people."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from pipeline_assets.assets.derived import MadeTable, made_asset
from pipeline_assets.assets.location import Location
from pipeline_assets.assets.shown import markdown, table_metadata
from pipeline_assets.core.hours import hour_end, hour_start
from pipeline_assets.core.names import ENRICHED, RECOVERY, RELIABILITY, SEARCH_INDEX
from pipeline_assets.monitoring.findable import findable
from pipeline_assets.monitoring.reliability import FINDABLE, MEANINGS, USABLE, WORKFLOW, reliability
from pipeline_assets.stages import stage_tables

if TYPE_CHECKING:
    from pipeline_assets.resources import Resources

RATES = {WORKFLOW: "rate_workflow", USABLE: "rate_usable", FINDABLE: "rate_findable"}
"""The figures of items, and what they are called where they are plotted."""


def reliability_asset(location: Location) -> dg.AssetsDefinition:
    """The asset of the figures; the last of an hour, since it searches and counts what healed."""
    made = MadeTable(
        RELIABILITY,
        "Success rates of calls, stages, items and searches; retries, cost, breakers and healing.",
        MEANINGS,
        _make,
        after=(ENRICHED, RECOVERY, SEARCH_INDEX),
        shows=reliability_metadata,
    )
    return made_asset(made, location)


def _make(resources: "Resources", hour: str) -> pa.Table:
    return reliability(
        resources.tables,
        hour,
        stage_tables(resources.settings),
        resources.settings.quality_threshold,
        resources.breakers.transitions(hour_start(hour).timestamp(), hour_end(hour).timestamp()),
        findable(resources, hour),
    )


def reliability_metadata(table: pa.Table) -> dict[str, Any]:
    """All rows as a table, and those figures as numbers that are worth following."""
    rows = table.to_pylist()
    return {
        **table_metadata(table),
        "reliability": dg.MetadataValue.md(_table(rows)),
        "retries": pc.sum(table["retries"]).as_py() or 0,
        "cost_usd": pc.sum(table["cost_usd"]).as_py() or 0.0,
        "breaker_transitions": pc.sum(table["transitions"]).as_py() or 0,
        **dict(_plotted(rows)),
    }


def _plotted(rows: list[dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    for row in rows:
        if row["name"] in RATES:
            yield RATES[row["name"]], row["rate"]
        elif row["level"] == "recovery":
            yield f"recovery_{row['name']}_in_time", row["rate"]
            yield f"recovery_{row['name']}_median_s", row["median_s"]
            yield f"recovery_{row['name']}_p95_s", row["p95_s"]
            yield f"recovery_{row['name']}_waiting", row["waiting"]


def _table(rows: list[dict[str, Any]]) -> str:
    """What each row has to say beside its rate, in words."""
    cells = [[row["level"], row["name"], _rate(row), _more(row)] for row in rows]
    return markdown(("level", "name", "succeeded", "and"), cells)


def _rate(row: dict[str, Any]) -> str | None:
    if row["rate"] is None:
        return None
    return f"{row['rate']:.1%}: {row['succeeded']} of {row['attempted']}"


def _more(row: dict[str, Any]) -> str | None:
    match row["level"]:
        case "task":
            return f"{row['calls']} calls, {row['seconds']:.1f} s"
        case "stage":
            return f"{row['retries']} retries, {row['cost_usd']:g} USD"
        case "breaker":
            return f"{row['transitions']} transitions"
        case "recovery" if row["median_s"] is None:
            return f"{row['waiting']} wait"
        case "recovery":
            times = f"median {row['median_s']:.0f} s, p95 {row['p95_s']:.0f} s"
            return f"{times}; {row['waiting']} wait"
    return row["note"]
