"""Which hours a changed feed asks for, as pure rules.

A feed is compared by hour, in memory that does not grow with its rows: two numbers stand for an
hour's rows. The order-free one is compared with the table that was made of them; the other one,
which knows the order, names the content, since of an item's rows the last one counts.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

BITS = 128
MASK = (1 << BITS) - 1
STEP = 0x9E3779B97F4A7C15F39CC0605CEDC835
"""An odd number without a pattern, so that a place in the order moves every bit."""

MOST_ATTEMPTS = 3
AGAIN_AFTER_S = 3600.0
"""Whoever mends what made a run fail has an hour until it is asked for again."""

LOST_AFTER_S = 600.0
"""A request whose run is not there so long after never became one."""


class Tally:
    """What stands for the rows of an hour: their number, and digests without and with order."""

    __slots__ = ("chain", "rows", "total")

    def __init__(self, rows: int = 0, total: int = 0, chain: int = 0) -> None:
        self.rows, self.total, self.chain = rows, total, chain

    @classmethod
    def of(cls, keys: Iterable[str]) -> "Tally":
        """The tally of these keys."""
        tally = cls()
        for key in keys:
            tally.add(key)
        return tally

    def add(self, key: str) -> None:
        """One more row. A key begins with a hash in hexadecimal digits."""
        number = int(key.partition(".")[0], 16)
        self.rows += 1
        self.total = (self.total + number) & MASK
        self.chain = (self.chain * STEP + number + 1) & MASK

    def follow(self, other: "Tally") -> None:
        """The rows of `other` after these: as if each were added."""
        self.rows += other.rows
        self.total = (self.total + other.total) & MASK
        self.chain = (self.chain * pow(STEP, other.rows, MASK + 1) + other.chain) & MASK

    @property
    def digest(self) -> str:
        """The name of the content."""
        return f"{self.rows}.{self.total:032x}.{self.chain:032x}"


def same_rows(digest: str, other: str) -> bool:
    """Whether two digests stand for the same rows, in any order."""
    return digest.rpartition(".")[0] == other.rpartition(".")[0]


class Standing(StrEnum):
    """How far the feed's rows of an hour have come."""

    WAITING = "waiting"
    ASKED = "asked"
    SETTLED = "settled"
    GIVEN_UP = "given-up"


class RunState(StrEnum):
    """What became of a run that was asked for."""

    UNDER_WAY = "under-way"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class FeedHour:
    """An hour of the feed: the digest of its rows, and how far they have come since when."""

    hour: str
    digest: str
    standing: Standing
    attempts: int = 0
    since: float = 0.0

    @property
    def run_key(self) -> str:
        """Names a request: the same content is asked for once, and again only after a failure."""
        return f"feed_changed:{self.hour}:{self.digest}:{self.attempts}"


def has_news(feed: Mapping[str, str], table: frozenset[str]) -> bool:
    """Whether an item's row is not in the table. Rows that left the feed stay in it: no news.

    `feed` is the last key of each item, `table` all the keys of the table.
    """
    return any(key not in table for key in feed.values())


def asked(hour: FeedHour, now: float) -> FeedHour:
    """The hour once more asked for."""
    return replace(hour, standing=Standing.ASKED, attempts=hour.attempts + 1, since=now)


def after_run(hour: FeedHour, run: RunState | None, now: float) -> FeedHour:
    """An hour that was asked for, by what became of its run; None where there is no such run.

    A run that was lost on the way is asked for under its old name, which is never two runs.
    """
    match run:
        case RunState.SUCCEEDED:
            return replace(hour, standing=Standing.SETTLED, since=now)
        case RunState.FAILED if hour.attempts >= MOST_ATTEMPTS:
            return replace(hour, standing=Standing.GIVEN_UP, since=now)
        case RunState.FAILED if now - hour.since >= AGAIN_AFTER_S:
            return replace(hour, standing=Standing.WAITING, since=now)
        case None if now - hour.since >= LOST_AFTER_S:
            return replace(hour, standing=Standing.WAITING, attempts=hour.attempts - 1, since=now)
        case _:
            return hour
