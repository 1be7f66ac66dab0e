"""Fetched bytes in immutable packs: plain tar files, members named by sha256, many per file.

A pack appears whole and durable, or not at all; a row refers to (pack, offset, size, sha256), so
reading one member is one seek. `tar tf` lists a pack, `tar xf` unpacks it.
"""

import hashlib
import tarfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO, Final, Self
from uuid import uuid4

from pipeline_assets.adapters.files import (
    replace_durably,
    storage_errors,
    sync_folder,
    temporary,
)
from pipeline_assets.errors import InvalidInput, RowError, Unavailable

_BLOCK: Final = tarfile.BLOCKSIZE
_END_OF_TAR: Final = bytes(2 * _BLOCK)
_MEMBER_MODE: Final = 0o444


@dataclass(frozen=True, slots=True)
class BlobRef:
    """Where some bytes are: `offset` and `size` are those of the data in the tar, in bytes.

    `pack` is the pack's path, relative to the root of the packs, with forward slashes.
    """

    pack: str
    offset: int
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Copy:
    """An earlier answer to a URL: where its bytes are, and from when."""

    blob: BlobRef
    content_type: str | None
    fetched_at: datetime


class Blobs:
    """The packs below one folder, `{data}/blobs`; `now` dates the folders of new packs."""

    def __init__(
        self, root: Path, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._root, self._now = root, now

    def pack(self) -> "PackWriter":
        """Begin a pack; its name is settled, and unique across processes and hosts."""
        return PackWriter(self._root, f"{self._now():%Y/%m/%d/%H%M%S}-{uuid4().hex}.tar")

    def read(self, ref: BlobRef) -> bytes:
        """The bytes of `ref`, checked against its sha256.

        Raises `Unavailable` where the pack is missing or cannot be read (the storage may be back
        later), `InvalidInput` where it holds other bytes; both name the pack.
        """
        try:
            data = self._bytes_at(ref)
        except FileNotFoundError:
            raise Unavailable(
                f"the pack {ref.pack} is missing below {self._root}: restore it, or fetch again"
            ) from None
        except OSError as error:
            raise Unavailable(
                f"the pack {ref.pack} cannot be read: {error.strerror or error}"
            ) from None
        if len(data) != ref.size or hashlib.sha256(data).hexdigest() != ref.sha256:
            raise _damaged(ref, f"the {ref.size} bytes at {ref.offset} are not {ref.sha256}")
        return data

    def _bytes_at(self, ref: BlobRef) -> bytes:
        path = PurePosixPath(ref.pack)
        if path.is_absolute() or ".." in path.parts or "\0" in ref.pack:
            raise _damaged(ref, "a pack lies below the folder of packs")
        if min(ref.offset, ref.size) < 0:
            raise _damaged(ref, f"offset {ref.offset} and size {ref.size} are not a place in it")
        with (self._root / path).open("rb") as file:
            file.seek(ref.offset)
            return file.read(ref.size)


def _damaged(ref: BlobRef, why: str) -> RowError:
    return InvalidInput(f"the pack {ref.pack!r} is damaged: {why}; fetch again")


class PackWriter:
    """One pack in the making, for one thread. As a context manager it seals, or discards.

    Nothing is visible under the pack's name before `seal`; a pack to which nothing was added
    leaves no file. A `StorageError` discards the pack, and with it every reference it gave.
    """

    def __init__(self, root: Path, name: str) -> None:
        self.name = name
        self._root, self._path = root, root / name
        self._temp = temporary(self._path)
        self._file: IO[bytes] | None = None
        self._offset = 0
        self._refs: dict[str, BlobRef] = {}
        self._ended = False

    def add(self, data: bytes) -> BlobRef:
        """Write `data` behind what is there, or find it there; good for readers after `seal`.

        Raises `StorageError` where the disk refuses, `RuntimeError` after `seal` or `discard`.
        """
        self._check_open()
        digest = hashlib.sha256(data).hexdigest()
        if digest not in self._refs:
            ref = BlobRef(self.name, self._offset + _BLOCK, len(data), digest)
            self._write(_header(digest, len(data)), data, bytes(-len(data) % _BLOCK))
            self._refs[digest] = ref
        return self._refs[digest]

    def seal(self) -> None:
        """Make the pack durable and visible. A `StorageError` voids its references."""
        self._check_open()
        if self._file is None:
            self._ended = True
            return
        self._write(_END_OF_TAR)
        try:
            with storage_errors(self._path):
                self._file.close()
            replace_durably(self._temp, self._path)
            self._sync_new_folders()
        except BaseException:
            self.discard()
            raise
        self._ended = True

    def discard(self) -> None:
        """Give the pack up; nothing stays. Does nothing to a sealed one."""
        if self._ended:
            return
        self._ended = True
        if self._file is not None:
            with suppress(OSError):  # a full disk refuses the flush too, and nobody wants it
                self._file.close()
            with suppress(OSError):
                self._temp.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and not self._ended:
            self.seal()
        else:
            self.discard()

    def _check_open(self) -> None:
        if self._ended:
            raise RuntimeError(f"the pack {self.name} is already sealed or discarded")

    def _write(self, *parts: bytes) -> None:
        try:
            with storage_errors(self._path):
                if self._file is None:
                    self._path.parent.mkdir(parents=True, exist_ok=True)
                    self._file = self._temp.open("xb")
                for part in parts:
                    self._file.write(part)
                    self._offset += len(part)
        except BaseException:
            self.discard()
            raise

    def _sync_new_folders(self) -> None:
        """A new day's folders are entries of their parents, which must be durable as well."""
        with storage_errors(self._path):
            for folder in list(self._path.parent.parents)[: self.name.count("/") + 1]:
                sync_folder(folder)


def _header(digest: str, size: int) -> bytes:
    member = tarfile.TarInfo(digest)
    member.size, member.mode = size, _MEMBER_MODE
    return member.tobuf(tarfile.USTAR_FORMAT)
