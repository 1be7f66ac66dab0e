"""What came of every rung call, kept beside the tables for the reliability figures.

One small file for each hour and stage, `{data}/tables/rung_calls/hour=…/stage=…/part.parquet`,
written by the one run that holds the stage's lease.
"""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline_assets.adapters.tables import PART, Tables, TableWriter, check_version
from pipeline_assets.core.climb import RungStats
from pipeline_assets.core.contract import SCHEMA_VERSION, SCHEMA_VERSION_KEY, TIMESTAMP

NAME = "rung_calls"
SCHEMA = pa.schema(
    [
        pa.field("run_id", pa.string()),
        pa.field("at", TIMESTAMP),
        pa.field("rung", pa.string()),
        pa.field("calls", pa.int64()),
        pa.field("rows", pa.int64()),
        pa.field("made", pa.int64()),
        pa.field("recalled", pa.int64()),
        pa.field("seconds", pa.float64()),
        pa.field("errors", pa.map_(pa.string(), pa.int64())),
    ],
    metadata={SCHEMA_VERSION_KEY: str(SCHEMA_VERSION).encode()},
)


def keep_calls(
    tables: Tables,
    stage: str,
    hour: str,
    run_id: str,
    at: datetime,
    rungs: Mapping[str, RungStats],
) -> None:
    """Add what a run's calls came to. Nothing is written where no rung was called."""
    if not rungs:
        return
    path = calls_path(tables, stage, hour)
    rows = [
        {
            "run_id": run_id,
            "at": at,
            "rung": rung,
            "calls": stats.calls,
            "rows": stats.rows,
            "made": stats.made,
            "recalled": stats.recalled,
            "seconds": stats.seconds,
            "errors": list(stats.errors.items()),
        }
        for rung, stats in rungs.items()
    ]
    added = pa.Table.from_pylist(rows, schema=SCHEMA)
    name = _name(stage, hour)
    before = [_read(path, name)] if path.is_file() else []
    with TableWriter(path, name, SCHEMA, lambda _table: None) as writer:
        writer.write(pa.concat_tables([*before, added]))
        writer.publish()


def calls_path(tables: Tables, stage: str, hour: str) -> Path:
    """Where the calls of a stage and hour are kept."""
    return tables.root / NAME / f"hour={hour}" / f"stage={stage}" / PART


def read_calls(tables: Tables, hour: str) -> pa.Table:
    """The calls of all stages of an hour, with the column `stage`."""
    parts = [SCHEMA.append(pa.field("stage", pa.string())).empty_table()]
    for path in sorted(tables.root.joinpath(NAME, f"hour={hour}").glob(f"stage=*/{PART}")):
        stage = path.parent.name.removeprefix("stage=")
        read = _read(path, _name(stage, hour))
        parts.append(read.append_column("stage", pa.array([stage] * read.num_rows, pa.string())))
    return pa.concat_tables(parts)


def hours_with_calls(tables: Tables) -> list[str]:
    """The hours in which a rung was ever called, oldest first."""
    found = tables.root.joinpath(NAME).glob("hour=*")
    return sorted(path.name.removeprefix("hour=") for path in found)


def _read(path: Path, name: str) -> pa.Table:
    """A file of calls; older ones carry no version."""
    file = pq.ParquetFile(path)
    check_version(name, file.schema_arrow)
    return file.read()


def _name(stage: str, hour: str) -> str:
    return f"{NAME} of {stage}, {hour}"
