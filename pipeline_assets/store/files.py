"""Durable writes on the local disk: temp file in the same folder, fsync, rename, fsync folder."""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import IO

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


class Temporary:
    """A file beside `path` for its bytes until they are whole.

    Its writer holds its lock, of which the kernel lets go when that process dies: so whoever tidies
    up can tell, and need not ask for a process that another host or container may have.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(f".{path.name}.{token_hex(8)}{TEMP_SUFFIX}")
        self._lock: int | None = None

    def open(self, buffering: int = -1) -> IO[bytes]:
        """Make it, for writing. Raises `OSError`."""
        while True:
            file = self.path.open("xb", buffering=buffering)
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file.fileno()).st_nlink:
                self._lock = os.dup(file.fileno())  # held until the name is given up
                return file
            file.close()  # somebody tidied up just before it was locked

    def release(self) -> None:
        """Give the name up: the bytes have their final one by now, or are not wanted."""
        with suppress(FileNotFoundError):
            self.path.unlink()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def remove_if_abandoned(temp: Path) -> bool:
    """Remove the temporary file of a writer that has died; whether it was such a one."""
    try:
        with temp.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            temp.unlink()
    except OSError:  # somebody writes it, or was faster; rubbish that stays is no reason to fail
        return False
    return True


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
        temp = Temporary(path)
        try:
            with temp.open() as file:
                file.write(data)
            replace_durably(temp.path, path)
        finally:
            temp.release()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of this file, waiting for it; the kernel lets go when its holder dies."""
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
