"""Work in progress: finished micro-batches, durable before they are reported.

A shard is one Arrow file of whole rows under `{data}/work/{asset}/hour=…`, named by its sequence
number and its hash. Later shards win over earlier ones and over the table. They are folded into
the table when it is published, and then removed; what a killed run leaves behind is what the next
run goes on from.
"""

import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc

from pipeline_assets.store.files import TEMP_SUFFIX
from pipeline_assets.store.storage import NOT_THERE, Storage, storage_at

log = logging.getLogger(__name__)

HASH_CHARS = 16

Guard = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Shard:
    """A durable shard: where it lies, and the items from its first to its last."""

    name: str
    first: str
    last: str
    rows: int


class Checkpoints:
    """The shards of one asset and hour.

    Opening removes damaged shards and the temp files of killed runs, which only the holder of the
    lease may do; with `tidy=False` they are passed over. `guard` is held around each write: it
    raises where the lease went to a successor, whose rows a late shard would otherwise replace.

    `base` is the version of the table over which the shards are laid. In object storage no lock
    lies around the guard and the write, and a shard may come late all the same: then it lies over
    a table that is no more, and counts for nothing.
    """

    def __init__(
        self,
        root: Path | Storage,
        asset: str,
        hour: str,
        *,
        base: str = NOT_THERE,
        tidy: bool = True,
        guard: Guard = nullcontext,
    ) -> None:
        self.base = base
        self._storage = storage_at(root)
        self._hour = f"{asset}/hour={hour}"
        self._folder = self._over(base)
        self._tidy, self._guard = tidy, guard
        self._shards = list(self._recover())
        self._next = 1 + max((_sequence(shard.name) for shard in self._shards), default=0)
        self.recovered_rows = sum(shard.rows for shard in self._shards)

    def write(self, table: pa.Table) -> None:
        """Make the rows of one micro-batch durable."""
        data = _bytes(table)
        name = f"{self._folder}/{self._next:06d}-{_short(data)}.arrow"
        with self._guard():
            self._storage.put(name, data)
        self._next += 1
        self._shards.append(_described(name, table))

    def read(self, first: str, last: str) -> Iterator[pa.Table]:
        """The rows of the items from `first` to `last`, shard by shard, the latest last."""
        for shard in self._shards:
            if shard.first <= last and shard.last >= first:
                table = _table(self._storage.whole(shard.name))
                ids = table["item_id"]
                inside = pc.and_(pc.greater_equal(ids, first), pc.less_equal(ids, last))
                yield table.filter(inside)

    def rewrite(self, change: Callable[[pa.Table], pa.Table], base: str) -> bool:
        """Put what `change` makes of each shard in its place, over the table of version `base`.

        Whether anything is otherwise. To be called by the holder of the lease.
        """
        folder = self._over(base)
        changed = False
        for shard in self._shards:
            old = _table(self._storage.whole(shard.name))
            new = change(old)
            if new is old and folder == self._folder:
                continue
            changed |= new is not old
            if new.num_rows:
                data = _bytes(new)
                name = f"{folder}/{_sequence(shard.name):06d}-{_short(data)}.arrow"
                self._storage.put(name, data)
            self._storage.remove([shard.name])
        return changed

    def clear(self) -> None:
        """Forget all shards: their rows are in the published table now."""
        self._storage.remove([shard.name for shard in self._shards])
        self._shards.clear()

    def __bool__(self) -> bool:
        return bool(self._shards)

    def _over(self, base: str) -> str:
        return f"{self._hour}/{_short(base.encode())}" if base else self._hour

    def _recover(self) -> Iterator[Shard]:
        if self._tidy:
            self._remove_leftovers()
        for name in self._storage.names(self._folder, "*.arrow"):
            shard = self._storage.whole(name)
            if _short(shard) == _digest(name):
                yield _described(name, _table(shard))
            elif self._tidy:
                where = self._storage.url(name)
                log.warning("throwing away the damaged shard %s: its rows are redone", where)
                self._storage.remove([name])

    def _remove_leftovers(self) -> None:
        """Files that a killed run was writing, and shards that lie over a table that is no more."""
        for orphan in self._storage.place(self._folder).glob(f".*{TEMP_SUFFIX}"):
            orphan.unlink(missing_ok=True)
        if self.base:
            found = (self._storage.names(self._hour, glob) for glob in ("*.arrow", "*/*.arrow"))
            names = (name for group in found for name in group)
            self._storage.remove(
                [name for name in names if not name.startswith(f"{self._folder}/")]
            )


def shard_tables(root: Path | Storage, asset: str, hour: str) -> Iterator[pa.Table]:
    """The rows of every sound shard of an asset and hour, also over tables that are no more."""
    storage, folder = storage_at(root), f"{asset}/hour={hour}"
    for pattern in ("*.arrow", "*/*.arrow"):
        for name in storage.names(folder, pattern):
            shard = storage.whole(name)
            if _short(shard) == _digest(name):
                yield _table(shard)


def _bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def _short(data: bytes | pa.Buffer) -> str:
    return hashlib.sha256(data).hexdigest()[:HASH_CHARS]


def _sequence(name: str) -> int:
    return int(PurePosixPath(name).stem.partition("-")[0])


def _digest(name: str) -> str:
    return PurePosixPath(name).stem.partition("-")[2]


def _table(shard: pa.Buffer) -> pa.Table:
    return pa.ipc.open_file(shard).read_all()


def _described(name: str, table: pa.Table) -> Shard:
    bounds = pc.min_max(table["item_id"]).as_py()
    return Shard(name, bounds["min"], bounds["max"], table.num_rows)
