"""Tables: one Parquet file per asset and hour, replaced atomically.

A reader sees the old table or the new one, never a mixture. Rows are sorted by `item_id`, so that
a shard of items reads only the row groups that it needs.
"""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline_assets.core.contract import SCHEMA_VERSION, SCHEMA_VERSION_KEY
from pipeline_assets.errors import ContractError
from pipeline_assets.store.files import (
    TEMP_SUFFIX,
    Temporary,
    hash_file,
    remove_if_abandoned,
    storage_errors,
)
from pipeline_assets.store.footers import Footer, Footers
from pipeline_assets.store.storage import Replaced, Storage, storage_at

if TYPE_CHECKING:
    import duckdb

T = TypeVar("T")

PART = "part.parquet"
WHOLE = "all"
"""The one partition of a table that has none: `hour=all`."""
ROW_GROUP_ROWS = 4096
"""Rows in a row group, and items in a shard: about 1 MB of text, one read each."""

REPEATED = frozenset(
    {"role", "status", "rung", "fallback_used", "error_kind", "error", "producer", "run_id"}
)
"""Columns with few different values. A dictionary of any other, of keys say, made a file a third
larger, and up to twice as slow to write."""

READ_AGAIN = 5
"""Times that a table may be replaced under a reader; a writer takes longer than a reader."""

Check = Callable[[pa.Table], None]


class Tables:
    """The folder `{data}/tables`, on a disk or in object storage."""

    def __init__(self, root: Path | Storage) -> None:
        self.storage = storage_at(root)
        self._footers = Footers(self.storage)

    def path(self, asset: str, hour: str) -> Path:
        """Where a table lies; of one in object storage, where its bytes are collected."""
        return self.storage.place(table_name(asset, hour))

    def url(self, asset: str, hour: str) -> str:
        """Where a table lies, for those who read it by themselves: a path, or `s3://…`."""
        return self.storage.url(table_name(asset, hour))

    def connect(self) -> "duckdb.DuckDBPyConnection":
        """DuckDB, in UTC, for queries over what `url` names."""
        import duckdb  # noqa: PLC0415 - a tenth of a second that loading definitions need not cost

        connection = duckdb.connect()
        connection.execute("SET TimeZone = 'UTC'")
        self.storage.register(connection)
        return connection

    def exists(self, asset: str, hour: str) -> bool:
        """Whether the table has ever been published."""
        return self.storage.exists(table_name(asset, hour))

    def version(self, asset: str, hour: str) -> str:
        """What a writer that is given it as `seen` replaces; nothing that came after it."""
        return self.storage.version(table_name(asset, hour))

    def stamp(self, asset: str, hour: str) -> str:
        """What tells a table from the one that replaces it."""
        return self.storage.stamp(table_name(asset, hour))

    def hours(self, asset: str) -> list[str]:
        """The hours of an asset that have a table, oldest first."""
        found = self.storage.names(asset, f"hour=*/{PART}")
        return [name.split("/")[1].removeprefix("hour=") for name in found]

    def rows(self, asset: str, hour: str) -> int:
        """The number of rows of a table, from its footer; 0 where there is none."""
        try:
            return int(self._footers.open(table_name(asset, hour))[1].metadata.num_rows)
        except FileNotFoundError:
            return 0

    def schema(self, asset: str, hour: str) -> pa.Schema:
        """The schema of a table that exists."""
        return self._footers.open(table_name(asset, hour))[1].schema

    def reading(self, name: str, use: Callable[[pq.ParquetFile, Footer], T]) -> T:
        """What `use` makes of a file; begun again where that was replaced meanwhile."""
        for _ in range(READ_AGAIN):
            with suppress(Replaced):
                return use(*self._footers.open(name))
        raise OSError(f"{self.storage.url(name)} is replaced faster than it can be read")

    def read(
        self,
        asset: str,
        hour: str,
        columns: Sequence[str] | None = None,
        items: tuple[str, str] | None = None,
    ) -> pa.Table:
        """A table, or the columns of it, or just the items from the first to the last named.

        Raises `FileNotFoundError` where there is no table.
        """

        def rows(file: pq.ParquetFile, footer: Footer) -> pa.Table:
            check_version(f"{asset} of {hour}", footer.schema)
            return _rows(file, footer, columns, items)

        try:
            return self.reading(table_name(asset, hour), rows)
        except FileNotFoundError:
            raise FileNotFoundError(
                f"{asset} has no table for hour {hour}: materialize {asset} for it first"
            ) from None

    def pieces(self, asset: str, hour: str, rows: int) -> list[tuple[str, str]]:
        """The (first, last) item of pieces of at most `rows` rows: how an hour's work is divided.

        A piece lies within one row group, so that it is read without the others.
        """

        def ids_by_group(file: pq.ParquetFile, footer: Footer) -> list[pa.ChunkedArray]:
            groups = range(len(footer.spans))
            return [file.read_row_group(each, columns=["item_id"])["item_id"] for each in groups]

        try:
            columns = self.reading(table_name(asset, hour), ids_by_group)
        except FileNotFoundError:
            return []
        return [
            (ids[start].as_py(), ids[min(start + rows, len(ids)) - 1].as_py())
            for ids in columns
            for start in range(0, len(ids), rows)
        ]

    def writer(
        self, asset: str, hour: str, schema: pa.Schema, check: Check, seen: str | None = None
    ) -> "TableWriter":
        """A writer whose table replaces the present one when it is published.

        That is the one of the version `seen`, by default the one that there is now.
        """
        name = table_name(asset, hour)
        return TableWriter(self.storage, name, f"{asset} of {hour}", schema, check, seen)

    def write(
        self,
        asset: str,
        hour: str,
        table: pa.Table,
        check: Check = lambda _table: None,
        seen: str | None = None,
    ) -> None:
        """Publish a small table that is already whole."""
        with self.writer(asset, hour, table.schema, check, seen) as writer:
            writer.write(table)
            writer.publish()


def table_name(asset: str, hour: str) -> str:
    """The name of a table in the storage of tables."""
    return f"{asset}/hour={hour}/{PART}"


def _rows(
    file: pq.ParquetFile,
    footer: Footer,
    columns: Sequence[str] | None,
    items: tuple[str, str] | None,
) -> pa.Table:
    names = list(columns) if columns is not None else None
    if items is None:
        return file.read(columns=names)
    first, last = items
    if names is not None and "item_id" not in names:
        names = ["item_id", *names]
    table = file.read_row_groups(footer.groups(first, last), columns=names)
    ids = table["item_id"]
    return table.filter(pc.and_(pc.greater_equal(ids, first), pc.less_equal(ids, last)))


class TableWriter:
    """Writes a table beside the present one; nothing is seen of it before `publish`."""

    def __init__(
        self,
        storage: Storage,
        file: str,
        name: str,
        schema: pa.Schema,
        check: Check,
        seen: str | None = None,
    ) -> None:
        self._storage, self._final = storage, file
        self._seen = storage.version(file) if seen is None else seen
        path = storage.place(file)
        self._path, self._name, self._check = path, name, check
        self._temp = Temporary(path)
        self._schema = schema
        self._rows = 0
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(path)
            self._file = _HashingFile(self._temp.open())
        repeated = [name for name in schema.names if name in REPEATED]
        self._parquet = pq.ParquetWriter(
            self._file, schema, compression="zstd", use_dictionary=repeated
        )

    def __enter__(self) -> "TableWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Never onto the final name: what is not published by now is not wanted.
        self._file.abandon()
        self._temp.release()

    def write(self, table: pa.Table) -> None:
        """Append rows, after checking them against the contract."""
        self._check(table)
        with storage_errors(self._path):
            self._parquet.write_table(table, row_group_size=ROW_GROUP_ROWS)
        self._rows += table.num_rows

    def publish(self) -> None:
        """Verify what was written and put it in place.

        Raises `ContractError`, `StorageError`, and `Overtaken` where another writer was faster.
        """
        with storage_errors(self._path):
            self._parquet.close()
            self._file.close()
            digest = hash_file(self._temp.path)
        if digest != self._file.digest:
            raise ContractError(self._name, "the bytes on disk differ from those written", "")
        read_back = pq.read_metadata(self._temp.path).num_rows
        if read_back != self._rows:
            raise ContractError(
                self._name, "rows are missing", f"{read_back} of {self._rows} can be read back"
            )
        self._storage.replace(self._temp.path, self._final, self._seen)


class _HashingFile:
    """A file for writing that knows the hash of its bytes."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.closed = self._abandoned = False

    def write(self, data: bytes) -> int:
        if self._abandoned:
            return len(data)
        self._hash.update(data)
        return self._file.write(data)

    def tell(self) -> int:
        return 0 if self._abandoned else self._file.tell()

    def flush(self) -> None:
        if not self._abandoned:
            self._file.flush()

    def close(self) -> None:
        self.closed = True
        self._file.close()

    def abandon(self) -> None:
        """Nobody wants these bytes any more, nor those that the Parquet writer still holds."""
        self.closed = self._abandoned = True
        with suppress(OSError):  # a full disk refuses the last flush too
            self._file.close()

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()


def _remove_abandoned(path: Path) -> None:
    """Remove what killed runs left beside `path`."""
    for temp in path.parent.glob(f".{path.name}.*{TEMP_SUFFIX}"):
        remove_if_abandoned(temp)


def check_version(name: str, schema: pa.Schema) -> None:
    """Raise `ContractError` where a table is of a newer program; without a version it is old."""
    found = int((schema.metadata or {}).get(SCHEMA_VERSION_KEY, b"0"))
    if found > SCHEMA_VERSION:
        raise ContractError(
            name,
            f"its schema version {found} is newer than this program's {SCHEMA_VERSION}",
            "upgrade pipeline-assets to read it",
        )
