"""One file of a feed: CSV, JSONL or Parquet, packed or not; one row out for every row in."""

import gzip
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import BufferedReader
from itertools import islice
from shutil import copyfileobj
from typing import IO, Final, cast

import pyarrow as pa

from pipeline_assets.errors import FeedError
from pipeline_assets.feed.files import ENDINGS, PACKED, FeedFile
from pipeline_assets.feed.mapping import FeedMapping, Mapped
from pipeline_assets.feed.merged import merged
from pipeline_assets.feed.parquet import parquet_columns, parquet_rows
from pipeline_assets.feed.rows import FeedRow, RawRow, feed_row
from pipeline_assets.feed.text import csv_header, csv_records, csv_rows, jsonl_rows

JSONL_SAMPLE_ROWS: Final = 1000  # a JSONL feed has no header: its columns are those seen in these
_BUFFER_BYTES: Final = 4 << 20  # on an object store each buffer is a request
_SNIFFED_BYTES: Final = 4096
_GZIP, _PARQUET = b"\x1f\x8b", b"PAR1"


@dataclass(frozen=True, slots=True)
class Reading:
    """How files are read: which column is what, and whether an item's rows are one."""

    mapping: FeedMapping
    merge: bool = False


def column_names(file: FeedFile) -> Sequence[str] | None:
    """The columns of a file; None for JSONL without a readable row, where every line says why.

    Raises `FeedError` where the file cannot be read.
    """
    with feed_errors(file.name), _opened(file) as (kind, source):
        return _names(file.name, kind, source)


def read_rows(file: FeedFile, reading: Reading) -> Iterator[FeedRow]:
    """All rows of a file, in order, in memory that does not grow with them.

    A bad row has its `problem`; nothing is dropped but blank lines. Raises `FeedError` where the
    file is unreadable or lacks a column, and in the middle where it is cut off or damaged.
    """
    with feed_errors(file.name), _opened(file) as (kind, source):
        names = _names(file.name, kind, source)
        try:
            mapped = reading.mapping.over(names or ())
        except ValueError as error:
            if names is not None:
                raise FeedError(file.name, str(error)) from None
            mapped = Mapped()
        raws = (
            RawRow(raw.line, mapped.values(raw.values, file.modified), raw.problem)
            for raw in _raw_rows(kind, source, mapped)
        )
        for raw in merged(raws) if reading.merge else raws:
            yield feed_row(raw, file.name)


def _raw_rows(kind: str, source: "_Source", mapped: Mapped) -> Iterator[RawRow]:
    if kind == "parquet":
        with source.open() as native:
            yield from parquet_rows(native, mapped.columns)
        return
    with source.stream() as stream:
        if kind == "csv":
            yield from csv_rows(stream, mapped.columns)
        else:
            yield from jsonl_rows(stream)


def _names(name: str, kind: str, source: "_Source") -> Sequence[str] | None:
    if kind == "parquet":
        with source.open() as native:
            return parquet_columns(native)
    with source.stream() as stream:
        return _csv_names(name, stream) if kind == "csv" else _jsonl_names(stream)


def _csv_names(name: str, stream: IO[bytes]) -> Sequence[str]:
    first = next(csv_records(stream), None)
    if first is not None and first.problem is not None:
        raise FeedError(name, f"its header cannot be read: {first.problem}")
    return csv_header(first)


def _jsonl_names(stream: IO[bytes]) -> Sequence[str] | None:
    read = [raw.values for raw in islice(jsonl_rows(stream), JSONL_SAMPLE_ROWS) if not raw.problem]
    return list(dict.fromkeys(name for values in read for name in values)) if read else None


@dataclass(frozen=True, slots=True)
class _Source:
    """The bytes of a file, unpacked on the way where they are packed."""

    open: Callable[[], pa.NativeFile]
    packed: bool

    @contextmanager
    def stream(self) -> Iterator[IO[bytes]]:
        with self.open() as native, BufferedReader(native, _BUFFER_BYTES) as plain:
            yield cast("IO[bytes]", gzip.GzipFile(fileobj=plain)) if self.packed else plain


@contextmanager
def _opened(file: FeedFile) -> Iterator[tuple[str, _Source]]:
    """What kind of file it is, by its ending or else by its first bytes, and its bytes."""
    source = _Source(file.open, _is_packed(file))
    kind = _kind(file, source)
    if kind != "parquet" or not source.packed:
        yield kind, source
        return
    with tempfile.NamedTemporaryFile(prefix="feed-") as unpacked:  # it is read from its end on
        with source.stream() as stream:
            copyfileobj(stream, unpacked)
        unpacked.flush()
        yield kind, _Source(partial(pa.OSFile, unpacked.name), packed=False)


def _is_packed(file: FeedFile) -> bool:
    if _ending(file) is not None:
        return file.path.lower().endswith(PACKED)
    with _Source(file.open, packed=False).stream() as stream:
        return stream.read(len(_GZIP)) == _GZIP


def _ending(file: FeedFile) -> str | None:
    plain = file.path.lower().removesuffix(PACKED)
    return next((ending for ending in ENDINGS if plain.endswith(ending)), None)


def _kind(file: FeedFile, source: _Source) -> str:
    ending = _ending(file)
    if ending is not None:
        return ending.removeprefix(".")
    with source.stream() as stream:
        head = stream.read(_SNIFFED_BYTES)
    if head.startswith(_PARQUET):
        return "parquet"
    if b"\0" in head:
        raise FeedError(
            file.name, "its name does not say what it is, and its bytes are no CSV or JSONL"
        )
    return "jsonl" if head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{") else "csv"


@contextmanager
def feed_errors(name: str) -> Iterator[None]:
    """Turn what the file system and the formats' readers say of a file into `FeedError`."""
    try:
        yield
    except FileNotFoundError:
        raise FeedError(name, "there is no such file; check the path") from None
    except PermissionError:
        raise FeedError(name, "this user may not read it; change its permissions") from None
    except IsADirectoryError:
        raise FeedError(name, "it is a folder; name a file") from None
    except (EOFError, zlib.error, pa.ArrowException, OSError) as error:
        reason = f"it is damaged or cut off ({error}); write or fetch it again"
        raise FeedError(name, reason) from error
