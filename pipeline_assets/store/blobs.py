"""Fetched bytes in immutable packs: plain tar files, members named by sha256, many per file.

A pack appears whole and durable, or not at all; a row refers to (pack, offset, size, sha256), so
reading one member is one seek. `tar tf` lists a pack, `tar xf` unpacks it.
"""

import hashlib
import tarfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import IO, Final, Self
from uuid import uuid4

from pipeline_assets.errors import InvalidInput, RowError, Unavailable
from pipeline_assets.store.bodies import Body, chunks_of, sha256_of
from pipeline_assets.store.files import Temporary, storage_errors
from pipeline_assets.store.storage import Storage, Stored, storage_at
from pipeline_assets.store.validators import NO_VALIDATORS, Validators

_BLOCK: Final = tarfile.BLOCKSIZE
_WRITE_BYTES: Final = 1 << 20
"""Written so much at a time, a picture of 50 KB costs half the CPU that it costs alone."""
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
class UrlCopy:
    """An earlier answer to a URL: where its bytes are, from when, and how to ask for newer ones."""

    blob: BlobRef
    content_type: str | None
    fetched_at: datetime
    validators: Validators = NO_VALIDATORS


class Blobs:
    """The packs below one folder, `{data}/blobs`; `now` dates the folders of new packs."""

    def __init__(
        self, root: Path | Storage, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._storage, self._now = storage_at(root), now

    def pack(self) -> "PackWriter":
        """Begin a pack; its name is settled, and unique across processes and hosts."""
        return PackWriter(self._storage, f"{self._now():%Y/%m/%d/%H%M%S}-{uuid4().hex}.tar")

    def read(self, ref: BlobRef) -> bytes:
        """The bytes of `ref`, checked against its sha256.

        Raises `Unavailable` where the pack is missing or cannot be read (the storage may be back
        later), `InvalidInput` where it holds other bytes; both name the pack.
        """
        try:
            data = self._bytes_at(ref)
        except FileNotFoundError:
            raise Unavailable(
                f"the pack {ref.pack} is missing below {self._storage.url('')}: restore it, or "
                "fetch again"
            ) from None
        except OSError as error:
            raise Unavailable(
                f"the pack {ref.pack} cannot be read: {error.strerror or error}"
            ) from None
        if len(data) != ref.size or hashlib.sha256(data).hexdigest() != ref.sha256:
            raise _damaged(ref, f"the {ref.size} bytes at {ref.offset} are not {ref.sha256}")
        return data

    def holds(self, ref: BlobRef) -> bool:
        """Whether the bytes of `ref` can be read, and are the ones."""
        try:
            self.read(ref)
        except RowError:
            return False
        return True

    def packs(self) -> dict[str, Stored]:
        """Every pack there is."""
        return self._storage.listed("", "*/*/*/*.tar")

    def remove(self, packs: Iterable[str]) -> None:
        """Remove packs, which nothing may refer to any more."""
        self._storage.remove(packs)

    def _bytes_at(self, ref: BlobRef) -> bytes:
        path = PurePosixPath(ref.pack)
        if path.is_absolute() or ".." in path.parts or "\0" in ref.pack:
            raise _damaged(ref, "a pack lies below the folder of packs")
        if min(ref.offset, ref.size) < 0:
            raise _damaged(ref, f"offset {ref.offset} and size {ref.size} are not a place in it")
        return self._storage.part(str(path), ref.offset, ref.size)


def pack_bytes(sizes: Iterable[int]) -> int:
    """The size of a pack whose members have these sizes, and that has no others."""
    return sum(_BLOCK + size + -size % _BLOCK for size in sizes) + len(_END_OF_TAR)


def _damaged(ref: BlobRef, why: str) -> RowError:
    return InvalidInput(f"the pack {ref.pack!r} is damaged: {why}; fetch again")


class PackWriter:
    """One pack in the making, for one thread. As a context manager it seals, or discards.

    Nothing is visible under the pack's name before `seal`; a pack to which nothing was added
    leaves no file. A `StorageError` discards the pack, and with it every reference it gave.
    """

    def __init__(self, storage: Storage, name: str) -> None:
        self.name = name
        self._storage, self._path = storage, storage.place(name)
        self._temp = Temporary(self._path)
        self._file: IO[bytes] | None = None
        self._offset = 0
        self._refs: dict[str, BlobRef] = {}
        self._ended = False

    def add(self, body: Body, sha256: str | None = None) -> BlobRef:
        """Write `body` behind what is there, or find it there; good for readers after `seal`.

        `sha256` is its hash, where that is known. Raises `StorageError` where the disk refuses,
        `RuntimeError` after `seal` or `discard`.
        """
        self._check_open()
        digest = sha256_of(body) if sha256 is None else sha256
        if digest not in self._refs:
            size = len(body)
            ref = BlobRef(self.name, self._offset + _BLOCK, size, digest)
            self._write(chain([_header(digest, size)], chunks_of(body), [bytes(-size % _BLOCK)]))
            self._refs[digest] = ref
        return self._refs[digest]

    def seal(self) -> None:
        """Make the pack durable and visible. A `StorageError` voids its references."""
        self._check_open()
        if self._file is None:
            self._ended = True
            return
        self._write([_END_OF_TAR])
        try:
            with storage_errors(self._path):
                self._file.close()
            self._storage.publish(self._temp.path, self.name)
        except BaseException:
            self.discard()
            raise
        self._temp.release()
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
                self._temp.release()

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

    def _write(self, parts: Iterable[bytes]) -> None:
        try:
            with storage_errors(self._path):
                if self._file is None:
                    self._path.parent.mkdir(parents=True, exist_ok=True)
                    self._file = self._temp.open(_WRITE_BYTES)
                for part in parts:
                    self._file.write(part)
                    self._offset += len(part)
        except BaseException:
            self.discard()
            raise


def _header(digest: str, size: int) -> bytes:
    """What `tarfile` would write, at a tenth of the cost: every body has one."""
    name, length = digest.encode(), b"%011o" % size
    checksum = b"%06o" % (_BLANK_SUM + sum(name) + sum(length))
    return b"".join(
        (name, _BLANK[len(name) : 124], length, _BLANK[135:148], checksum, _BLANK[154:])
    )


def _blank() -> bytes:
    """A header without name, size (at 124) and checksum (at 148), as USTAR has them."""
    member = tarfile.TarInfo()
    member.mode = _MEMBER_MODE
    header = member.tobuf(tarfile.USTAR_FORMAT)
    return b"".join((header[:124], bytes(11), header[135:148], bytes(6), header[154:]))


_BLANK: Final = _blank()
_BLANK_SUM: Final = sum(_BLANK[:148]) + sum(_BLANK[156:]) + sum(b" " * 8)
"""The checksum counts its own eight bytes as spaces."""
