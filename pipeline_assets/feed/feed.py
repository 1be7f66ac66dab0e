"""The feed of items: its files as one, each landed once for every version of it.

Files are in the order of their names. A file that cannot be read is no reason not to read the
others; it is one only where there is no other.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from pipeline_assets.core.batched import batched
from pipeline_assets.core.fingerprint import digest
from pipeline_assets.core.forgotten import Forgotten
from pipeline_assets.errors import FeedError
from pipeline_assets.feed.download import Downloads
from pipeline_assets.feed.files import FeedFile
from pipeline_assets.feed.landing import Landed, Landing, Landings
from pipeline_assets.feed.mapping import FeedColumns
from pipeline_assets.feed.reading import Reading, column_names, feed_errors, read_rows
from pipeline_assets.feed.rows import PRODUCER, FeedRow
from pipeline_assets.feed.sources import list_source
from pipeline_assets.state.forgotten_list import ForgottenList
from pipeline_assets.store.files import locked

_AT_ONCE: Final = 200
"""Files whose contents are asked for in one query."""


class Feed:
    """The feed that PIPELINE_FEED names, read as the other settings say."""

    def __init__(
        self,
        source: str,
        reading: Reading,
        landings: Landings,
        downloads: Downloads,
        forgotten: ForgottenList,
        lock: Path,
    ) -> None:
        self._source, self._reading, self._landings = source, reading, landings
        self._downloads, self._forgotten, self._lock = downloads, forgotten, lock

    def files(self) -> list[FeedFile]:
        """Its files, by name. Raises `FeedError` where there is nothing of that name."""
        with feed_errors(self._source):
            return list_source(self._source, lambda url: self._downloads.file(url, self._check))

    def version(self) -> str:
        """What tells the feed from what it was or will be; costs a listing. Raises `FeedError`."""
        return self._version(self.files(), self._shape(self._forgotten.read()))

    def peek(self) -> str | None:
        """Its version; None where it is time to ask a web server for it. Raises `FeedError`."""
        return None if self._downloads.is_due(self._source) else self.version()

    def columns(self) -> FeedColumns:
        """The columns of its newest file that can be read: the next one will be like it.

        Raises `FeedError` where there is none whose columns are what they must be.
        """
        problem: FeedError | None = None
        for file in sorted(self.files(), key=lambda file: (file.modified, file.name), reverse=True):
            try:
                return self._check(file)
            except FeedError as error:
                problem = problem or error
        if problem is not None:
            raise problem
        return FeedColumns((), ())

    def lost(self) -> tuple[int, int]:
        """When last looked at: the rows without an hour, and the files that were unread."""
        return self._landings.lost()

    def landed(self) -> Landed:
        """The feed as it is now; reads the files that changed.

        One process of a host reads at a time: the next finds what that one has read. Raises
        `FeedError` where no file can be read.
        """
        with locked(self._lock):
            forgotten = self._forgotten.read()
            shape = self._shape(forgotten)
            files = self.files()
            landings = tuple(self._each(files, shape, forgotten))
            if landings and all(each.problem is not None for each in landings):
                raise FeedError(landings[-1].file, landings[-1].problem or "")
            self._landings.forget_all_but(files)
        return Landed(self._version(files, shape), landings, self._landings.storage)

    def clear(self) -> int:
        """Drop what is landed; how many files. What is forgotten is not in what is read next."""
        with locked(self._lock):
            return self._landings.clear()

    def _each(
        self, files: Sequence[FeedFile], shape: str, forgotten: Forgotten
    ) -> Iterator[Landing]:
        """What each file has, read where it is not known."""
        known = self._landings.known(problems=len(files) > 1)
        for some in batched(files, _AT_ONCE):
            current = [file for file in some if known.get(file.path) == _read_as(file, shape)]
            loaded = self._landings.load(current)
            for file in some:
                yield loaded.get(file.path) or self._land(file, shape, forgotten)

    def _land(self, file: FeedFile, shape: str, forgotten: Forgotten) -> Landing:
        version = _read_as(file, shape)
        rows = _unchanged(file, read_rows(file, self._reading))
        try:
            return self._landings.land(file, version, rows, forgotten)
        except _Changed:
            raise
        except FeedError as error:
            return self._landings.refuse(file, version, error.reason)

    def _check(self, file: FeedFile) -> FeedColumns:
        """A file's columns. Raises `FeedError` where they are not what they must be."""
        names = column_names(file)
        if names is None:  # JSONL without a readable row: every line of it will say so
            return FeedColumns((), ())
        try:
            return self._reading.mapping.shown(names)
        except ValueError as error:
            raise FeedError(file.name, str(error)) from None

    def _shape(self, forgotten: Forgotten) -> str:
        """What decides, besides a file's bytes, what its landed rows are."""
        said = sorted(self._reading.mapping.said.items())
        return digest((PRODUCER, said, self._reading.merge, sorted(forgotten.marks)))

    def _version(self, files: Iterable[FeedFile], shape: str) -> str:
        return digest([(file.path, _read_as(file, shape)) for file in files])


class _Changed(FeedError):
    """The file is another one by now: what was read of it is no version."""

    def __init__(self, file: str) -> None:
        super().__init__(file, "it was changed while it was read; run again")


def _unchanged(file: FeedFile, rows: Iterable[FeedRow]) -> Iterator[FeedRow]:
    """All rows, if they are of one version of the file."""
    yield from rows
    with feed_errors(file.name):
        unchanged = file.is_as_listed()
    if not unchanged:
        raise _Changed(file.name)


def _read_as(file: FeedFile, shape: str) -> str:
    """What its landing stands for: the version of the file, read in this way."""
    return f"{file.version}.{shape}"
