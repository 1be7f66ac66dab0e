"""Where the platform's bytes lie: a folder, or a prefix of a bucket (`adapters.s3_storage`).

Tables, packs and shards are made of few steps: bytes are collected in a file on this machine, and
verified there, and then put in their place at once. Nobody sees part of them.
"""

import os
from collections.abc import Hashable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

import pyarrow as pa

from pipeline_assets.store.files import (
    replace_durably,
    storage_errors,
    sync_folder,
    write_durably,
)

if TYPE_CHECKING:
    import duckdb

NOT_THERE = ""
"""The version of what does not exist."""


class Replaced(OSError):
    """What was being read has been replaced; the old bytes are gone, so reading begins anew."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What a listing says of a name."""

    bytes: int
    modified_at: datetime


@dataclass(frozen=True, slots=True)
class Opened:
    """Something open for reading: `stamp` tells it from what replaces it.

    Where it is `remote`, few large reads are worth more than many small ones.
    """

    source: pa.NativeFile
    stamp: Hashable
    remote: bool = False


class Storage(Protocol):
    """Bytes by name. Names are relative, with forward slashes.

    Reading raises `FileNotFoundError` for what is not there, and `OSError` where it cannot be read;
    writing raises `StorageError`.
    """

    def below(self, folder: str) -> "Storage":
        """The same storage, from a folder on."""
        ...

    def url(self, name: str) -> str:
        """What people and other tools call it."""
        ...

    def place(self, name: str) -> Path:
        """Beside which file on this machine the bytes are collected; locally, where they lie."""
        ...

    def exists(self, name: str) -> bool:
        """Whether it is there."""
        ...

    def version(self, name: str) -> str:
        """What `replace` compares: whoever looked earlier does not replace what came later.

        Always `NOT_THERE` for a folder, where a file lock keeps writers apart.
        """
        ...

    def stamp(self, name: str) -> str:
        """What tells its bytes from those that replace them; `NOT_THERE` where there are none."""
        ...

    def names(self, folder: str, pattern: str) -> list[str]:
        """What matches below a folder, sorted; a `*` of the pattern stays within its part.

        To be asked for what is no folder: those that a disk has, a bucket has not.
        """
        ...

    def listed(self, folder: str, pattern: str) -> dict[str, Stored]:
        """The same names, each with its size and age."""
        ...

    def open(self, name: str) -> Opened:
        """Open it for reading in parts."""
        ...

    def whole(self, name: str) -> pa.Buffer:
        """All of it."""
        ...

    def part(self, name: str, offset: int, size: int) -> bytes:
        """At most `size` bytes from `offset` on."""
        ...

    def put(self, name: str, data: bytes) -> None:
        """Make a few bytes durable and visible."""
        ...

    def publish(self, collected: Path, name: str) -> None:
        """Make a file the durable and visible content of a new name."""
        ...

    def replace(self, collected: Path, name: str, seen: str) -> None:
        """Make a file the content of a name. Raises `Overtaken` unless its version is `seen`."""
        ...

    def remove(self, names: Iterable[str]) -> None:
        """Remove these; what is not there is no matter."""
        ...

    def register(self, connection: "duckdb.DuckDBPyConnection") -> None:
        """Have DuckDB read what `url` names."""
        ...


class LocalStorage:
    """A folder. Several processes on one host may use it, each change under its file lock."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def below(self, folder: str) -> Self:
        """A folder in it."""
        return type(self)(self._root / folder)

    def url(self, name: str) -> str:
        """Its path."""
        return str(self._root / name)

    def place(self, name: str) -> Path:
        """Its path: what is renamed must be on the same disk."""
        return self._root / name

    def exists(self, name: str) -> bool:
        """Whether the file is there."""
        return (self._root / name).is_file()

    def version(self, name: str) -> str:  # noqa: ARG002 - the seam's signature
        """Files are not compared: their writers are kept apart by a lock."""
        return NOT_THERE

    def stamp(self, name: str) -> str:
        """A file that was replaced is another one, whatever its times say."""
        try:
            found = (self._root / name).stat()
        except FileNotFoundError:
            return NOT_THERE
        return f"{found.st_ino}-{found.st_mtime_ns}-{found.st_size}"

    def names(self, folder: str, pattern: str) -> list[str]:
        """The files below a folder."""
        found = self._root.joinpath(folder).glob(pattern)
        return sorted(path.relative_to(self._root).as_posix() for path in found)

    def listed(self, folder: str, pattern: str) -> dict[str, Stored]:
        """The files below a folder, as the disk has them; without those that went meanwhile."""
        found = {}
        for name in self.names(folder, pattern):
            with suppress(FileNotFoundError):
                stat = (self._root / name).stat()
                found[name] = Stored(stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC))
        return found

    def open(self, name: str) -> Opened:
        """The open file; one that was replaced is another."""
        source = pa.OSFile(str(self._root / name))
        found = os.fstat(source.fileno())
        return Opened(source, (found.st_ino, found.st_mtime_ns, found.st_size))

    def whole(self, name: str) -> pa.Buffer:
        """The file, mapped into memory."""
        path = self._root / name
        if path.stat().st_size == 0:  # cannot be mapped
            return pa.py_buffer(b"")
        with pa.memory_map(str(path)) as source:
            return source.read_buffer()

    def part(self, name: str, offset: int, size: int) -> bytes:
        """One seek and one read."""
        with (self._root / name).open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def put(self, name: str, data: bytes) -> None:
        """Written aside, then renamed."""
        write_durably(self._root / name, data)

    def publish(self, collected: Path, name: str) -> None:
        """Renamed; new folders are entries of their parents, which must be durable as well."""
        path = self._root / name
        replace_durably(collected, path)
        with storage_errors(path):
            for folder in list(path.parent.parents)[: name.count("/") + 1]:
                sync_folder(folder)

    def replace(self, collected: Path, name: str, seen: str) -> None:  # noqa: ARG002 - likewise
        """Renamed, by the holder of the lock."""
        replace_durably(collected, self._root / name)

    def remove(self, names: Iterable[str]) -> None:
        """Unlinked, durably."""
        paths = [self._root / name for name in names]
        with storage_errors(self._root):
            for path in paths:
                path.unlink(missing_ok=True)
            for folder in {path.parent for path in paths}:
                sync_folder(folder)

    def register(self, connection: "duckdb.DuckDBPyConnection") -> None:
        """DuckDB reads files anyway."""


def storage_at(root: Path | Storage) -> Storage:
    """The storage in a folder; any other as it is."""
    return LocalStorage(root) if isinstance(root, Path) else root
