"""Footers of Parquet files, kept for as long as a file stands.

The footer of an hour of a million rows is half a megabyte, and an hour is read in pieces of a few
thousand rows: parsing it for each would make the cost of a row grow with the hour.
"""

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline_assets.store.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Hashable

KEPT = 32
"""Files: the tables that a few stages of a few hours read."""


@dataclass(frozen=True, slots=True)
class Footer:
    """What a file says of itself; `spans` are the first and last item of each row group.

    A span is None where the file does not tell it.
    """

    metadata: pq.FileMetaData
    schema: pa.Schema
    spans: tuple[tuple[str, str] | None, ...]

    def groups(self, first: str, last: str) -> list[int]:
        """The row groups that may hold items from `first` to `last`."""
        return [
            group
            for group, span in enumerate(self.spans)
            if span is None or (span[0] <= last and span[1] >= first)
        ]


class Footers:
    """Opens Parquet files, each footer being read once. A file that was replaced is another.

    For any number of threads.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._lock = threading.Lock()
        self._known: dict[Hashable, Footer] = {}

    def open(self, name: str) -> tuple[pq.ParquetFile, Footer]:
        """An open file and its footer."""
        opened = self._storage.open(name)
        source, stamp = opened.source, opened.stamp
        known = self._known.get(stamp)
        if known is not None:
            return pq.ParquetFile(source, metadata=known.metadata, pre_buffer=opened.remote), known
        file = pq.ParquetFile(source, pre_buffer=opened.remote)
        footer = Footer(file.metadata, file.schema_arrow, _spans(file))
        with self._lock:
            while len(self._known) >= KEPT:
                self._known.pop(next(iter(self._known)))
            self._known[stamp] = footer
        return file, footer


def _spans(file: pq.ParquetFile) -> tuple[tuple[str, str] | None, ...]:
    position = file.schema_arrow.get_field_index("item_id")
    if position < 0:
        return (None,) * file.metadata.num_row_groups
    return tuple(
        _span(file.metadata.row_group(group).column(position))
        for group in range(file.metadata.num_row_groups)
    )


def _span(column: pq.ColumnChunkMetaData) -> tuple[str, str] | None:
    statistics = column.statistics
    if statistics is None or not statistics.has_min_max:
        return None
    return statistics.min, statistics.max
