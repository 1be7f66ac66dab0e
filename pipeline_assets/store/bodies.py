"""Bodies as they come: in memory while they are small, from there on in a file of their own."""

import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from pipeline_assets.store.files import storage_errors

IN_MEMORY_BYTES: Final = 1 << 20
"""What is larger goes to a file: as many in flight as there may be then fit into 32 MB."""
CHUNK_BYTES: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class Spooled:
    """A body in a file without a name, which is gone when it is closed, or with the process."""

    file: IO[bytes]
    size: int
    sha256: str

    def __len__(self) -> int:
        return self.size

    def __bytes__(self) -> bytes:
        return b"".join(self.chunks())

    def chunks(self) -> Iterator[bytes]:
        """The bytes from the beginning, a chunk at a time."""
        self.file.seek(0)
        while chunk := self.file.read(CHUNK_BYTES):
            yield chunk

    def close(self) -> None:
        """Drop the bytes."""
        self.file.close()


Body = bytes | Spooled


def sha256_of(body: Body) -> str:
    """In hex."""
    return body.sha256 if isinstance(body, Spooled) else hashlib.sha256(body).hexdigest()


def chunks_of(body: Body) -> Iterable[bytes]:
    """The bytes, of which one chunk at a time is in memory."""
    return body.chunks() if isinstance(body, Spooled) else (body,)


class Collected:
    """The chunks of one body."""

    def __init__(self) -> None:
        self.size = 0
        self._chunks: list[bytes] = []
        self._file: _HashedFile | None = None

    def add(self, chunk: bytes) -> None:
        """One more chunk. Raises `StorageError` where the disk has no room for it."""
        self.size += len(chunk)
        self._chunks.append(chunk)
        if self.size > IN_MEMORY_BYTES:
            with storage_errors(Path(tempfile.gettempdir())):
                self._file = self._file or _HashedFile()
                self._file.write(self._chunks)
            self._chunks.clear()

    def taken(self) -> Body:
        """The whole body, handed over."""
        if self._file is None:
            return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        taken, self._file = self._file, None
        return Spooled(taken.file, self.size, taken.hash.hexdigest())

    def drop(self) -> None:
        """Nobody wants it; does nothing once it is taken."""
        if self._file is not None:
            self._file.file.close()


class _HashedFile:
    """A file without a name; TMPDIR says where."""

    def __init__(self) -> None:
        self.file: IO[bytes] = tempfile.TemporaryFile(prefix="pipeline-assets-")  # noqa: SIM115 - closed by who takes or drops it
        self.hash = hashlib.sha256()

    def write(self, chunks: Iterable[bytes]) -> None:
        """Add chunks."""
        for chunk in chunks:
            self.hash.update(chunk)
            self.file.write(chunk)
