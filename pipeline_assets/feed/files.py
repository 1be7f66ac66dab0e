"""Where the feed lies: the files of a folder, a glob, a prefix of an object store, or just one.

Told apart by their names, and each from its next version by a listing alone, so that of ten
thousand files only those are opened that changed.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final, Protocol

import pyarrow as pa
from pyarrow.fs import FileInfo, FileSelector, FileType, LocalFileSystem

from pipeline_assets.errors import FeedError, NoFeed
from pipeline_assets.store.s3_urls import S3Url

if TYPE_CHECKING:
    from obstore import ObjectMeta

    from pipeline_assets.store.s3_storage import S3Storage

ENDINGS: Final = (".csv", ".jsonl", ".parquet")
PACKED: Final = ".gz"
_LOCAL: Final = LocalFileSystem()
_MAGIC: Final = re.compile(r"[*?\[]")
_HIDDEN: Final = (".", "_")
"""Files that begin so are marks of other programs, or not written to their end."""


class Files(Protocol):
    """What can be opened: a disk, or a bucket."""

    def open(self, path: str) -> pa.NativeFile:
        """Its bytes, in any order."""
        ...

    def version(self, path: str) -> str:
        """What tells it from what it was before."""
        ...


@dataclass(frozen=True, slots=True)
class FeedFile:
    """One file of the feed. `name` is for readers, `version` tells it from what it was before."""

    name: str
    path: str
    files: Files
    version: str
    modified: datetime

    def open(self) -> pa.NativeFile:
        """Its bytes, in any order."""
        return self.files.open(self.path)

    def is_as_listed(self) -> bool:
        """Whether it is still the version that it was."""
        return self.files.version(self.path) == self.version


class DiskFiles:
    """Files of this machine: their versions are told apart by size and time."""

    def open(self, path: str) -> pa.NativeFile:
        """The open file."""
        return _LOCAL.open_input_file(path)

    def version(self, path: str) -> str:
        """Size and time of the last change."""
        return _version(_LOCAL.get_file_info(path))


def list_local(source: str) -> list[FeedFile]:
    """The files of a path, a folder or a glob, by name. Raises `NoFeed`, `OSError`."""
    path = Path(source)
    found = _LOCAL.get_file_info(str(path))
    if found.type is FileType.File:
        return [_file(path.name, found)]
    if found.type is FileType.Directory:
        return _in_folder(str(path.absolute()))
    if _MAGIC.search(source) is None:
        raise NoFeed(source, "there is no such file or folder; check the path")
    return _matching(path.absolute())


def is_feed_file(name: str) -> bool:
    """Whether a file of a folder is read: one with an ending that says so, or with none at all."""
    parts = PurePosixPath(name).parts
    if any(part.startswith(_HIDDEN) for part in parts):
        return False
    plain = parts[-1].lower().removesuffix(PACKED)
    return plain.endswith(ENDINGS) or "." not in plain


def _in_folder(folder: str) -> list[FeedFile]:
    infos = _LOCAL.get_file_info(FileSelector(folder, recursive=True))
    named = ((info.path.removeprefix(folder).lstrip("/"), info) for info in infos)
    return _by_name(
        _file(name, info)
        for name, info in named
        if info.type is FileType.File and is_feed_file(name)
    )


def _matching(pattern: Path) -> list[FeedFile]:
    """The files that a glob matches: `*` is within a folder, `**` any number of them."""
    fixed = next(i for i, part in enumerate(pattern.parts) if _MAGIC.search(part))
    base = Path(*pattern.parts[:fixed])
    infos = _LOCAL.get_file_info([str(path) for path in _globbed(base, pattern.parts[fixed:])])
    files = [
        _file(str(Path(info.path).relative_to(base)), info)
        for info in infos
        if info.type is FileType.File
    ]
    if not files:
        raise NoFeed(str(pattern), "no file matches it; check the pattern")
    return _by_name(files)


def _globbed(base: Path, parts: tuple[str, ...]) -> Iterator[Path]:
    for path in base.glob(str(Path(*parts))):
        if not any(part.startswith(".") for part in path.relative_to(base).parts):
            yield path


def _by_name(files: Iterable[FeedFile]) -> list[FeedFile]:
    return sorted(files, key=lambda file: file.name)


def _file(name: str, info: FileInfo) -> FeedFile:
    modified = datetime.fromtimestamp(info.mtime_ns // 1_000_000_000, UTC)
    return FeedFile(_shown(name), info.path, DiskFiles(), _version(info), modified)


def _version(info: FileInfo) -> str:
    return f"{info.size}.{info.mtime_ns}"


def _shown(name: str) -> str:
    """A name that can be stored, though its bytes on disk may be no UTF-8."""
    return name.encode("utf-8", "replace").decode()


class BucketFiles:
    """The objects of a bucket: their versions are told apart by their ETags."""

    def __init__(self, name: str) -> None:
        self._name = name

    @cached_property
    def _storage(self) -> "S3Storage":
        from pipeline_assets.store.s3_storage import S3Storage  # noqa: PLC0415 - object storage

        return S3Storage(S3Url(self._name), Path())

    def open(self, path: str) -> pa.NativeFile:
        """The object, read part by part; all parts are of one version."""
        return self._storage.open(S3Url.parse(path).key).source

    def version(self, path: str) -> str:
        """Its ETag."""
        return self._storage.version(S3Url.parse(path).key)


def list_prefix(source: str) -> list[FeedFile]:
    """The objects below an `s3://` prefix, or the one of that name. Raises `FeedError`."""
    try:
        url = S3Url.parse(source)
    except ValueError as error:
        raise FeedError(source, str(error)) from None
    files = BucketFiles(url.bucket)
    found = _by_name(_object(url, each, files) for each in _objects(url) if _is_read(url, each))
    if not found:
        raise NoFeed(source, "there is no object below this prefix; check bucket and prefix")
    return found


def _objects(url: S3Url) -> "list[ObjectMeta]":
    from obstore.exceptions import BaseError  # noqa: PLC0415 - only where there is object storage

    from pipeline_assets.store.s3_storage import MEND, bucket, reason  # noqa: PLC0415 - likewise

    store = bucket(url.bucket)
    try:
        below = [each for page in store.list(url.key or None) for each in page]
        return below if below or not url.key else [store.head(url.key)]
    except FileNotFoundError:
        return []
    except BaseError as error:
        why = "there is no such bucket" if "NoSuchBucket" in str(error) else reason(error)
        raise FeedError(str(url), f"{why}; {MEND}") from None


def _is_read(url: S3Url, found: "ObjectMeta") -> bool:
    return found["path"] == url.key or is_feed_file(_below(url, found))


def _below(url: S3Url, found: "ObjectMeta") -> str:
    return found["path"].removeprefix(url.key).lstrip("/") or PurePosixPath(url.key).name


def _object(url: S3Url, found: "ObjectMeta", files: BucketFiles) -> FeedFile:
    return FeedFile(
        name=_below(url, found),
        path=str(S3Url(url.bucket, found["path"])),
        files=files,
        version=str(found["e_tag"]),
        modified=found["last_modified"],
    )
