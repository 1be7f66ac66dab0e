"""Reading CSV and JSONL feeds: a line at a time, in bounded memory, whatever the bytes are."""

import csv
import json
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from typing import Final, NamedTuple, Protocol

from pipeline_assets.feed.rows import RawRow

MAX_LINE_BYTES: Final = 8 << 20  # each of the eight columns may hold 1 MB
MAX_RECORD_LINES: Final = 20_000  # of one CSV record: 1 MB of text in lines of 50 characters
# Lines behind a quote that was never closed are read again, each as the start of a record; many
# such quotes would make that quadratic if every one could reach as far as the first.
MAX_RECORD_LINES_AGAIN: Final = 20

_SKIP_BYTES: Final = 1 << 16
_BOM: Final = b"\xef\xbb\xbf"
_TOO_LONG: Final = f"is longer than {MAX_LINE_BYTES >> 20} MiB, which no row is"


class BytesFile(Protocol):
    """What is read of an open file, compressed or not."""

    def readline(self, size: int, /) -> bytes:
        """Up to `size` bytes of the next line; none at the end."""
        ...


class Line(NamedTuple):
    """One line with its end; bytes that are not UTF-8 are lone surrogates.

    Counts from 1. `text` is None where the line is over `MAX_LINE_BYTES`.
    """

    number: int
    text: str | None

    @property
    def blank(self) -> bool:
        """Whether there is nothing on it but white space."""
        return self.text is not None and not self.text.strip()


class CsvRecord(NamedTuple):
    """One CSV record, from the line on which it begins; with a `problem` it has no fields."""

    line: int
    fields: Sequence[str]
    problem: str | None = None


def read_lines(file: BytesFile) -> Iterator[Line]:
    """All lines of `file`, without a byte order mark; never holds more than one of them."""
    number = 0
    while raw := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if number == 1:
            raw = raw.removeprefix(_BOM)
        if len(raw) > MAX_LINE_BYTES:
            _skip_line(file, raw)
            yield Line(number, None)
        else:
            yield Line(number, raw.decode("utf-8", "surrogateescape"))


def _skip_line(file: BytesFile, part: bytes) -> None:
    while part and not part.endswith(b"\n"):
        part = file.readline(_SKIP_BYTES)


def jsonl_rows(file: BytesFile) -> Iterator[RawRow]:
    """One row for each line that is not blank."""
    return (_json_row(line) for line in read_lines(file) if not line.blank)


def _json_row(line: Line) -> RawRow:
    if line.text is None:
        return RawRow(line.number, {}, f"line {line.number} {_TOO_LONG}")
    try:
        value = json.loads(line.text.rstrip("\r\n"))
    except json.JSONDecodeError as error:
        why = f"{error.msg.removesuffix(' at')} at column {error.colno}"
    except ValueError:
        why = "a number in it is too long"
    except RecursionError:
        why = "it is nested too deeply"
    else:
        if isinstance(value, dict):
            return RawRow(line.number, value)
        why = "it is not an object"
    start = line.text.strip()[:40].encode("utf-8", "replace").decode("utf-8")
    problem = f"line {line.number}, {start!r}, is not a JSON row: {why}"
    return RawRow(line.number, {}, problem)


def csv_rows(file: BytesFile, wanted: Collection[str]) -> Iterator[RawRow]:
    """One row for each record after the header, with the wanted columns; blank lines are none."""
    records = csv_records(file)
    header = csv_header(next(records, None))
    known = [(index, name) for index, name in enumerate(header) if name in wanted]
    for record in records:
        problem = record.problem
        if problem is None and len(record.fields) != len(header):
            problem = (
                f"line {record.line} has {len(record.fields)} fields "
                f"where the header has {len(header)}"
            )
        values = {name: record.fields[i] for i, name in known if i < len(record.fields)}
        yield RawRow(record.line, values, problem)


def csv_header(record: CsvRecord | None) -> list[str]:
    """The column names in the first record, stripped."""
    return [] if record is None else [name.strip() for name in record.fields]


def csv_records(file: BytesFile) -> Iterator[CsvRecord]:
    """All records; one that cannot be read costs its first line, the next line begins another."""
    # A limit of the whole process; ours, per field, comes later, where the row is kept.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))
    tape = _Tape(read_lines(file))
    reader = csv.reader(tape, strict=True)
    while (first := tape.begin_record()) is not None:
        if first.text is None:
            next(tape, None)
            yield CsvRecord(first.number, (), f"line {first.number} {_TOO_LONG}")
            continue
        try:
            yield CsvRecord(first.number, next(reader))
        except csv.Error as error:
            yield CsvRecord(first.number, (), f"line {first.number} is not CSV: {error}")
            tape.rewind()
            reader = csv.reader(tape, strict=True)


class _Tape:
    """The lines as the csv module takes them; remembers a record's own, so as to go back."""

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines = lines
        self._ahead: deque[Line] = deque()
        self._taken: list[Line] = []
        self._taken_chars = 0
        self._seen_until = 0

    def begin_record(self) -> Line | None:
        """The line that begins the next record, not yet taken; None at the end."""
        self._taken.clear()
        self._taken_chars = 0
        while (line := self._peek()) is not None and line.blank:
            self._ahead.popleft()
        return line

    def is_seen(self, line: Line) -> bool:
        """Whether it was read before, behind a quote that was not closed."""
        return line.number <= self._seen_until

    def rewind(self) -> None:
        """Give back all lines of the record but its first."""
        self._seen_until = self._taken[-1].number
        self._ahead.extendleft(reversed(self._taken[1:]))

    def _peek(self) -> Line | None:
        if not self._ahead:
            self._ahead.extend(line for line in (next(self._lines, None),) if line is not None)
        return self._ahead[0] if self._ahead else None

    def __iter__(self) -> "_Tape":
        return self

    def __next__(self) -> str:
        if self._peek() is None:
            raise StopIteration
        line = self._ahead.popleft()
        self._taken.append(line)
        self._taken_chars += len(line.text or "")
        if len(self._taken) > 1:
            self._check_length(line)
        return line.text or ""

    def _check_length(self, line: Line) -> None:
        again = self.is_seen(self._taken[0])
        most = MAX_RECORD_LINES_AGAIN if again else MAX_RECORD_LINES
        too_much = len(self._taken) > most or self._taken_chars > MAX_LINE_BYTES
        if line.text is None or too_much:
            raise csv.Error("a quote is opened and not closed")
