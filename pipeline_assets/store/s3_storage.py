"""Storage in a bucket, by the S3 protocol.

An object appears whole with its PUT, or not at all. There is no lock between hosts: where two
writers could meet, the PUT goes through only on the version that its writer had seen.

The client is obstore: one wheel for conditional writes, parts of objects and uploads in pieces,
which neither pyarrow's S3 file system nor s3fs has together. It takes endpoint and credentials from
the usual AWS variables, the container or the instance.
"""

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from pipeline_assets.errors import Overtaken, StorageError
from pipeline_assets.store.s3_urls import S3Url
from pipeline_assets.store.storage import NOT_THERE, Opened, Replaced, Stored

if TYPE_CHECKING:
    import duckdb
    from obstore import Bytes, GetOptions, ObjectMeta, PutMode
    from obstore.store import ClientConfig, S3Store

TAIL_BYTES: Final = 65_536
"""Read as an object is opened: the footer of a table of 100,000 rows, and all of a small one."""
CLIENT: "Final[ClientConfig]" = {"allow_http": True, "connect_timeout": "10s", "timeout": "300s"}
"""HTTP is for an AWS_ENDPOINT_URL that says so; the timeout is for a whole table on a slow line."""
RETRIES: Final = 6
"""With growing waits, some ten seconds: what is away for longer is a failure."""
BEYOND_THE_END: Final = "status code: 416"
MEND: Final = "look at the bucket and the AWS_ variables (`pipeline-assets doctor` tries both)"


@cache
def bucket(name: str) -> "S3Store":
    """The client of a bucket, with its connections, for the life of the process."""
    from obstore.store import S3Store  # noqa: PLC0415 - only where there is object storage

    return S3Store(
        name,
        client_options=CLIENT,
        retry_config={"max_retries": RETRIES},
        checksum_algorithm="SHA256",  # so that what arrived is what was sent
    )


class S3Storage:
    """The objects below a prefix; `scratch` is a folder of this machine for bytes on their way."""

    def __init__(self, root: S3Url, scratch: Path) -> None:
        self._root, self._scratch = root, scratch

    def below(self, folder: str) -> "S3Storage":
        """A longer prefix."""
        return S3Storage(self._root / folder, self._scratch / folder)

    def url(self, name: str) -> str:
        """Its `s3://` address."""
        return str(self._root / name)

    def place(self, name: str) -> Path:
        """Where bytes are collected that are not in the bucket yet."""
        return self._scratch / name

    def exists(self, name: str) -> bool:
        """Whether there is such an object."""
        return self.version(name) != NOT_THERE

    def version(self, name: str) -> str:
        """Its ETag."""
        with self._reading(name), suppress(FileNotFoundError):
            return str(self._store.head(self._key(name))["e_tag"])
        return NOT_THERE

    def stamp(self, name: str) -> str:
        """Its ETag."""
        return self.version(name)

    def names(self, folder: str, pattern: str) -> list[str]:
        """The objects below a folder."""
        return list(self.versions(folder, pattern))

    def versions(self, folder: str, pattern: str) -> dict[str, str]:
        """The objects below a folder, each with its ETag, in the order of their names."""
        found = self._found(folder, pattern)
        return {name: str(each["e_tag"]) for name, each in found.items()}

    def listed(self, folder: str, pattern: str) -> dict[str, Stored]:
        """The objects below a folder, as the bucket lists them."""
        found = self._found(folder, pattern)
        return {name: Stored(each["size"], each["last_modified"]) for name, each in found.items()}

    def _found(self, folder: str, pattern: str) -> "dict[str, ObjectMeta]":
        below = f"{folder}/" if folder else ""
        start = len(self._key(""))
        with self._reading(folder):
            pages = list(self._store.list(self._key(folder)))
        found = {each["path"][start:].removeprefix("/"): each for page in pages for each in page}
        return {
            name: found[name]
            for name in sorted(found)
            if name.startswith(below) and _matches(name.removeprefix(below), pattern)
        }

    def open(self, name: str) -> Opened:
        """The object as it is now; its end, where Parquet's footer is, is read at once."""
        with self._reading(name):
            got = self._store.get(self._key(name), options={"range": {"suffix": TAIL_BYTES}})
            tail = got.bytes()
        version = str(got.meta["e_tag"])
        parts = _Parts(self, name, version, got.meta["size"], tail)
        return Opened(pa.PythonFile(parts, "r"), (self.url(name), version), remote=True)

    def whole(self, name: str) -> pa.Buffer:
        """The object, in one GET."""
        return pa.py_buffer(self._get(name, {}))

    def part(self, name: str, offset: int, size: int, version: str | None = None) -> bytes:
        """One GET of a range. Raises `Replaced` where the object is of another version by now."""
        if size == 0:
            return b""
        options: GetOptions = {"range": (offset, offset + size)}
        if version is not None:
            options["if_match"] = version
        try:
            return bytes(self._get(name, options))
        except OSError as error:
            if BEYOND_THE_END in str(error):
                return b""
            raise

    def put(self, name: str, data: bytes) -> None:
        """One PUT."""
        with self._writing(name):
            self._store.put(self._key(name), data, use_multipart=False)

    def publish(self, collected: Path, name: str) -> None:
        """One PUT, or an upload in pieces that is visible once it is complete."""
        with self._writing(name):
            self._store.put(self._key(name), collected)
        collected.unlink()

    def replace(self, collected: Path, name: str, seen: str) -> None:
        """One PUT, which the bucket refuses unless the version is the one that was seen."""
        from obstore.exceptions import (  # noqa: PLC0415 - only where there is object storage
            AlreadyExistsError,
            PreconditionError,
        )

        mode: PutMode = "create" if seen == NOT_THERE else {"e_tag": seen}
        with self._writing(name):
            try:
                self._store.put(self._key(name), collected, mode=mode, use_multipart=False)
            except (AlreadyExistsError, PreconditionError):
                # A PUT whose answer was lost is sent again, and finds itself.
                if not self._holds(name, collected):
                    raise Overtaken(self.url(name)) from None
        collected.unlink()

    def remove(self, names: Iterable[str]) -> None:
        """DELETE, many at a time."""
        keys = [self._key(name) for name in names]
        if keys:
            with self._writing(""):
                self._store.delete(keys)

    def register(self, connection: "duckdb.DuckDBPyConnection") -> None:
        """DuckDB reads the bucket with the same client; its own would have to be downloaded."""
        from obstore.fsspec import FsspecStore  # noqa: PLC0415 - fsspec, and only for queries

        connection.register_filesystem(FsspecStore("s3", client_options=CLIENT))

    @property
    def _store(self) -> "S3Store":
        return bucket(self._root.bucket)

    def _key(self, name: str) -> str:
        return (self._root / name).key

    def _get(self, name: str, options: "GetOptions") -> "Bytes":
        with self._reading(name):
            return self._store.get(self._key(name), options=options).bytes()

    def _holds(self, name: str, collected: Path) -> bool:
        with suppress(FileNotFoundError):
            return bytes(self._get(name, {})) == collected.read_bytes()
        return False

    @contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        """Turn the store's refusals into those of a file system."""
        from obstore.exceptions import BaseError, PreconditionError  # noqa: PLC0415 - see above

        try:
            yield
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                raise OSError(f"{self.url(name)} cannot be read: there is no such bucket") from None
            raise FileNotFoundError(f"there is no {self.url(name)}") from None
        except PreconditionError:
            raise Replaced(f"{self.url(name)} was replaced while it was read") from None
        except BaseError as error:
            raise OSError(f"{self.url(name)} cannot be read: {reason(error)}; {MEND}") from error

    @contextmanager
    def _writing(self, name: str) -> Iterator[None]:
        from obstore.exceptions import BaseError  # noqa: PLC0415 - see above

        try:
            yield
        except FileNotFoundError:
            raise StorageError(self.url(name), "there is no such bucket", MEND) from None
        except BaseError as error:
            raise StorageError(self.url(name), reason(error), MEND) from error


def reason(error: Exception) -> str:
    """What went wrong, without obstore's account of its own structures."""
    return str(error).split("\n\nDebug source:")[0].splitlines()[0]


def _matches(name: str, pattern: str) -> bool:
    return name.count("/") == pattern.count("/") and PurePosixPath(name).match(pattern)


class _Parts(io.RawIOBase):
    """An object for reading in parts, each by a GET of its range, all of one version."""

    def __init__(
        self, storage: S3Storage, name: str, version: str, size: int, tail: "Bytes"
    ) -> None:
        self._storage, self._name, self._version = storage, name, version
        self._size, self._tail = size, bytes(tail)
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        end = self._size if size < 0 else min(self._at + size, self._size)
        start, self._at = self._at, max(self._at, end)
        if end <= start:
            return b""
        before_tail = self._size - len(self._tail)
        if start >= before_tail:
            return self._tail[start - before_tail : end - before_tail]
        return self._storage.part(self._name, start, end - start, self._version)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True
