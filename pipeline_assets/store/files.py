"""Durable writes on the local disk: temp file in the same folder, fsync, rename, fsync folder."""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline_assets.errors import StorageError

TEMP_SUFFIX = ".tmp"


def hash_file(path: Path) -> str:
    """The sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Make renames within `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Make the bytes of a written file durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn the disk's refusals (full, I/O error) into `StorageError` with what to do."""
    try:
        yield
    except OSError as error:
        raise StorageError(str(path), error.strerror or str(error)) from error


def temporary(path: Path) -> Path:
    """A name beside `path` for its bytes until they are whole; unique to this process."""
    return path.with_name(f".{path.name}.{os.getpid()}{TEMP_SUFFIX}")


def replace_durably(temp: Path, path: Path) -> None:
    """Make `temp` durable and put it in the place of `path`, atomically."""
    with storage_errors(path):
        sync_file(temp)
        temp.replace(path)
        sync_folder(path.parent)


def write_durably(path: Path, data: bytes) -> None:
    """Write a whole small file atomically and durably."""
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temp = temporary(path)
        try:
            temp.write_bytes(data)
            replace_durably(temp, path)
        finally:
            with suppress(FileNotFoundError):
                temp.unlink()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of this file, waiting for it; the kernel lets go when its holder dies."""
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
