"""DuckDB over tables and what else lies in storage, in memory that does not grow with them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from pipeline_assets.store.files import storage_errors
from pipeline_assets.store.storage import Storage

if TYPE_CHECKING:
    import duckdb

MEMORY: Final = "400MB"
"""What does not fit in it while a query runs is kept on disk."""
SPILLED: Final = "queries-"
"""What the folders of running queries begin with, in `work`."""


@contextmanager
def queries(storage: Storage, work: Path) -> Iterator["duckdb.DuckDBPyConnection"]:
    """A connection, in UTC, to read what `storage.url` names; it spills to a folder in `work`."""
    import duckdb  # noqa: PLC0415 - a tenth of a second that loading definitions need not cost

    with storage_errors(work):
        work.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=work, prefix=SPILLED) as folder:
        options = {"memory_limit": MEMORY, "temp_directory": folder}
        with duckdb.connect(config=options) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            storage.register(connection)
            yield connection
