"""The feed, landed: each version of a file is read once, and kept as Parquet, hour by hour.

An hour is then read without the rest of a feed of millions of rows, and of a folder of ten thousand
files only those are read again that changed. All of it can be made again from the feed.
"""

import json
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from pipeline_assets.core.batched import batched
from pipeline_assets.core.contract import TIMESTAMP
from pipeline_assets.core.fingerprint import DIGEST_BYTES, digest
from pipeline_assets.core.forgotten import Forgotten
from pipeline_assets.core.hours import hour_name
from pipeline_assets.feed.files import FeedFile
from pipeline_assets.feed.rows import FeedRow
from pipeline_assets.state.database import State, metadata
from pipeline_assets.store.files import storage_errors
from pipeline_assets.store.queries import queries
from pipeline_assets.store.storage import Storage

if TYPE_CHECKING:
    import duckdb

feed_files = sa.Table(
    "feed_files",
    metadata,
    sa.Column("path", sa.String, primary_key=True),
    sa.Column("version", sa.String, nullable=False),
    sa.Column("contents", sa.LargeBinary, nullable=False),
    sa.Column("problem", sa.String),  # null: it was read to its end
    sa.Column("lost", sa.BigInteger, nullable=False),
    sa.Column("looked_at", sa.Double, nullable=False),
)

PROBLEM_HOLDS_S: Final = 600.0
"""A file that cannot be read is left alone so long: it may be large, or mended by then."""
BATCH_ROWS: Final = 10_000
"""Rows in memory at a time, and in a row group."""
FOLDER: Final = "feed/landed"
LANDING: Final = "feed-"
"""What the folders begin with in which a file is being landed."""

SCHEMA: Final = pa.schema(
    [
        pa.field("hour", pa.string()),  # null: it is in no hour
        pa.field("file", pa.string(), nullable=False),
        pa.field("number", pa.int64(), nullable=False),
        pa.field("line", pa.int64(), nullable=False),
        pa.field("item_id", pa.string()),
        pa.field("name", pa.string()),
        pa.field("kind", pa.string()),
        pa.field("description", pa.string()),
        pa.field("document_url", pa.string()),
        pa.field("image_url", pa.string()),
        pa.field("event_time", TIMESTAMP),
        pa.field("priority", pa.string()),
        pa.field("key", pa.string(), nullable=False),
        pa.field("problem", pa.string()),
        pa.field("forgotten", pa.bool_(), nullable=False),
    ]
)
"""A row of the feed with where it stands; `number` counts the rows of its file."""

_BY_HOUR: Final = "SELECT * FROM read_parquet($file) ORDER BY hour NULLS FIRST, number"
_LATEST: Final = """
    CREATE OR REPLACE TEMP VIEW latest AS
    SELECT * FROM landed WHERE hour IS NOT NULL AND NOT forgotten
    QUALIFY row_number() OVER (
        PARTITION BY hour, item_id ORDER BY event_time DESC, file DESC, number DESC
    ) = 1
"""
"""Of an item's rows in an hour the newest counts, then the last in the feed's order."""


class Share(NamedTuple):
    """What a file, or the feed, has of an hour: how many rows, and a digest of them in order."""

    rows: int
    digest: str


@dataclass(frozen=True, slots=True)
class Landing:
    """A landed file: where its rows lie, if it has any, and what it has of each hour.

    `problem` is why the file cannot be read; then it has no rows. `lost` counts rows in no hour.
    """

    file: str
    rows: str | None = None
    hours: dict[str, Share] = field(default_factory=dict)
    lost: int = 0
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Landed:
    """A version of the feed: what each of its files has, in the feed's order."""

    version: str
    files: tuple[Landing, ...]
    storage: Storage

    def hours(self) -> dict[str, Share]:
        """What the feed has of each hour."""
        found: defaultdict[str, list[Share]] = defaultdict(list)
        for each in self.files:
            for hour, share in each.hours.items():
                found[hour].append(share)
        return {
            hour: Share(sum(each.rows for each in shares), digest([each.digest for each in shares]))
            for hour, shares in found.items()
        }

    def show(
        self, connection: "duckdb.DuckDBPyConnection", hours: Iterable[str] | None = None
    ) -> None:
        """Have a connection know the rows of these hours, by default all, as `landed`.

        `latest` has of each item and hour the row that counts.
        """
        wanted = None if hours is None else frozenset(hours)
        urls = [
            self.storage.url(each.rows)
            for each in self.files
            if each.rows is not None and (wanted is None or not wanted.isdisjoint(each.hours))
        ]
        if not urls:
            connection.register("landed", SCHEMA.empty_table())
        elif wanted is None:
            connection.read_parquet(urls, hive_partitioning=False).create_view(
                "landed", replace=True
            )
        else:
            connection.read_parquet(urls, hive_partitioning=False).create_view(
                "every_hour", replace=True
            )
            named = ", ".join(f"'{hour}'" for hour in sorted(wanted))
            connection.execute(
                f"CREATE OR REPLACE TEMP VIEW landed AS FROM every_hour WHERE hour IN ({named})"
            )
        connection.execute(_LATEST)


class Landings:
    """The landed files: their rows in storage, and what each has in the state database."""

    def __init__(self, state: State, storage: Storage, work: Path) -> None:
        self._state, self.storage, self._work = state, storage.below(FOLDER), work

    def known(self, *, problems: bool) -> dict[str, str]:
        """Paths and versions of what is landed; with `problems` also of what was bad just now."""
        there = set(self.storage.names("", "*.parquet"))
        query = sa.select(feed_files.c.path, feed_files.c.version, feed_files.c.problem)
        with self._state.reading() as connection:
            recent = self._state.now(connection) - PROBLEM_HOLDS_S
            sound = feed_files.c.problem.is_(None)
            held = sa.or_(sound, feed_files.c.looked_at > recent) if problems else sound
            rows = connection.execute(query.where(held)).all()
        return {
            row.path: row.version
            for row in rows
            if row.problem is not None or _name(row.path, row.version) in there
        }

    def load(self, files: Sequence[FeedFile]) -> dict[str, Landing]:
        """What is known of these files, by path."""
        names = {file.path: file.name for file in files}
        query = sa.select(feed_files).where(feed_files.c.path.in_(names))
        with self._state.reading() as connection:
            return {row.path: _loaded(names[row.path], row) for row in connection.execute(query)}

    def land(
        self, file: FeedFile, version: str, rows: Iterable[FeedRow], forgotten: Forgotten
    ) -> Landing:
        """Keep the rows of a file, in memory that does not grow with them.

        Of what somebody asked to have forgotten only the place is kept. Raises what `rows` does.
        """
        name = _name(file.path, version)
        collected = self.storage.place(name)
        with storage_errors(collected):
            collected.parent.mkdir(parents=True, exist_ok=True)
            self._work.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=self._work, prefix=LANDING) as folder:
            unsorted = Path(folder) / "as_read.parquet"
            tally = _Tally()
            with storage_errors(unsorted), pq.ParquetWriter(unsorted, SCHEMA) as writer:
                for some in batched(enumerate(rows), BATCH_ROWS):
                    writer.write_batch(_batch(some, forgotten, tally))
            by_hour = unsorted if tally.in_order else self._sorted(unsorted)
            self.storage.publish(by_hour, name)
        landing = Landing(file.name, name, tally.hours(), tally.lost)
        self._keep(file, version, landing)
        return landing

    def refuse(self, file: FeedFile, version: str, problem: str) -> Landing:
        """Remember that a file cannot be read, and why."""
        landing = Landing(file.name, problem=problem)
        self._keep(file, version, landing)
        return landing

    def lost(self) -> tuple[int, int]:
        """Of the files as they were last seen: the rows without an hour, and the unreadable."""
        unread = sa.func.count(feed_files.c.problem)
        with self._state.reading() as connection:
            lost, files = connection.execute(
                sa.select(sa.func.coalesce(sa.func.sum(feed_files.c.lost), 0), unread)
            ).one()
            return int(lost), int(files)

    def forget_all_but(self, files: Iterable[FeedFile]) -> None:
        """Drop what was landed of files that are no longer the feed's."""
        with self._state.reading() as connection:
            present = set(connection.execute(sa.select(feed_files.c.path)).scalars())
        gone = present.difference(file.path for file in files)
        if gone:
            with self._state.transaction() as connection:
                connection.execute(
                    sa.delete(feed_files).where(feed_files.c.path == sa.bindparam("gone")),
                    [{"gone": path} for path in gone],
                )
            self._remove(self._rows_of(gone))

    def clear(self) -> int:
        """Drop everything that is landed: it is read again from the feed. How many files."""
        with self._state.transaction() as connection:
            connection.execute(sa.delete(feed_files))
        return self._remove(self.storage.names("", "*.parquet"))

    def _sorted(self, unsorted: Path) -> Path:
        by_hour = unsorted.with_name("by_hour.parquet")
        with queries(self.storage, self._work) as connection:
            rows = connection.sql(_BY_HOUR, params={"file": str(unsorted)})
            with storage_errors(by_hour), pq.ParquetWriter(by_hour, SCHEMA) as writer:
                for batch in rows.to_arrow_reader(BATCH_ROWS):
                    writer.write_table(pa.Table.from_batches([batch]).cast(SCHEMA))
        return by_hour

    def _keep(self, file: FeedFile, version: str, landing: Landing) -> None:
        """Artifact first, state second; of what it replaces the rows go last.

        Those of the version before this one stay: somebody may be reading them.
        """
        with self._state.transaction() as connection:
            before = connection.execute(
                sa.select(feed_files.c.version).where(feed_files.c.path == file.path)
            ).scalar_one_or_none()
            row = {
                "path": file.path,
                "version": version,
                "contents": _stored(landing),
                "problem": landing.problem,
                "lost": landing.lost,
                "looked_at": self._state.now(connection),
            }
            self._state.upsert(connection, feed_files, [row])
        kept = {_name(file.path, each) for each in (version, before) if each is not None}
        self._remove(name for name in self._rows_of({file.path}) if name not in kept)

    def _rows_of(self, paths: Iterable[str]) -> list[str]:
        stems = {digest(path) for path in paths}
        there = self.storage.names("", "*.parquet")
        return [name for name in there if name.partition("-")[0] in stems]

    def _remove(self, names: Iterable[str]) -> int:
        gone = list(names)
        self.storage.remove(gone)
        return len(gone)


class _Tally:
    """What the rows of a file come to, by hour, as they pass."""

    def __init__(self) -> None:
        self._counts: defaultdict[str, int] = defaultdict(int)
        self._hashes = defaultdict[str, "blake2b"](lambda: blake2b(digest_size=DIGEST_BYTES))
        self._last: str | None = None
        self.lost = 0
        self.in_order = True

    def add(self, hour: str | None, key: str) -> None:
        """One more row."""
        self.in_order &= (hour or "") >= (self._last or "")
        self._last = hour
        if hour is None:
            self.lost += 1
            return
        self._counts[hour] += 1
        self._hashes[hour].update(key.encode())

    def hours(self) -> dict[str, Share]:
        """The share of each hour."""
        return {
            hour: Share(rows, self._hashes[hour].hexdigest()) for hour, rows in self._counts.items()
        }


def _batch(
    rows: Sequence[tuple[int, FeedRow]], forgotten: Forgotten, tally: _Tally
) -> pa.RecordBatch:
    columns = zip(*_values(rows, forgotten, tally), strict=True)
    arrays = [pa.array(column, each.type) for column, each in zip(columns, SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def _values(
    rows: Sequence[tuple[int, FeedRow]], forgotten: Forgotten, tally: _Tally
) -> Iterator[tuple[object, ...]]:
    for number, row in rows:
        in_an_hour = row.item_id is not None and row.event_time is not None
        hour = hour_name(row.event_time) if in_an_hour and row.event_time else None
        if forgotten.item(row.item_id):
            place = (hour, row.file, number, row.line)
            tally.add(hour, "forgotten")
            yield (*place, *(None,) * 8, "", None, True)
            continue
        kept = row._replace(
            document_url=None if forgotten.url(row.document_url) else row.document_url,
            image_url=None if forgotten.url(row.image_url) else row.image_url,
        )
        key = kept.key
        tally.add(hour, key)
        yield (
            *(hour, kept.file, number, kept.line, kept.item_id),
            *kept.content,
            *(key, kept.problem, False),
        )


def _name(path: str, version: str) -> str:
    return f"{digest(path)}-{digest(version)}.parquet"


def _stored(landing: Landing) -> bytes:
    value = {"rows": landing.rows, "hours": landing.hours}
    return zlib.compress(json.dumps(value).encode())


def _loaded(file: str, row: sa.Row[tuple[object, ...]]) -> Landing:
    value = json.loads(zlib.decompress(row.contents))
    hours = {hour: Share(*share) for hour, share in value["hours"].items()}
    return Landing(file, value["rows"], hours, row.lost, row.problem)
