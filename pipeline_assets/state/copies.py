"""Where the last good copy of a URL lies in the packs, and so which bytes there are.

An index over the `fetched` tables, kept in the state database; lost with it, it is made again.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

import pyarrow as pa
import sqlalchemy as sa

from pipeline_assets.core.batched import batched
from pipeline_assets.core.fingerprint import digest
from pipeline_assets.state.database import State, metadata
from pipeline_assets.store.blobs import BlobRef, UrlCopy
from pipeline_assets.store.validators import Validators

copies = sa.Table(
    "copies",
    metadata,
    sa.Column("url", sa.String, primary_key=True),
    sa.Column("pack", sa.String, nullable=False),
    sa.Column("offset", sa.BigInteger, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.String, nullable=False, index=True),
    sa.Column("content_type", sa.String),
    sa.Column("fetched_at", sa.Double, nullable=False),
    sa.Column("etag", sa.String),
    sa.Column("last_modified", sa.String),
    sa.Column("validated_url", sa.String),
)

PER_QUERY = 500
LONGEST_KEY = 1000
"""PostgreSQL indexes no text of more than 2,704 bytes, and a URL may have any length."""

ROWS_AT_ONCE = 10_000
PLACES = pa.schema(
    [
        pa.field("url", pa.string()),  # what a copy is found by
        pa.field("pack", pa.string()),
        pa.field("offset", pa.int64()),
        pa.field("size", pa.int64()),
        pa.field("sha256", pa.string()),
        pa.field("fetched_at", pa.float64()),
    ]
)

# Made once: building a statement takes as long as SQLite takes for its answer.
_BY_URL = sa.select(copies).where(copies.c.url.in_(sa.bindparam("urls", expanding=True)))
_BY_BYTES = sa.select(copies.c.pack, copies.c.offset, copies.c.size, copies.c.sha256).where(
    copies.c.sha256.in_(sa.bindparam("digests", expanding=True))
)
_AFTER = (
    sa.select(*(copies.c[name] for name in PLACES.names))
    .where(copies.c.url > sa.bindparam("after"))
    .order_by(copies.c.url)
    .limit(ROWS_AT_ONCE)
)
_DROP = sa.delete(copies).where(copies.c.url == sa.bindparam("key"))
_MOVE = (
    sa.update(copies)
    .where(
        copies.c.sha256 == sa.bindparam("of_sha256"),  # which has an index
        copies.c.pack == sa.bindparam("from_pack"),
        copies.c.offset == sa.bindparam("from_offset"),
    )
    .values(pack=sa.bindparam("to_pack"), offset=sa.bindparam("to_offset"))
)


class Copies:
    """The last good copy by URL, and any copy by its bytes."""

    def __init__(self, state: State) -> None:
        self._state = state

    def find(self, urls: Sequence[str]) -> dict[str, UrlCopy]:
        """The copies there are, by URL."""
        found: dict[str, UrlCopy] = {}
        by_key = {_key(url): url for url in urls}
        with self._state.reading() as connection:
            for some in batched(by_key, PER_QUERY):
                rows = connection.execute(_BY_URL, {"urls": some})
                found.update((by_key[row.url], _copy(row)) for row in rows)
        return found

    def holding(self, digests: Collection[str]) -> dict[str, BlobRef]:
        """Where bytes with these sha256 are said to be, by sha256; of several places, one."""
        found: dict[str, BlobRef] = {}
        with self._state.reading() as connection:
            for some in batched(digests, PER_QUERY):
                rows = connection.execute(_BY_BYTES, {"digests": some})
                found.update((row.sha256, BlobRef(*row)) for row in rows)
        return found

    def all(self) -> Iterator[pa.RecordBatch]:
        """Every copy, as batches of `PLACES`."""
        after = ""
        while True:
            with self._state.reading() as connection:
                some = connection.execute(_AFTER, {"after": after}).all()
            if not some:
                return
            arrays = map(pa.array, zip(*some, strict=True), PLACES.types)
            yield pa.RecordBatch.from_arrays(list(arrays), schema=PLACES)
            after = some[-1].url

    def drop(self, urls: Iterable[str]) -> int:
        """Forget the copies of URLs; how many there were."""
        return self.drop_keys(map(_key, urls))

    def drop_keys(self, keys: Iterable[str]) -> int:
        """Forget copies by the column `url` of `PLACES`."""
        with self._state.transaction() as connection:
            return sum(
                connection.execute(_DROP, {"key": key}).rowcount for key in sorted(set(keys))
            )

    def move(self, moved: Mapping[BlobRef, BlobRef]) -> None:
        """Say where bytes are now that were elsewhere."""
        values = [
            {
                "of_sha256": old.sha256,
                "from_pack": old.pack,
                "from_offset": old.offset,
                "to_pack": new.pack,
                "to_offset": new.offset,
            }
            for old, new in moved.items()
        ]
        if values:
            with self._state.transaction() as connection:
                connection.execute(_MOVE, values)

    def keep(self, made: Mapping[str, UrlCopy]) -> None:
        """Note copies; where a newer one is known, that one stays."""
        rows = [
            {
                "url": _key(url),
                "pack": copy.blob.pack,
                "offset": copy.blob.offset,
                "size": copy.blob.size,
                "sha256": copy.blob.sha256,
                "content_type": copy.content_type,
                "fetched_at": copy.fetched_at.timestamp(),
                "etag": copy.validators.etag,
                "last_modified": copy.validators.last_modified,
                "validated_url": copy.validators.url,
            }
            # In one order, or two that keep the same URLs would each wait for the other.
            for url, copy in sorted(made.items())
        ]
        with self._state.transaction() as connection:
            self._state.upsert(connection, copies, rows, newer="fetched_at")


def _key(url: str) -> str:
    """What a URL is found by: itself, unless a database could not hold or index it."""
    plain = len(url.encode()) <= LONGEST_KEY and "\0" not in url
    return url if plain else f"blake2b:{digest(url)}"


def _copy(row: sa.Row[tuple[object, ...]]) -> UrlCopy:
    blob = BlobRef(row.pack, row.offset, row.size, row.sha256)
    fetched_at = datetime.fromtimestamp(row.fetched_at, UTC)
    validators = Validators(row.etag, row.last_modified, row.validated_url)
    return UrlCopy(blob, row.content_type, fetched_at, validators)
