"""What came of every rung call, kept beside the tables for the reliability figures.

One small file for each hour and stage, `{data}/tables/rung_calls/hour=…/stage=…/part.parquet`,
written by the one run that holds the stage's lease.
"""

from collections.abc import Mapping
from datetime import datetime

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline_assets.core.contract import SCHEMA_VERSION, SCHEMA_VERSION_KEY, TIMESTAMP
from pipeline_assets.core.environment import RungStats
from pipeline_assets.core.names import RUNG_CALLS
from pipeline_assets.store.footers import Footer
from pipeline_assets.store.tables import PART, Tables, TableWriter, check_version

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
    file = calls_name(stage, hour)
    seen = tables.storage.version(file)
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
    before = [_read(tables, stage, hour)] if tables.storage.exists(file) else []
    with TableWriter(tables.storage, file, name, SCHEMA, lambda _table: None, seen) as writer:
        writer.write(pa.concat_tables([*before, added]))
        writer.publish()


def calls_name(stage: str, hour: str) -> str:
    """What the calls of a stage and hour are called in the storage of tables."""
    return f"{RUNG_CALLS}/hour={hour}/stage={stage}/{PART}"


def read_calls(tables: Tables, hour: str) -> pa.Table:
    """The calls of all stages of an hour, with the column `stage`."""
    parts = [SCHEMA.append(pa.field("stage", pa.string())).empty_table()]
    for name in tables.storage.names(f"{RUNG_CALLS}/hour={hour}", f"stage=*/{PART}"):
        stage = name.split("/")[-2].removeprefix("stage=")
        read = _read(tables, stage, hour)
        parts.append(read.append_column("stage", pa.array([stage] * read.num_rows, pa.string())))
    return pa.concat_tables(parts)


def _read(tables: Tables, stage: str, hour: str) -> pa.Table:
    """A file of calls; older ones carry no version."""

    def rows(file: pq.ParquetFile, footer: Footer) -> pa.Table:
        check_version(_name(stage, hour), footer.schema)
        return file.read()

    return tables.reading(calls_name(stage, hour), rows)


def _name(stage: str, hour: str) -> str:
    return f"{RUNG_CALLS} of {stage}, {hour}"
