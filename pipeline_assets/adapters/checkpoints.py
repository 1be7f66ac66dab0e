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
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline_assets.adapters.files import (
    TEMP_SUFFIX,
    hash_file,
    storage_errors,
    sync_folder,
    write_durably,
)

log = logging.getLogger(__name__)

HASH_CHARS = 16

Guard = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Shard:
    """A durable shard: where it lies, and the items from its first to its last."""

    path: Path
    first: str
    last: str
    rows: int


class Checkpoints:
    """The shards of one asset and hour.

    Opening removes damaged shards and the temp files of killed runs, which only the holder of the
    lease may do; with `tidy=False` they are passed over. `guard` is held around each write: it
    raises where the lease went to a successor, whose rows a late shard would otherwise replace.
    """

    def __init__(
        self,
        root: Path,
        asset: str,
        hour: str,
        *,
        tidy: bool = True,
        guard: Guard = nullcontext,
    ) -> None:
        self._folder = root / asset / f"hour={hour}"
        self._tidy, self._guard = tidy, guard
        self._shards = list(self._recover())
        self._next = 1 + max((_sequence(shard.path) for shard in self._shards), default=0)
        self.recovered_rows = sum(shard.rows for shard in self._shards)

    def write(self, table: pa.Table) -> None:
        """Make the rows of one micro-batch durable."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        data = sink.getvalue().to_pybytes()
        digest = hashlib.sha256(data).hexdigest()[:HASH_CHARS]
        path = self._folder / f"{self._next:06d}-{digest}.arrow"
        with self._guard():
            write_durably(path, data)
        self._next += 1
        self._shards.append(_described(path, table))

    def read(self, first: str, last: str) -> Iterator[pa.Table]:
        """The rows of the items from `first` to `last`, shard by shard, the latest last."""
        for shard in self._shards:
            if shard.first <= last and shard.last >= first:
                table = _load(shard.path)
                ids = table["item_id"]
                inside = pc.and_(pc.greater_equal(ids, first), pc.less_equal(ids, last))
                yield table.filter(inside)

    def clear(self) -> None:
        """Forget all shards: their rows are in the published table now."""
        with storage_errors(self._folder):
            for shard in self._shards:
                shard.path.unlink(missing_ok=True)
            if self._shards:
                sync_folder(self._folder)
        self._shards.clear()

    def __bool__(self) -> bool:
        return bool(self._shards)

    def _recover(self) -> Iterator[Shard]:
        if not self._folder.is_dir():
            return
        if self._tidy:
            for orphan in self._folder.glob(f".*{TEMP_SUFFIX}"):
                orphan.unlink(missing_ok=True)
        for path in sorted(self._folder.glob("*.arrow")):
            if not hash_file(path).startswith(path.stem.partition("-")[2]):
                if self._tidy:
                    log.warning("throwing away the damaged shard %s: its rows are redone", path)
                    path.unlink()
                continue
            yield _described(path, _load(path))


def _sequence(path: Path) -> int:
    return int(path.stem.partition("-")[0])


def _load(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).read_all()


def _described(path: Path, table: pa.Table) -> Shard:
    bounds = pc.min_max(table["item_id"]).as_py()
    return Shard(path, bounds["min"], bounds["max"], table.num_rows)
