"""Reading Parquet feeds: a few hundred rows at a time, whatever types the columns have."""

from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline_assets.feed.rows import RawRow

BATCH_ROWS: Final = 256  # at 1 MB a field a batch stays bearable
_BUFFER_BYTES: Final = 1 << 20  # streams a column chunk, else a whole one is read at once
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NS_PER_UNIT: Final = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1000, "ns": 1}

_is_text: Final[tuple[Callable[[pa.DataType], bool], ...]] = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_binary_view,
    pa.types.is_fixed_size_binary,
)


def parquet_columns(source: pa.NativeFile) -> list[str]:
    """The top-level column names of a Parquet file."""
    with pq.ParquetFile(source) as file:
        return list(file.schema_arrow.names)


def parquet_rows(source: pa.NativeFile, wanted: Collection[str]) -> Iterator[RawRow]:
    """The rows, numbered from 1; raises what pyarrow does of a damaged file."""
    with pq.ParquetFile(source, buffer_size=_BUFFER_BYTES) as file:
        known = [name for name in file.schema_arrow.names if name in wanted]
        number = 0
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=known):
            columns = {name: _values(batch.column(name)) for name in batch.schema.names}
            for index in range(batch.num_rows):
                number += 1
                yield RawRow(number, {name: column[index] for name, column in columns.items()})


def _values(column: pa.Array) -> list[object]:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if any(is_text(column.type) for is_text in _is_text):
        # As bytes: pyarrow raises for the whole column where one text is not UTF-8.
        return [None if v is None else _text(v) for v in column.cast(pa.large_binary()).to_pylist()]
    if pa.types.is_timestamp(column.type):
        unit = column.type.unit
        return [None if v is None else _time(v, unit) for v in column.cast(pa.int64()).to_pylist()]
    return [_plain(scalar) for scalar in column]


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _time(value: int, unit: str) -> datetime | str:
    """In microseconds; as text, which no check takes for a time, where Python has no such year."""
    try:
        return _EPOCH + timedelta(microseconds=value * _NS_PER_UNIT[unit] // 1000)
    except OverflowError:
        return f"{value} {unit} since 1970"


def _plain(scalar: pa.Scalar) -> object:
    try:
        return scalar.as_py()
    except (ValueError, OverflowError):
        return scalar  # some value of a type that no column of ours has: the row check says so
