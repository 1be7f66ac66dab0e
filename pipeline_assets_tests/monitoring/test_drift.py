"""Which features of an hour have moved."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipeline_assets.core.names import ITEM_FEATURES as FEATURES
from pipeline_assets.errors import SettingsError
from pipeline_assets.monitoring.drift import (
    CATEGORIES,
    MADE,
    MIN_ROWS,
    NUMBERS,
    REFERENCE_HOURS,
    SCHEMA,
    compared,
    drift,
    said,
)
from pipeline_assets.settings import load_settings
from pipeline_assets.store.s3_storage import S3Storage
from pipeline_assets.store.s3_urls import S3Url
from pipeline_assets.store.tables import Tables
from pipeline_assets_tests.s3 import S3Server
from pipeline_assets_tests.synthetic import Source

BEFORE, NOW = "2026-03-02-05", "2026-03-02-06"
USUAL = Source()
AN_HOUR, A_DAY = 500, REFERENCE_HOURS * 500
SEED = 20_260_302
"""The limits in core.drift were chosen on other seeds."""
SHIFTS = {
    "label": (USUAL.moved(0.15, to=3, by=0), USUAL.moved(0.15, to=9, by=1)),
    "brightness": (replace(USUAL, brightness=0.58), replace(USUAL, brightness=0.42)),
    "text_length": (replace(USUAL, text_scale=1.3), replace(USUAL, text_scale=0.7)),
}
"""15 points of the label mix, half a standard deviation of brightness, 30 % of text length."""


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    """No hour yet."""
    return Tables(tmp_path)


def write_hour(
    tables: Tables, hour: str, source: Source = USUAL, count: int = AN_HOUR, seed: int = 1
) -> pa.Table:
    """An hour of items from a source."""
    made = source.items(count, np.random.default_rng(seed))
    tables.write(FEATURES, hour, made)
    return made


def found(table: pa.Table) -> dict[str, dict[str, Any]]:
    """The row of each feature."""
    return {row["feature"]: row for row in table.to_pylist()}


def moved(table: pa.Table) -> set[str]:
    """The features that have moved."""
    return {name for name, row in found(table).items() if row["drifted"]}


def hours_of(*sources: Source, count: int, seed: int) -> Iterator[pa.Table]:
    """Hours of the sources in turn, against days of the usual one."""
    for number in range(count):
        rng = np.random.default_rng([SEED, seed, number])
        if number % 10 == 0:
            reference = USUAL.items(A_DAY, rng)
        yield compared(sources[number % len(sources)].items(AN_HOUR, rng), reference)


def test_a_hundred_unchanged_hours_raise_at_most_one_alarm() -> None:
    """Of 500 items and ten features each."""
    alarms = [moved(table) for table in hours_of(USUAL, count=100, seed=1)]
    assert sum(bool(each) for each in alarms) <= 1


@pytest.mark.parametrize("feature", SHIFTS)
def test_of_real_shifts_hardly_any_is_overlooked(feature: str) -> None:
    """95 of 100; a third as many of each kind here, and hardly ever is another feature named."""
    named = [moved(table) for table in hours_of(*SHIFTS[feature], count=34, seed=2)]
    assert sum(feature in each for each in named) >= 33
    assert sum(bool(each - {feature}) for each in named) <= 1


def test_what_moved_is_said_with_how_far() -> None:
    """A category by its share, a number by its middle."""
    rng = np.random.default_rng(4)
    odd = replace(SHIFTS["label"][0], brightness=0.58)
    text = said(compared(odd.items(AN_HOUR, rng), USUAL.items(A_DAY, rng)))
    label, brightness = text.split("; ")
    assert label == "label: chair 11.8% → 29.6% (jensen-shannon 0.25, PSI 0.35)"
    assert re.fullmatch(
        r"brightness: median 0\.50\d+ → 0\.5[678]\d+ "
        r"\(kolmogorov-smirnov 0\.\d\d, 0\.[45]\d standard deviations\)",
        brightness,
    )


def test_the_same_again_is_no_drift(tables: Tables) -> None:
    """0 for every feature, and nothing to say."""
    write_hour(tables, BEFORE)
    write_hour(tables, NOW)
    table = drift(tables, NOW)
    assert {name: row["distance"] for name, row in found(table).items()} == pytest.approx(
        dict.fromkeys((*CATEGORIES, *NUMBERS), 0), abs=1e-6
    )
    assert said(table) == ""


@pytest.mark.parametrize(("rows", "known"), [(MIN_ROWS - 1, False), (MIN_ROWS, True)])
def test_too_few_rows_say_nothing(tables: Tables, rows: int, known: bool) -> None:
    """Null, not 0."""
    write_hour(tables, BEFORE)
    write_hour(tables, NOW, count=rows)
    label = found(drift(tables, NOW))["label"]
    assert {label[name] is not None for name in ("distance", "p_value", "drifted")} == {known}
    assert label["not_compared"] == (None if known else "99 values in the hour, fewer than 100")


def test_the_first_hour_and_an_empty_one_have_nothing_to_compare(tables: Tables) -> None:
    """Typed all the same."""
    write_hour(tables, BEFORE)
    write_hour(tables, NOW, count=0)
    for hour in (BEFORE, NOW):
        table = drift(tables, hour)
        assert table.schema == SCHEMA
        assert table["distance"].null_count == len((*CATEGORIES, *NUMBERS))


def test_only_the_hours_before_are_looked_at_and_not_all_of_them(tables: Tables) -> None:
    """A day back; what came later does not matter to an old hour that is run again."""
    hours = [f"2026-03-{day:02d}-{hour:02d}" for day in (1, 2) for hour in range(24)]
    for hour in hours:
        write_hour(tables, hour, count=10)
    row = drift(tables, hours[30]).to_pylist()[0]
    assert row["reference_rows"] == REFERENCE_HOURS * 10


def test_what_a_fallback_says_is_no_drift_of_the_items(tables: Tables) -> None:
    """While it does the work, predictions are not compared; the input still is."""
    write_hour(tables, BEFORE)
    odd = replace(SHIFTS["label"][0], brightness=0.58)
    made = write_hour(tables, NOW, odd)
    by_fallback = made.set_column(
        made.schema.get_field_index("fallback"), "fallback", pa.array([True] * made.num_rows)
    )
    tables.write(FEATURES, NOW, by_fallback)
    table = drift(tables, NOW)
    assert moved(table) == {"brightness"}
    assert found(table)["label"]["rows"] == 0
    assert found(table)["label"]["not_compared"] == "100% of the hour made by fallbacks"


def with_fallbacks(items: pa.Table, which: pa.ChunkedArray) -> pa.Table:
    """Items of which these have a prediction of a fallback."""
    return items.set_column(items.schema.get_field_index("fallback"), "fallback", which)


@pytest.mark.parametrize("outage_is", ["now", "reference"])
@pytest.mark.parametrize(
    ("feature", "struck"), [("modality", ["text"]), ("label", ["shirt", "lamp"])]
)
def test_items_that_fell_back_are_no_fair_sample(
    feature: str, struck: list[str], outage_is: str
) -> None:
    """An outage after the pictures strikes all texts; one on the way, what comes last."""
    rng = np.random.default_rng(6)
    hour, day = USUAL.items(AN_HOUR, rng), USUAL.items(A_DAY, rng)
    sides = {"now": hour, "reference": day}
    items = sides[outage_is]
    sides[outage_is] = with_fallbacks(items, pc.is_in(items[feature], pa.array(struck)))
    assert moved(compared(**sides)) == set()


@pytest.mark.parametrize(
    ("share", "why"), [(0.2, None), (0.21, "21% of the hour made by fallbacks")]
)
def test_predictions_are_compared_where_few_fell_back(share: float, why: str | None) -> None:
    """Of the rest; what is known of the input is compared all the same."""
    rng = np.random.default_rng(7)
    struck = pa.chunked_array([np.arange(AN_HOUR) < share * AN_HOUR])
    hour = with_fallbacks(USUAL.items(AN_HOUR, rng), struck)
    table = found(compared(hour, USUAL.items(A_DAY, rng)))
    assert {table[name]["not_compared"] for name in MADE} == {why}
    assert table["label"]["rows"] == round((1 - share) * AN_HOUR)
    assert table["modality"]["rows"] == AN_HOUR
    assert table["brightness"]["not_compared"] is None


def test_a_fixed_reference_takes_the_place_of_the_day_before(
    tables: Tables, tmp_path: Path
) -> None:
    """Such as what a model was trained on; features that it lacks are not compared."""
    write_hour(tables, BEFORE, SHIFTS["label"][0])
    write_hour(tables, NOW, SHIFTS["label"][0], seed=2)
    assert moved(drift(tables, NOW)) == set()
    trained_on = USUAL.items(A_DAY, np.random.default_rng(3)).select(["label", "brightness"])
    pq.write_table(trained_on, tmp_path / "trained_on.parquet")
    table = drift(tables, NOW, tmp_path / "trained_on.parquet")
    assert set(found(table)) == {"label", "brightness"}
    assert moved(table) == {"label"}


def test_hours_of_ones_own_tables_are_a_fixed_reference(tables: Tables) -> None:
    """A folder of Parquet files is read whole."""
    write_hour(tables, BEFORE)
    write_hour(tables, NOW)
    table = drift(tables, NOW, Path(tables.url(FEATURES, NOW)).parents[1])
    assert found(table)["label"]["reference_rows"] == 2 * AN_HOUR


@pytest.mark.parametrize(
    "names",
    [("a.parquet", "b.parquet"), ("a.pq", "b.pq"), ("a.parquet", "b.pq"), ("x/y/z/a.pq", "b")],
    ids=str,
)
def test_a_folder_here_is_read_whole_however_its_files_are_called(
    tables: Tables, tmp_path: Path, names: tuple[str, str]
) -> None:
    """And however deep they lie; none is left out in silence."""
    write_hour(tables, NOW)
    for seed, name in enumerate(names):
        path = tmp_path / "trained" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(USUAL.items(A_DAY, np.random.default_rng(seed)), path)
    table = drift(tables, NOW, tmp_path / "trained")
    assert found(table)["label"]["reference_rows"] == 2 * A_DAY


def coded(table: pa.Table) -> pa.Table:
    """The table as pandas writes one with a categorical; lengths and what is no feature differ."""
    codes = table["kind"].combine_chunks().dictionary_encode()
    lengths = table["text_length"].cast(pa.float32())
    at = table.schema.get_field_index
    table = table.set_column(at("kind"), "kind", codes).append_column("seen", lengths)
    return table.set_column(at("text_length"), "text_length", lengths)


def worded(table: pa.Table) -> pa.Table:
    """The table as it is, with a column that is no feature."""
    return table.append_column("seen", table["kind"])


def copied(folder: Path, request: pytest.FixtureRequest) -> S3Url:
    """A new prefix of a bucket with the folder's files."""
    server: S3Server = request.getfixturevalue("s3")
    root = server.root()
    for path in folder.iterdir():
        S3Storage(root, folder).put(path.name, path.read_bytes())
    return root


@pytest.mark.parametrize("first", ["codes.parquet", "words.parquet"])
@pytest.mark.parametrize("where", ["here", "bucket"])
def test_files_of_a_reference_may_write_the_same_values_differently(
    tables: Tables, request: pytest.FixtureRequest, tmp_path: Path, first: str, where: str
) -> None:
    """Whichever of them comes first."""
    write_hour(tables, NOW)
    made = USUAL.items(A_DAY, np.random.default_rng(3))
    folder = tmp_path / "trained"
    folder.mkdir()
    for name, part in (("codes.parquet", coded(made)), ("words.parquet", worded(made))):
        pq.write_table(part, folder / f"{int(name != first)}-{name}")
    table = drift(tables, NOW, folder if where == "here" else copied(folder, request))
    assert found(table)["kind"]["reference_rows"] == 2 * A_DAY
    assert moved(table) == set()


def test_files_of_a_reference_that_do_not_go_together_are_refused(
    tables: Tables, tmp_path: Path
) -> None:
    """By the setting, with the column and what a folder in a bucket may look like."""
    write_hour(tables, NOW)
    pq.write_table(pa.table({"kind": ["picture"]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"kind": [1]}), tmp_path / "b.parquet")
    with pytest.raises(SettingsError, match=r"PIPELINE_DRIFT_REFERENCE.* end in \.parquet.* kind"):
        drift(tables, NOW, tmp_path)


@pytest.mark.parametrize("wanted", ["trained/on.parquet", "trained", ""])
def test_a_fixed_reference_may_be_in_a_bucket(
    tables: Tables, s3: S3Server, tmp_path: Path, wanted: str
) -> None:
    """An object, or all that end in `.parquet` below a prefix."""
    write_hour(tables, NOW)
    pq.write_table(USUAL.items(A_DAY, np.random.default_rng(3)), tmp_path / "a.parquet")
    root = s3.root()
    S3Storage(root, tmp_path).put("trained/on.parquet", (tmp_path / "a.parquet").read_bytes())
    S3Storage(root, tmp_path).put("trained/README.md", b"what it is")
    place = load_settings(drift_reference=str(root / wanted)).drift_reference
    table = drift(tables, NOW, place)
    assert found(table)["label"]["reference_rows"] == A_DAY
    assert moved(table) == set()


def test_a_reference_that_is_not_in_the_bucket_is_named(tables: Tables, s3: S3Server) -> None:
    """By the setting, too."""
    write_hour(tables, NOW)
    with pytest.raises(SettingsError, match=r"PIPELINE_DRIFT_REFERENCE='s3://.*/none.parquet'"):
        drift(tables, NOW, s3.root() / "none.parquet")


@pytest.mark.parametrize("content", [None, b"no Parquet", pa.table({"colour": ["red"]})])
def test_a_reference_that_says_nothing_of_the_features_is_refused(
    tables: Tables, tmp_path: Path, content: Any
) -> None:
    """By the setting's name, with what would do."""
    write_hour(tables, NOW)
    path = tmp_path / "reference.parquet"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        pq.write_table(content, path)
    with pytest.raises(SettingsError, match=r"PIPELINE_DRIFT_REFERENCE.*columns of item_features"):
        drift(tables, NOW, path)
