"""What the UI is shown: numbers, and a preview that strangers' text cannot break."""

import re
from collections import Counter

import pyarrow as pa
import pytest

from pipeline_assets.assets.shown import (
    PREVIEW_CHARS,
    PREVIEW_ROWS,
    as_metadata,
    column_schema,
    preview,
    quality_numbers,
    report_metadata,
    stage_metadata,
    table_metadata,
)
from pipeline_assets.core.contract import MEANINGS
from pipeline_assets.core.environment import RungStats
from pipeline_assets.engine.orders import Report
from pipeline_assets_tests.checks.tables import FAILED, FALLBACK, GOOD, OK, PENDING, rows_table

MARKUP = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "![x](http://tracker.example/p.png)",
    "a | b | c",
    "\n\n# heading\n",
    "| --- |\n| x |",
    "`code` **bold** __under__",
    "a\\| b",
    "\r\nb\u2028c\u2029d",
    "&lt;script&gt;",
]
UNESCAPED = re.compile(r"(?<!\\)(?:\\\\)*([|<>\[\]`*_])")


def cells(markdown: str) -> list[list[str]]:
    """The cells of each row of a Markdown table, below its head."""
    lines = markdown.split("\n")[2:]
    return [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]


@pytest.mark.parametrize("text", MARKUP)
def test_a_strangers_text_stays_one_cell_without_markup(text: str) -> None:
    """No cell ends early, no row is added, and nothing is left for a renderer to obey."""
    shown = preview(pa.table({"name": [text], "after": ["end"]}))
    assert len(shown.splitlines()) == 3
    ((name, after),) = cells(shown)
    assert after.strip() == "end"
    assert not UNESCAPED.search(name)
    assert "\n" not in name


def test_a_column_name_of_ours_is_shown_as_it_is() -> None:
    """The head has the columns in their order."""
    assert preview(pa.table({"a": [1], "b": [2]})).splitlines()[0] == "| a | b |"


def test_a_preview_has_the_first_rows_only() -> None:
    """A billion rows are no longer than a few."""
    assert len(cells(preview(pa.table({"n": range(1000)})))) == PREVIEW_ROWS


def test_an_empty_table_has_a_head_and_no_rows() -> None:
    """An hour without items is shown, too."""
    assert preview(pa.table({"n": pa.array([], pa.int64())})) == "| n |\n| --- |"


def test_long_values_are_cut_and_vectors_counted() -> None:
    """A cell stays short whatever is in it."""
    table = pa.table({"text": ["x" * 1000], "vector": [[0.5] * 128], "nothing": pa.nulls(1)})
    ((text, vector, nothing),) = cells(preview(table))
    assert len(text.strip()) == PREVIEW_CHARS
    assert text.strip().endswith("…")
    assert vector.strip() == "128 values"
    assert nothing.strip() == ""


def test_a_stage_table_is_counted_by_status() -> None:
    """All five are there, so that a plotted line does not break off where one is 0."""
    metadata = stage_metadata(rows_table(*GOOD, FAILED | {"retryable": True}), 0.8)
    assert metadata["dagster/row_count"] == 7
    counts = {name: value for name, value in metadata.items() if name.startswith("status_")}
    assert counts == {
        "status_ok": 2,
        "status_failed": 2,
        "status_skipped": 1,
        "status_pending": 1,
        "status_not-applicable": 1,
    }
    assert metadata["fallbacks"] == 1
    assert metadata["retryable"] == 1


def test_quality_is_compared_after_rounding() -> None:
    """0.8 in float32 is a little more or less than 0.8, and is at the threshold."""
    quality = rows_table(OK, FALLBACK | {"quality": 0.8}, FALLBACK | {"quality": 0.7999}, PENDING)[
        "quality"
    ]
    numbers = quality_numbers(quality, 0.8)
    assert numbers["quality_at_threshold"] == 0.6667
    assert numbers["quality_min"] == 0.7999
    assert numbers["quality_mean"] == 0.8666


@pytest.mark.parametrize("rows", [(), (PENDING, PENDING)])
def test_where_no_quality_is_known_no_number_is_claimed(
    rows: tuple[dict[str, object], ...],
) -> None:
    """Neither 0 nor 1 would be true."""
    metadata = stage_metadata(rows_table(*rows), 0.8)
    assert not [name for name in metadata if name.startswith("quality_")]
    assert metadata["dagster/row_count"] == len(rows)


def test_a_report_shows_reasons_and_what_each_rung_did() -> None:
    """Names that the UI can plot, without blanks."""
    report = Report(
        rows=5,
        planned=Counter({"retry due": 2, "pending": 1}),
        standing=Counter({"current": 2}),
        rungs={"http": RungStats(calls=1, rows=3, made=2, recalled=1)},
        recovered_rows=4,
        worker_deaths=2,
        seconds=0.5,
    )
    assert report_metadata(report) == {
        "rows_planned": 3,
        "planned_retry_due": 2,
        "planned_pending": 1,
        "standing_current": 2,
        "rung_http_rows": 3,
        "rung_http_made": 2,
        "rung_http_recalled": 1,
        "rung_http_calls": 1,
        "recovered_rows": 4,
        "worker_deaths": 2,
        "seconds": 0.5,
    }


def test_what_is_none_is_left_out() -> None:
    """Dagster takes no None; 0 and an empty text are values."""
    assert as_metadata({"a": None, "b": 0, "c": ""}) == {"b": 0, "c": ""}


def test_a_column_schema_says_what_may_be_null() -> None:
    """As the Parquet file does."""
    schema = pa.schema([pa.field("id", pa.string(), nullable=False), pa.field("n", pa.int16())])
    columns = column_schema(schema)["dagster/column_schema"].columns
    assert [(each.name, each.type, each.constraints.nullable) for each in columns] == [
        ("id", "string", False),
        ("n", "int16", True),
    ]


def test_a_column_says_what_it_holds() -> None:
    """The contract's columns always, a table's own where it says so, and what it says counts."""
    schema = pa.schema([(name, pa.string()) for name in ("status", "rung", "label", "n")])
    said = {"label": "what the picture shows", "rung": "the fallback"}
    columns = column_schema(schema, said)["dagster/column_schema"].columns
    assert [each.description for each in columns] == [
        MEANINGS["status"],
        "the fallback",
        "what the picture shows",
        None,
    ]


def test_any_table_has_row_count_and_preview() -> None:
    """Those that are derived, too."""
    assert set(table_metadata(pa.table({"n": [1]}))) == {"dagster/row_count", "preview"}


@pytest.mark.parametrize("threshold", [0.9, 0.7, 0.95])
def test_a_quality_in_float32_reaches_the_threshold_of_its_name(threshold: float) -> None:
    """0.9 as a float32 is less than 0.9."""
    quality = pa.chunked_array([pa.array([threshold], pa.float32())])
    assert quality_numbers(quality, threshold)["quality_at_threshold"] == 1


def test_a_preview_shows_no_secrets() -> None:
    """Also where the cut would come first."""
    text = "https://ann:pw@shop/a?token=abc"
    ((url, late),) = cells(preview(pa.table({"url": [text], "late": ["x " * 29 + text]})))
    assert url.strip() == r"https://shop/a?token=\*\*\*"
    assert "ann" not in late
