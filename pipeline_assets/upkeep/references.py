"""Who refers to which bytes: the rows of all hours, and the copies that are kept by URL.

Of millions of references no more is held in memory than DuckDB is given.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline_assets.state.copies import PLACES
from pipeline_assets.store.blobs import BlobRef, pack_bytes
from pipeline_assets.store.checkpoints import shard_tables
from pipeline_assets.store.queries import queries
from pipeline_assets.upkeep.rewriting import Place, shards_there_are

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    import duckdb

    from pipeline_assets.resources import Resources
    from pipeline_assets.store.storage import Stored

FETCHED = "fetched"
"""The table whose rows refer to bytes; the others carry what it says."""

TABLES = """
    CREATE TABLE by_row (hour VARCHAR, pack VARCHAR, "offset" BIGINT, size BIGINT, sha256 VARCHAR);
    CREATE TABLE by_url (url VARCHAR, pack VARCHAR, "offset" BIGINT, size BIGINT, sha256 VARCHAR,
                         fetched_at DOUBLE);
    CREATE VIEW used AS
    SELECT pack, "offset", size, sha256 FROM by_row
    UNION
    SELECT pack, "offset", size, sha256 FROM by_url;
"""
FROM_TABLES = """
    INSERT INTO by_row SELECT DISTINCT hour, pack, "offset", size, sha256
    FROM read_parquet($files, hive_partitioning = true, hive_types_autocast = false)
    WHERE pack IS NOT NULL
"""
FROM_SHARD = """
    INSERT INTO by_row SELECT DISTINCT $hour, pack, "offset", size, sha256 FROM shard
    WHERE pack IS NOT NULL
"""
FROM_COPIES = "INSERT INTO by_url SELECT * FROM batch"
SIZES = "SELECT pack, list(size) FROM used GROUP BY pack"
OF_PACKS = """
    SELECT DISTINCT pack, "offset", size, sha256 FROM used
    WHERE list_contains($packs, pack) ORDER BY pack, "offset"
"""
HOURS = "SELECT DISTINCT hour FROM by_row WHERE list_contains($packs, pack) ORDER BY hour"
OUTLIVED = """
    SELECT url FROM by_url ANTI JOIN by_row USING (pack, "offset") WHERE fetched_at < $before
"""


@dataclass(frozen=True, slots=True)
class Worn:
    """A pack with bytes that nothing refers to: how many it has, and how many of them are used."""

    bytes: int
    used_bytes: int

    @property
    def unused_share(self) -> float:
        """Of its bytes."""
        return 1 - self.used_bytes / self.bytes if self.bytes else 1.0


@dataclass(frozen=True, slots=True)
class References:
    """The references as they were at one time."""

    _connection: duckdb.DuckDBPyConnection

    def worn(self, packs: Mapping[str, Stored]) -> dict[str, Worn]:
        """Those among some packs that are larger than what is used of them."""
        found = {}
        sizes = dict(self._connection.execute(SIZES).fetchall())
        for pack, stored in packs.items():
            used = pack_bytes(sizes[pack]) if pack in sizes else 0
            if used < stored.bytes:
                found[pack] = Worn(stored.bytes, used)
        return found

    def used(self, packs: Collection[str]) -> dict[str, list[BlobRef]]:
        """What is used of each of some packs, in the order of the offsets."""
        found: dict[str, list[BlobRef]] = defaultdict(list)
        for row in self._connection.execute(OF_PACKS, {"packs": list(packs)}).fetchall():
            found[row[0]].append(BlobRef(*row))
        return found

    def places(self, packs: Collection[str]) -> list[Place]:
        """The places whose rows refer to some packs."""
        rows = self._connection.execute(HOURS, {"packs": list(packs)}).fetchall()
        return [Place(FETCHED, hour) for (hour,) in rows]

    def outlived(self, before: float) -> list[str]:
        """What the copies are found by that are older, and that no row refers to."""
        return [url for (url,) in self._connection.execute(OUTLIVED, {"before": before}).fetchall()]

    def drop(self, urls: Collection[str]) -> None:
        """Look at it as if these copies were not there."""
        self._connection.execute(
            "DELETE FROM by_url WHERE list_contains($urls, url)", {"urls": list(urls)}
        )


@contextmanager
def references(resources: Resources) -> Iterator[References]:
    """Read all references there are."""
    tables = resources.tables
    with queries(resources.storage, resources.work) as connection:
        connection.execute(TABLES)
        files = [tables.url(FETCHED, hour) for hour in tables.hours(FETCHED)]
        if files:
            connection.execute(FROM_TABLES, {"files": files})
        for place in shards_there_are(resources):
            if place.asset == FETCHED:
                for shard in shard_tables(resources.shards, place.asset, place.hour):
                    connection.register("shard", shard)
                    connection.execute(FROM_SHARD, {"hour": place.hour})
        for batch in resources.copies.all():
            connection.register("batch", batch.select(PLACES.names))
            connection.execute(FROM_COPIES)
        yield References(connection)
