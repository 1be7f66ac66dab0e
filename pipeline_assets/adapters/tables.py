"""Tables: one Parquet file per asset and hour, replaced atomically.

A reader sees the old table or the new one, never a mixture. Rows are sorted by `item_id`, so that
a shard of items reads only the row groups that it needs.
"""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline_assets.adapters.files import (
    TEMP_SUFFIX,
    hash_file,
    replace_durably,
    storage_errors,
    temporary,
)
from pipeline_assets.adapters.footers import Footers
from pipeline_assets.adapters.processes import is_gone
from pipeline_assets.core.contract import SCHEMA_VERSION, SCHEMA_VERSION_KEY
from pipeline_assets.errors import ContractError

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

Check = Callable[[pa.Table], None]


class Tables:
    """The folder `{data}/tables`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._footers = Footers()

    def path(self, asset: str, hour: str) -> Path:
        """Where the table of an asset and hour lies."""
        return self.root / asset / f"hour={hour}" / PART

    def exists(self, asset: str, hour: str) -> bool:
        """Whether the table has ever been published."""
        return self.path(asset, hour).is_file()

    def hours(self, asset: str) -> list[str]:
        """The hours of an asset that have a table, oldest first."""
        found = self.root.joinpath(asset).glob(f"hour=*/{PART}")
        return sorted(path.parent.name.removeprefix("hour=") for path in found)

    def rows(self, asset: str, hour: str) -> int:
        """The number of rows of a table, from its footer; 0 where there is none."""
        if not self.exists(asset, hour):
            return 0
        return int(self._footers.open(self.path(asset, hour))[1].metadata.num_rows)

    def schema(self, asset: str, hour: str) -> pa.Schema:
        """The schema of a table that exists."""
        return self._footers.open(self.path(asset, hour))[1].schema

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
        path = self.path(asset, hour)
        if not path.is_file():
            raise FileNotFoundError(
                f"{asset} has no table for hour {hour}: materialize {asset} for it first"
            )
        file, footer = self._footers.open(path)
        check_version(f"{asset} of {hour}", footer.schema)
        names = list(columns) if columns is not None else None
        if items is None:
            return file.read(columns=names)
        first, last = items
        if names is not None and "item_id" not in names:
            names = ["item_id", *names]
        table = file.read_row_groups(footer.groups(first, last), columns=names)
        ids = table["item_id"]
        return table.filter(pc.and_(pc.greater_equal(ids, first), pc.less_equal(ids, last)))

    def pieces(self, asset: str, hour: str, rows: int) -> list[tuple[str, str]]:
        """The (first, last) item of pieces of at most `rows` rows: how an hour's work is divided.

        A piece lies within one row group, so that it is read without the others.
        """
        if not self.exists(asset, hour):
            return []
        file, footer = self._footers.open(self.path(asset, hour))
        groups = range(len(footer.spans))
        columns = [file.read_row_group(group, columns=["item_id"])["item_id"] for group in groups]
        return [
            (ids[start].as_py(), ids[min(start + rows, len(ids)) - 1].as_py())
            for ids in columns
            for start in range(0, len(ids), rows)
        ]

    def writer(self, asset: str, hour: str, schema: pa.Schema, check: Check) -> "TableWriter":
        """A writer whose table replaces the present one when it is published."""
        return TableWriter(self.path(asset, hour), f"{asset} of {hour}", schema, check)

    def write(
        self, asset: str, hour: str, table: pa.Table, check: Check = lambda _table: None
    ) -> None:
        """Publish a small table that is already whole."""
        with self.writer(asset, hour, table.schema, check) as writer:
            writer.write(table)
            writer.publish()


class TableWriter:
    """Writes a table beside the present one; nothing is seen of it before `publish`."""

    def __init__(self, path: Path, name: str, schema: pa.Schema, check: Check) -> None:
        self._path, self._name, self._check = path, name, check
        self._temp = temporary(path)
        self._schema = schema
        self._rows = 0
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(path)
            self._file = _HashingFile(self._temp)
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
        with suppress(FileNotFoundError):
            self._temp.unlink()

    def write(self, table: pa.Table) -> None:
        """Append rows, after checking them against the contract."""
        self._check(table)
        with storage_errors(self._path):
            self._parquet.write_table(table, row_group_size=ROW_GROUP_ROWS)
        self._rows += table.num_rows

    def publish(self) -> None:
        """Verify what was written and put it in place. Raises `ContractError`, `StorageError`."""
        with storage_errors(self._path):
            self._parquet.close()
            self._file.close()
            digest = hash_file(self._temp)
        if digest != self._file.digest:
            raise ContractError(self._name, "the bytes on disk differ from those written", "")
        read_back = pq.read_metadata(self._temp).num_rows
        if read_back != self._rows:
            raise ContractError(
                self._name, "rows are missing", f"{read_back} of {self._rows} can be read back"
            )
        replace_durably(self._temp, self._path)


class _HashingFile:
    """A file for writing that knows the hash of its bytes."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
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
    """Remove what killed runs left beside `path`: temp files whose process is gone.

    The name does not tell the host: on storage that hosts share, a table has one writer at a time
    all the same, by its lease.
    """
    prefix = f".{path.name}."
    for temp in path.parent.glob(f"{prefix}*{TEMP_SUFFIX}"):
        process = temp.name.removeprefix(prefix).removesuffix(TEMP_SUFFIX)
        if process.isascii() and process.isdecimal() and is_gone(int(process)):
            with suppress(OSError):  # rubbish that stays is no reason not to write
                temp.unlink()


def check_version(name: str, schema: pa.Schema) -> None:
    """Raise `ContractError` where a table is of a newer program; without a version it is old."""
    found = int((schema.metadata or {}).get(SCHEMA_VERSION_KEY, b"0"))
    if found > SCHEMA_VERSION:
        raise ContractError(
            name,
            f"its schema version {found} is newer than this program's {SCHEMA_VERSION}",
            "upgrade pipeline-assets to read it",
        )
