"""Which hours a file of the feed has rows of, where in it they lie, and what stands for them.

Made by one look at the whole file. An hour is then read without the rest of a feed of millions of
rows, and of a folder of ten thousand files only those are read again that changed.
"""

import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from pipeline_assets.core.hours import hour_name, hour_start
from pipeline_assets.feed.changes import Tally
from pipeline_assets.feed.reading import Placed
from pipeline_assets.feed.text import BEGINNING, Start

BLOCK_ROWS: Final = 16_384
"""A quarter of a second of reading: what an hour costs at least in a file in order of time."""

_HOUR_S: Final = 3600


def hour_number(time: datetime) -> int:
    """The hour of a time, as a number that counts on."""
    return int(time.timestamp() // _HOUR_S)


def numbered_hour(name: str) -> int:
    """The number of the hour with this partition key."""
    return hour_number(hour_start(name))


def named_hour(number: int) -> str:
    """The partition key of an hour's number."""
    return hour_name(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(hours=number))


@dataclass(frozen=True, slots=True)
class Span:
    """So many rows of a file that follow each other."""

    start: Start
    rows: int


@dataclass(slots=True)
class Share:
    """The rows of an hour in a file: their tally, and bit by bit the blocks that have some."""

    tally: Tally = field(default_factory=Tally)
    blocks: int = 0


@dataclass(slots=True)
class FileIndex:
    """The hours of a file, by number. `problem` is why the file cannot be read; it has no rows.

    `blocks` divide its rows. `lost` are the rows that have no hour at all.
    """

    problem: str | None = None
    blocks: list[Span] = field(default_factory=list)
    hours: dict[int, Share] = field(default_factory=dict)
    lost: int = 0

    @classmethod
    def of(cls, rows: Iterable[Placed]) -> "FileIndex":
        """The index of all rows of a file."""
        index = cls()
        start, count = BEGINNING, 0
        for placed in rows:
            if count >= BLOCK_ROWS and placed.at is not None:
                index.blocks.append(Span(start, count))
                count = 0
            if count == 0 and placed.at is not None:
                start = Start(placed.at, placed.row.line)
            count += 1
            index._add(placed)
        if count:
            index.blocks.append(Span(start, count))
        return index

    def _add(self, placed: Placed) -> None:
        row = placed.row
        if row.item_id is None or row.event_time is None:
            self.lost += 1
            return
        number = hour_number(row.event_time)
        share = self.hours.get(number)
        if share is None:
            share = self.hours[number] = Share()
        share.tally.add(row.key)
        share.blocks |= 1 << len(self.blocks)

    def spans(self, hours: Iterable[int]) -> Iterator[Span]:
        """Where the rows of these hours lie, among others; blocks side by side are one span."""
        wanted = 0
        for hour in hours:
            wanted |= self.hours[hour].blocks if hour in self.hours else 0
        span: Span | None = None
        for number, block in enumerate(self.blocks):
            if wanted >> number & 1:
                span = block if span is None else Span(span.start, span.rows + block.rows)
            elif span is not None:
                yield span
                span = None
        if span is not None:
            yield span

    def stored(self) -> bytes:
        """As the state database keeps it."""
        value = {
            "problem": self.problem,
            "blocks": [(block.start.at, block.start.line, block.rows) for block in self.blocks],
            "hours": [
                (
                    hour,
                    share.tally.rows,
                    f"{share.tally.total:x}",
                    f"{share.tally.chain:x}",
                    f"{share.blocks:x}",
                )
                for hour, share in self.hours.items()
            ],
            "lost": self.lost,
        }
        return zlib.compress(json.dumps(value).encode())

    @classmethod
    def loaded(cls, stored: bytes) -> "FileIndex":
        """What `stored` kept."""
        value = json.loads(zlib.decompress(stored))
        return cls(
            problem=value["problem"],
            blocks=[Span(Start(at, line), rows) for at, line, rows in value["blocks"]],
            hours={
                hour: Share(Tally(rows, int(total, 16), int(chain, 16)), int(blocks, 16))
                for hour, rows, total, chain, blocks in value["hours"]
            },
            lost=value["lost"],
        )
