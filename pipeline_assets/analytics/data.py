"""The tables of a data root, by name and hour, for reading: DuckDB over Parquet, nothing copied."""

import re
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pipeline_assets.core.names import ENRICHED
from pipeline_assets.resources import Resources
from pipeline_assets.settings import load_settings
from pipeline_assets.store.storage import LocalStorage
from pipeline_assets.store.tables import PART

if TYPE_CHECKING:
    import duckdb

CURRENT_ITEMS = "current_items"
CURRENT = f"""
    FROM {ENRICHED} AS items ANTI JOIN (
        SELECT item_id, max(replace(hour, '-', '')::BIGINT) AS newest FROM {ENRICHED}
        GROUP BY item_id HAVING count(*) > 1
    ) AS repeated
    ON items.item_id = repeated.item_id AND replace(items.hour, '-', '')::BIGINT < newest
"""  # noqa: S608 - of constants only
"""The newest `event_time` is in the newest hour, and an hour has an item once; the hour is in the
files' paths, so that finding it reads one column. As a number it is compared in half the time, and
most items, which are in one hour only, need no place in the join."""

PARTS = (f"hour=*/{PART}", f"hour=*/*/{PART}")
"""Most tables are one file an hour; `rung_calls` has one for each stage of it."""

THREADS_A_CORE = 2
"""DuckDB cuts what it groups into more and smaller pieces, which the cache holds: 10 million
different items were told apart in 1.3 s of processor time on two cores, not in 2.1; and while one
thread waits for a bucket, another works. Four a core were no better."""

NAMED = re.compile(r"(?i)\b(?:from|join)\s+(\w+)")
HOUR = re.compile(r"\d{4}(-\d\d){0,3}")


class Data:
    """The tables of a data root, and the adapters of the rest; nothing is read before it is asked.

    A context manager, for those that do not end with the process.
    """

    def __init__(self, resources: Resources) -> None:
        self.resources = resources

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.connection.close()
        self.resources.close()

    @cached_property
    def connection(self) -> "duckdb.DuckDBPyConnection":
        """DuckDB, in UTC; relations are of this connection."""
        connection = self.resources.tables.connect()
        [threads] = connection.execute("SELECT current_setting('threads')").fetchall()[0]
        connection.execute(f"SET threads = {THREADS_A_CORE * threads}")
        if isinstance(self.resources.tables.storage, LocalStorage):
            # Footers are read once, and again where a file is newer: a year of them takes 0.1 s
            # each time that a view or a query looks at the columns.
            connection.execute("SET parquet_metadata_cache = true")
        return connection

    def table(
        self, name: str, since: str | None = None, until: str | None = None
    ) -> "duckdb.DuckDBPyRelation":
        """A table with its column `hour`, from an hour to another, both included.

        `since` and `until` are hours, `2026-03-02-14`, or begin as hours do: `2026-03-02` is the
        whole day. The relation reads what is asked of it: `.df()` is a data frame of pandas,
        `.to_arrow_table()` Arrow's, `.filter(…)` and `.aggregate(…)` are not done before. Raises
        `FileNotFoundError` where there is no such table.
        """
        every = self._files(name)
        if not every:
            raise FileNotFoundError(
                f"there is no table {name} under {self.resources.settings.data}: run an hour first,"
                " or name another data root, PIPELINE_DATA"
            )
        first, last = _hour(since), _hour(until)
        files = [url for hour, url in every if first <= hour and hour[: len(last)] <= last]
        if not files:
            return self._read([every[-1][1]]).limit(0)
        return self._read(files)

    def current_items(self) -> "duckdb.DuckDBPyRelation":
        """Each item once, as of its newest hour: what consumers and the search see.

        Rows of earlier hours are superseded and hidden.
        """
        return self.sql(f"FROM {CURRENT_ITEMS}")

    def sql(self, query: str) -> "duckdb.DuckDBPyRelation":
        """The answer to a query, which may name any table, and `current_items`.

        A condition on `hour` opens just the files of these hours.
        """
        for name in dict.fromkeys(NAMED.findall(query)):
            self._show(name)
        return self.connection.sql(query)

    def _show(self, name: str) -> None:
        """Make a view, anew each time: there may be new hours."""
        if name == CURRENT_ITEMS:
            self.table(ENRICHED).create_view(ENRICHED, replace=True)
            self.connection.execute(f"CREATE OR REPLACE TEMP VIEW {CURRENT_ITEMS} AS {CURRENT}")
        elif self._files(name):
            self.table(name).create_view(name, replace=True)

    def _files(self, name: str) -> list[tuple[str, str]]:
        """The hour and the URL of each file of a table, oldest first."""
        storage = self.resources.tables.storage
        names = next(filter(None, (storage.names(name, parts) for parts in PARTS)), [])
        return [(each.split("/")[1].removeprefix("hour="), storage.url(each)) for each in names]

    def _read(self, files: list[str]) -> "duckdb.DuckDBPyRelation":
        return self.connection.read_parquet(files, hive_partitioning=True, union_by_name=True)


def open_data() -> Data:
    """The data root of the settings; a relative one may also be beside the present folder.

    Notebooks run in their own folder, and people start them from the one above it.
    """
    settings = load_settings()
    here = settings.data
    if isinstance(here, Path) and not here.is_dir() and (above := Path("..", here)).is_dir():
        settings = load_settings(data=above)
    return Data(Resources(settings))


def _hour(said: str | None) -> str:
    if said is not None and not HOUR.fullmatch(said):
        raise ValueError(f"{said!r} is no hour: 2026-03-02-14, or a day or month, 2026-03-02")
    return said or ""
