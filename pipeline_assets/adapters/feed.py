"""The feed of items: CSV, JSONL or Parquet, streamed; one row out for every row in, good or bad."""

import gzip
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from itertools import islice
from pathlib import Path
from typing import Final

import pyarrow as pa

from pipeline_assets.adapters.feed_parquet import parquet_columns, parquet_rows
from pipeline_assets.adapters.feed_rows import (
    COLUMNS,
    REQUIRED_COLUMNS,
    FeedRow,
    RawRow,
    feed_row,
)
from pipeline_assets.adapters.feed_text import csv_header, csv_records, csv_rows, jsonl_rows
from pipeline_assets.errors import FeedError

FORMATS: Final = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".parquet")
JSONL_SAMPLE_ROWS: Final = 1000  # a JSONL feed has no header: its columns are those seen in these
_SHOWN_COLUMNS: Final = 20


@dataclass(frozen=True, slots=True)
class FeedColumns:
    """The columns of a feed, in its order: those that are read, and those that are ignored."""

    known: tuple[str, ...]
    unknown: tuple[str, ...]


def feed_columns(source: str) -> FeedColumns:
    """The columns of the feed in the file `source`.

    Raises `FeedError` where it is missing or unreadable, or lacks a required column.
    """
    with _feed_errors(source):
        names = _READERS[_format(source)].names(source)
    if names is None:  # JSONL without a readable row: every line of it will say so
        return FeedColumns((), ())
    for name in REQUIRED_COLUMNS:
        if name not in names:
            raise FeedError(source, f"it has no column {name!r}; {_found(names)}")
    twice = [name for name, times in Counter(names).items() if times > 1 and name in COLUMNS]
    if twice:
        raise FeedError(source, f"the column {twice[0]!r} is there twice; remove or rename one")
    distinct = tuple(dict.fromkeys(names))
    return FeedColumns(
        tuple(name for name in distinct if name in COLUMNS),
        tuple(name for name in distinct if name not in COLUMNS),
    )


def read_feed(source: str) -> Iterator[FeedRow]:
    """All rows of the feed in the file `source`, in order, in memory that does not grow with it.

    A bad row has its `problem`; nothing is dropped but blank lines. Raises `FeedError` at once
    where `feed_columns` does, and while reading where the file turns out to be cut off or damaged.
    """
    feed_columns(source)
    return _rows(source)


def _rows(source: str) -> Iterator[FeedRow]:
    with _feed_errors(source):
        for raw in _READERS[_format(source)].rows(source):
            yield feed_row(raw)


def _found(names: Sequence[str]) -> str:
    if not names:
        return "it is empty; its first line must name the columns"
    shown = ", ".join(repr(name[:40]) for name in names[:_SHOWN_COLUMNS])
    more = ", …" if len(names) > _SHOWN_COLUMNS else ""
    return (
        f"it has {shown}{more}; required are {', '.join(REQUIRED_COLUMNS)} (comma-separated, UTF-8)"
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    names: Callable[[str], Sequence[str] | None]
    rows: Callable[[str], Iterator[RawRow]]


def _open(source: str) -> gzip.GzipFile | BufferedReader:
    path = Path(source)
    return gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb")


def _csv_names(source: str) -> Sequence[str]:
    with _open(source) as file:
        first = next(csv_records(file), None)
        if first is not None and first.problem is not None:
            raise FeedError(source, f"its header cannot be read: {first.problem}")
        return csv_header(first)


def _csv_rows(source: str) -> Iterator[RawRow]:
    with _open(source) as file:
        yield from csv_rows(file)


def _jsonl_names(source: str) -> Sequence[str] | None:
    with _open(source) as file:
        read = [
            raw.values for raw in islice(jsonl_rows(file), JSONL_SAMPLE_ROWS) if not raw.problem
        ]
    return list(dict.fromkeys(name for values in read for name in values)) if read else None


def _jsonl_rows(source: str) -> Iterator[RawRow]:
    with _open(source) as file:
        yield from jsonl_rows(file)


_READERS: Final = {
    "csv": _Reader(_csv_names, _csv_rows),
    "jsonl": _Reader(_jsonl_names, _jsonl_rows),
    "parquet": _Reader(parquet_columns, parquet_rows),
}


def _format(source: str) -> str:
    if not source or "\0" in source:
        raise FeedError(source, "no feed is set; give the path of a CSV, JSONL or Parquet file")
    if "://" in source:
        raise FeedError(source, "a feed is a file on this machine; download it and give its path")
    name = source.lower()
    for ending in FORMATS:
        if name.endswith(ending):
            return ending.removesuffix(".gz").removeprefix(".")
    raise FeedError(source, f"its name ends in none of {', '.join(FORMATS)}")


@contextmanager
def _feed_errors(source: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise FeedError(source, "there is no such file; check the path") from None
    except IsADirectoryError:
        raise FeedError(source, "it is a folder; name a file") from None
    except PermissionError:
        raise FeedError(source, "this user may not read it; change its permissions") from None
    except (EOFError, zlib.error, pa.ArrowException, OSError) as error:
        reason = f"it is damaged or cut off ({error}); write or fetch it again"
        raise FeedError(source, reason) from error
