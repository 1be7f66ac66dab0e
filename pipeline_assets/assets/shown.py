"""What a materialization shows: numbers that the UI plots, and a preview."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from pipeline_assets.core.contract import MEANINGS
from pipeline_assets.core.quality import COMPARED_DIGITS
from pipeline_assets.core.status import Status
from pipeline_assets.engine.orders import Report
from pipeline_assets.errors import without_secrets

PREVIEW_ROWS = 5
PREVIEW_CHARS = 60


def column_schema(
    schema: pa.Schema, meanings: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Any]:
    """The columns of a table as metadata; `meanings` are those of its own columns."""
    said = {**MEANINGS, **meanings}
    columns = [
        dg.TableColumn(
            field.name,
            str(field.type),
            description=said.get(field.name),
            constraints=dg.TableColumnConstraints(nullable=field.nullable),
        )
        for field in schema
    ]
    return {"dagster/column_schema": dg.TableSchema(columns=columns)}


def table_metadata(table: pa.Table) -> dict[str, Any]:
    """Row count and preview of any table."""
    return {
        "dagster/row_count": table.num_rows,
        "preview": dg.MetadataValue.md(preview(table)),
    }


def stage_metadata(table: pa.Table, threshold: float) -> dict[str, Any]:
    """Row count, status counts, quality numbers and preview of a stage table."""
    counted = {
        each["values"]: each["counts"] for each in pc.value_counts(table["status"]).to_pylist()
    }
    return {
        **table_metadata(table),
        **{f"status_{status}": counted.get(status.value, 0) for status in Status},
        "fallbacks": table.num_rows - table["fallback_used"].null_count,
        "retryable": pc.sum(table["retryable"]).as_py() or 0,
        **quality_numbers(table["quality"], threshold),
    }


def quality_numbers(quality: pa.ChunkedArray, threshold: float) -> dict[str, float]:
    """Mean, tenth percentile, minimum and share at the threshold; nothing where none is known."""
    # In float32 a quality of 0.9 is a little less than the threshold 0.9.
    known = pc.round(quality.drop_null().cast("float64"), ndigits=COMPARED_DIGITS)
    if not len(known):
        return {}
    reached = pc.greater_equal(known, round(threshold, COMPARED_DIGITS))
    numbers = {
        "quality_mean": pc.mean(known),
        "quality_p10": pc.quantile(known, q=0.1)[0],
        "quality_min": pc.min(known),
        "quality_at_threshold": pc.mean(reached.cast("float64")),
    }
    return {name: round(number.as_py(), COMPARED_DIGITS) for name, number in numbers.items()}


def report_metadata(report: Report) -> dict[str, Any]:
    """What a run did: rows planned and why, rows left as they were and why, calls of each rung."""
    return {
        "rows_planned": sum(report.planned.values()),
        **{f"planned_{_name(reason)}": count for reason, count in report.planned.items()},
        **{f"standing_{_name(reason)}": count for reason, count in report.standing.items()},
        **{f"rung_{name}_rows": stats.rows for name, stats in report.rungs.items()},
        **{f"rung_{name}_made": stats.made for name, stats in report.rungs.items()},
        **{f"rung_{name}_recalled": stats.recalled for name, stats in report.rungs.items()},
        **{f"rung_{name}_calls": stats.calls for name, stats in report.rungs.items()},
        "recovered_rows": report.recovered_rows,
        "worker_deaths": report.worker_deaths,
        "seconds": report.seconds,
    }


def preview(table: pa.Table) -> str:
    """The first rows as a Markdown table, long values cut."""
    head = table.slice(0, PREVIEW_ROWS)
    return markdown(head.column_names, [list(row.values()) for row in head.to_pylist()])


def markdown(names: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table, long values cut."""
    lines = [
        f"| {' | '.join(names)} |",
        f"|{' --- |' * len(names)}",
        *(f"| {' | '.join(_cell(value) for value in row)} |" for row in rows),
    ]
    return "\n".join(lines)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        value = round(value, COMPARED_DIGITS)  # the table has the rest
    text = f"{len(value)} values" if isinstance(value, list) else without_secrets(str(value))
    cut = text if len(text) <= PREVIEW_CHARS else f"{text[: PREVIEW_CHARS - 1]}…"
    # A preview shows strangers' text: nothing in it may end the cell or start markup.
    for character in "\\`*_|<>[]":
        cut = cut.replace(character, f"\\{character}")
    return " ".join(cut.split())


def _name(reason: str) -> str:
    return reason.replace(" ", "_")


def as_metadata(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values without those that are None, which Dagster does not take."""
    return {name: value for name, value in values.items() if value is not None}
