"""The feed's rows that are in no hour's items, each with its reason.

Whether another row of an item counts is known only when the whole feed was seen. So the rows are
noted down in a file first, a few numbers and an id each, and compared there, in bounded memory.
"""

from __future__ import annotations

from contextlib import contextmanager
from itertools import islice
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline_assets.core.contract import TIMESTAMP
from pipeline_assets.core.names import REJECTS
from pipeline_assets.feed.feed import Unread
from pipeline_assets.feed.index import hour_number
from pipeline_assets.ingest.items import REJECTS_SCHEMA
from pipeline_assets.store.tables import WHOLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime
    from pathlib import Path

    from pipeline_assets.core.forgotten import Forgotten
    from pipeline_assets.feed.rows import FeedRow
    from pipeline_assets.resources import Resources

NOTED_ROWS = 10_000
"""Rows that are noted down at a time."""

COMPARE_MEMORY = "400MB"
"""What does not fit in it while rows are compared is kept on disk."""

MADE_OF = "feed_rejects.made_of"
"""The version of the feed that the table was made of."""

NOTES = pa.schema(
    [
        pa.field("number", pa.int64()),
        pa.field("file", pa.string()),
        pa.field("line", pa.int64()),
        pa.field("item_id", pa.string()),
        pa.field("event_time", TIMESTAMP),
        pa.field("hour", pa.int64()),
        pa.field("problem", pa.string()),
    ]
)

REJECTED = """
    SELECT file, line, item_id, event_time, problem FROM (
        SELECT number, file, line, item_id, event_time,
            coalesce(problem, 'item_id ''' || item_id || ''' is in line '
                || first_value(line) OVER latest || ' of ' || first_value(file) OVER latest
                || ' again, in the same hour: '
                || CASE WHEN first_value(number) OVER latest > number THEN 'the last one counts'
                        ELSE 'its time is later, and so it counts' END) AS problem,
            problem IS NOT NULL OR first_value(number) OVER latest <> number AS rejected
        FROM notes
        WINDOW latest AS (PARTITION BY problem IS NULL, item_id, hour
                          ORDER BY event_time DESC, number DESC)
    )
    WHERE rejected ORDER BY number
"""


def materialize_rejects(resources: Resources) -> None:
    """Publish the table of rejects; one that was made of this very feed stays.

    Raises `FeedError` where no file of the feed can be read.
    """
    start = resources.settings.start
    made_of = f"{resources.feed.version()}.{start.isoformat()}"
    tables, state = resources.tables, resources.state
    if tables.exists(REJECTS, WHOLE) and state.fact(MADE_OF) == made_of:
        return
    rows = _noted(resources.feed.all_rows(), start, resources.forgotten.read())
    with (
        rejected(rows, resources.work) as batches,
        tables.writer(REJECTS, WHOLE, REJECTS_SCHEMA, lambda _table: None) as writer,
    ):
        for batch in batches:
            writer.write(pa.Table.from_batches([batch]).cast(REJECTS_SCHEMA))
        writer.publish()
    state.remember(MADE_OF, made_of)


Note = tuple[int, str, int | None, str | None, "datetime | None", int | None, str | None]
"""A row of `NOTES`."""


def _noted(
    rows: Iterable[FeedRow | Unread], start: datetime, forgotten: Forgotten
) -> Iterator[Note]:
    for number, row in enumerate(rows):
        if isinstance(row, Unread):
            yield number, row.file, None, None, None, None, f"the file is not read: {row.problem}"
            continue
        if forgotten.item(row.item_id):
            continue
        problem = _reject(row, start)
        hour = hour_number(row.event_time) if problem is None and row.event_time else None
        yield number, row.file, row.line, row.item_id, row.event_time, hour, problem


def _reject(row: FeedRow, start: datetime) -> str | None:
    """Why a row is in no hour, whatever other rows there are."""
    if row.item_id is None or row.event_time is None:
        return row.problem or "item_id or event_time is missing"
    if row.event_time < start:
        return (
            f"event_time {row.event_time:%Y-%m-%dT%H:%M:%SZ} is before the first hour, "
            f"{start:%Y-%m-%dT%H:%M:%SZ} (PIPELINE_START)"
        )
    return None


@contextmanager
def rejected(notes: Iterator[Note], work: Path) -> Iterator[Iterator[pa.RecordBatch]]:
    """The rejects among the noted rows, in their order; other files are made in `work`."""
    import duckdb  # noqa: PLC0415 - a tenth of a second

    work.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=work, prefix="rejects-") as folder:
        path = f"{folder}/notes.parquet"
        with pq.ParquetWriter(path, NOTES) as writer:
            while some := list(islice(notes, NOTED_ROWS)):
                writer.write_batch(_batch(some))
        options = {"memory_limit": COMPARE_MEMORY, "temp_directory": folder, "threads": 1}
        with duckdb.connect(config=options) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.read_parquet(path).create_view("notes")
            yield iter(connection.sql(REJECTED).to_arrow_reader(NOTED_ROWS))


def _batch(notes: list[Note]) -> pa.RecordBatch:
    columns: list[Any] = [
        pa.array(column, field.type)
        for column, field in zip(zip(*notes, strict=True), NOTES, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=NOTES)
