"""How far an hour is from those before it."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline_assets.adapters.tables import Tables
from pipeline_assets.drift import CATEGORIES, MIN_ROWS, NUMBERS, REFERENCE_HOURS, SCHEMA, drift

BEFORE, NOW = "2026-03-02-05", "2026-03-02-06"


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    """No hour yet."""
    return Tables(tmp_path)


def write_hour(
    tables: Tables, hour: str, labels: Sequence[str | None], confidence: float = 0.5
) -> None:
    """An hour of items with these labels."""
    count = len(labels)
    tables.write(
        "enriched_items",
        hour,
        pa.table(
            {
                "kind": ["product"] * count,
                "label": pa.array(labels, pa.string()),
                "modality": pa.array(["image"] * count, pa.string()),
                "label_confidence": pa.array([confidence] * count, pa.float32()),
                "text": pa.array(["text " * (n % 7) for n in range(count)], pa.string()),
            }
        ),
    )


def distances(tables: Tables, hour: str = NOW) -> dict[str, float | None]:
    """The distance of each feature."""
    return {row["feature"]: row["distance"] for row in drift(tables, hour).to_pylist()}


def test_the_same_again_is_no_drift(tables: Tables) -> None:
    """0 for every feature, whatever the order of the rows."""
    write_hour(tables, BEFORE, ["shirt", "lamp"] * MIN_ROWS)
    write_hour(tables, NOW, ["lamp"] * MIN_ROWS + ["shirt"] * MIN_ROWS)
    assert distances(tables) == dict.fromkeys((*CATEGORIES, *NUMBERS), 0.0)


def test_something_else_altogether_is_a_distance_of_one(tables: Tables) -> None:
    """For a category and for a number; the others stay where they are."""
    write_hour(tables, BEFORE, ["shirt"] * MIN_ROWS, confidence=0.2)
    write_hour(tables, NOW, ["lamp"] * MIN_ROWS, confidence=0.9)
    found = distances(tables)
    assert found["label"] == pytest.approx(1)
    assert found["label_confidence"] == pytest.approx(1)
    assert found["kind"] == 0


@pytest.mark.parametrize(("rows", "known"), [(MIN_ROWS - 1, False), (MIN_ROWS, True)])
def test_too_few_rows_say_nothing(tables: Tables, rows: int, known: bool) -> None:
    """Null, not 0."""
    write_hour(tables, BEFORE, ["shirt"] * MIN_ROWS)
    write_hour(tables, NOW, ["shirt"] * rows)
    assert (distances(tables)["label"] is not None) is known


def test_the_first_hour_and_an_empty_one_have_nothing_to_compare(tables: Tables) -> None:
    """Typed all the same."""
    write_hour(tables, BEFORE, [])
    write_hour(tables, NOW, [None] * MIN_ROWS)
    assert set(distances(tables).values()) == {None}
    assert drift(tables, BEFORE).schema == SCHEMA


def test_only_the_hours_before_are_looked_at_and_not_all_of_them(tables: Tables) -> None:
    """A day back; what came later does not matter to an old hour that is run again."""
    hours = [f"2026-03-{day:02d}-{hour:02d}" for day in (1, 2) for hour in range(24)]
    for hour in hours:
        write_hour(tables, hour, ["shirt"] * 10)
    row = drift(tables, hours[30]).to_pylist()[0]
    assert row["reference_rows"] == REFERENCE_HOURS * 10
