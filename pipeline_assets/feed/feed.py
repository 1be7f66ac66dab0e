"""The feed of items: its files as one, read by the hour, and only where something changed.

Files are in the order of their names. A file that cannot be read is no reason not to read the
others; it is one only where there is no other.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from pipeline_assets.core.fingerprint import digest
from pipeline_assets.errors import FeedError
from pipeline_assets.feed.changes import Tally
from pipeline_assets.feed.download import Downloads
from pipeline_assets.feed.files import FeedFile
from pipeline_assets.feed.index import FileIndex, hour_number
from pipeline_assets.feed.indexes import FeedIndexes
from pipeline_assets.feed.mapping import FeedColumns
from pipeline_assets.feed.reading import Reading, column_names, feed_errors, read_rows
from pipeline_assets.feed.rows import PRODUCER, FeedRow
from pipeline_assets.feed.sources import list_source

_AT_ONCE: Final = 200
"""Indexes in memory at a time."""


@dataclass(frozen=True, slots=True)
class Unread:
    """A file that cannot be read, and why."""

    file: str
    problem: str


@dataclass(frozen=True, slots=True)
class Contents:
    """What a feed holds: the tally of each hour's rows, by number, and what is in no hour."""

    hours: dict[int, Tally]
    files: int
    lost: int
    unread: tuple[Unread, ...]


class Feed:
    """The feed that PIPELINE_FEED names, read as the other settings say."""

    def __init__(
        self,
        source: str,
        reading: Reading,
        indexes: FeedIndexes,
        downloads: Downloads,
    ) -> None:
        self._source, self._reading, self._indexes = source, reading, indexes
        self._downloads = downloads
        self._shape = digest((PRODUCER, sorted(reading.mapping.said.items()), reading.merge))

    def files(self) -> list[FeedFile]:
        """Its files, by name. Raises `FeedError` where there is nothing of that name."""
        with feed_errors(self._source):
            return list_source(self._source, lambda url: self._downloads.file(url, self._check))

    def version(self) -> str:
        """What tells the feed from what it was or will be; costs a listing. Raises `FeedError`."""
        return self._version(self.files())

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

    def _check(self, file: FeedFile) -> FeedColumns:
        """A file's columns. Raises `FeedError` where they are not what they must be."""
        names = column_names(file)
        if names is None:  # JSONL without a readable row: every line of it will say so
            return FeedColumns((), ())
        try:
            return self._reading.mapping.shown(names)
        except ValueError as error:
            raise FeedError(file.name, str(error)) from None

    def lost(self) -> tuple[int, int]:
        """When last looked at: the rows without an hour, and the files that were unread."""
        return self._indexes.lost()

    def contents(self) -> tuple[str, Contents]:
        """The version that was looked at, and what it holds; reads the files that changed.

        Raises `FeedError` where no file can be read.
        """
        files = self.files()
        hours: dict[int, Tally] = {}
        lost, unread = 0, []
        for file, index in self._indexed(files):
            for hour, share in index.hours.items():
                hours.setdefault(hour, Tally()).follow(share.tally)
            lost += index.lost
            if index.problem is not None:
                unread.append(Unread(file.name, index.problem))
        self._indexes.forget_all_but(file.path for file in files)
        return self._version(files), Contents(hours, len(files), lost, tuple(unread))

    def rows(self, hours: Iterable[int]) -> Iterator[FeedRow]:
        """The rows of these hours, in the feed's order. Raises `FeedError` as `contents` does."""
        wanted = frozenset(hours)
        for file, index in self._indexed(self.files()):
            for row in self._rows_of(file, index, wanted):
                if row.item_id is None or row.event_time is None:
                    continue
                if hour_number(row.event_time) in wanted:
                    yield row

    def all_rows(self) -> Iterator[FeedRow | Unread]:
        """Every row of every file, and the files that cannot be read, each in its place."""
        for file, index in self._indexed(self.files()):
            if index.problem is not None:
                yield Unread(file.name, index.problem)
                continue
            for placed in read_rows(file, self._reading):
                yield placed.row
            _check_unchanged(file)

    def _rows_of(
        self, file: FeedFile, index: FileIndex, hours: frozenset[int]
    ) -> Iterator[FeedRow]:
        spans = list(index.spans(hours))
        for span in spans:
            for placed in islice(read_rows(file, self._reading, span.start), span.rows):
                yield placed.row
        if spans:
            _check_unchanged(file)

    def _indexed(self, files: Sequence[FeedFile]) -> Iterator[tuple[FeedFile, FileIndex]]:
        """Each file with its index, made where it is not known; raises if none could be read."""
        known = self._indexes.known(problems=len(files) > 1)
        read, last_problem = 0, None
        for first in range(0, len(files), _AT_ONCE):
            some = files[first : first + _AT_ONCE]
            current = [file.path for file in some if known.get(file.path) == self._of(file)]
            loaded = self._indexes.load(current)
            for file in some:
                index = loaded.get(file.path) or self._look(file)
                read += index.problem is None
                last_problem = index.problem or last_problem
                yield file, index
        if read == 0 and last_problem is not None:
            raise FeedError(files[-1].name, last_problem)

    def _look(self, file: FeedFile) -> FileIndex:
        try:
            index = FileIndex.of(read_rows(file, self._reading))
        except FeedError as error:
            index = FileIndex(problem=error.reason)
        else:
            _check_unchanged(file)
        self._indexes.keep(file.path, self._of(file), index)
        return index

    def _of(self, file: FeedFile) -> str:
        """What its index stands for: the version of the file, read in this way."""
        return f"{file.version}.{self._shape}"

    def _version(self, files: Iterable[FeedFile]) -> str:
        return digest([(file.path, self._of(file)) for file in files])


def _check_unchanged(file: FeedFile) -> None:
    with feed_errors(file.name):
        unchanged = file.is_as_listed()
    if not unchanged:
        raise FeedError(file.name, "it was changed while it was read; run again")
