"""What came of every rung call, beside the tables."""

from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline_assets.core.contract import SCHEMA_VERSION, SCHEMA_VERSION_KEY
from pipeline_assets.core.environment import RungStats
from pipeline_assets.errors import ContractError
from pipeline_assets.store.rung_calls import calls_name, keep_calls, read_calls
from pipeline_assets.store.tables import Tables
from pipeline_assets_tests.conftest import HOUR, HOUR_START


def stats(rows: int, **errors: int) -> RungStats:
    """A rung's figures."""
    return RungStats(calls=1, rows=rows, made=rows, seconds=0.5, errors=Counter(errors))


def test_runs_add_to_the_history_of_a_stage_and_hour(tmp_path: Path) -> None:
    """Nothing that was kept is lost."""
    tables = Tables(tmp_path)
    keep_calls(tables, "fetched", HOUR, "run 1", HOUR_START, {"http": stats(5, not_found=2)})
    keep_calls(tables, "fetched", HOUR, "run 2", HOUR_START, {"http": stats(1)})
    keep_calls(tables, "embeddings", HOUR, "run 2", HOUR_START, {"cpu_clip": stats(3)})
    kept = read_calls(tables, HOUR).to_pylist()
    assert [(row["stage"], row["run_id"], row["rung"], row["rows"]) for row in kept] == [
        ("embeddings", "run 2", "cpu_clip", 3),
        ("fetched", "run 1", "http", 5),
        ("fetched", "run 2", "http", 1),
    ]
    assert dict(kept[1]["errors"]) == {"not_found": 2}
    assert kept[1]["at"] == HOUR_START


def test_a_run_without_calls_writes_nothing(tmp_path: Path) -> None:
    """A third run of a finished hour leaves no trace here."""
    tables = Tables(tmp_path)
    keep_calls(tables, "fetched", HOUR, "run", HOUR_START, {})
    assert not tables.storage.exists(calls_name("fetched", HOUR))


def test_an_hour_without_calls_is_an_empty_table_with_its_columns(tmp_path: Path) -> None:
    """A query over it finds no rows, not an error."""
    calls = read_calls(Tables(tmp_path), HOUR)
    assert calls.num_rows == 0
    assert {"stage", "rung", "rows", "seconds"} <= set(calls.column_names)


def with_metadata(path: Path, metadata: dict[bytes, bytes] | None) -> None:
    """Write the file again with other metadata."""
    pq.write_table(pq.ParquetFile(path).read().replace_schema_metadata(metadata), path)


def test_a_file_without_a_version_is_read_and_gets_one_with_the_next_run(tmp_path: Path) -> None:
    """Older programs wrote none."""
    tables = Tables(tmp_path)
    path = tables.storage.place(calls_name("fetched", HOUR))
    keep_calls(tables, "fetched", HOUR, "run 1", HOUR_START, {"http": stats(5)})
    with_metadata(path, None)
    assert read_calls(tables, HOUR)["run_id"].to_pylist() == ["run 1"]
    keep_calls(tables, "fetched", HOUR, "run 2", HOUR_START, {"http": stats(1)})
    assert read_calls(tables, HOUR)["run_id"].to_pylist() == ["run 1", "run 2"]
    assert pq.read_schema(path).metadata[SCHEMA_VERSION_KEY] == str(SCHEMA_VERSION).encode()


def test_a_file_of_a_newer_program_is_not_misread(tmp_path: Path) -> None:
    """Nor written over."""
    tables = Tables(tmp_path)
    keep_calls(tables, "fetched", HOUR, "run", HOUR_START, {"http": stats(5)})
    newer = {SCHEMA_VERSION_KEY: str(SCHEMA_VERSION + 1).encode()}
    with_metadata(tables.storage.place(calls_name("fetched", HOUR)), newer)
    with pytest.raises(ContractError, match="upgrade pipeline-assets"):
        read_calls(tables, HOUR)
    with pytest.raises(ContractError, match="upgrade pipeline-assets"):
        keep_calls(tables, "fetched", HOUR, "run", HOUR_START, {"http": stats(5)})
