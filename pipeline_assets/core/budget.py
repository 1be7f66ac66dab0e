"""What trying costs: attempts, waits between tries, retry tokens and daily caps, as pure rules.

A row has as many attempts as its stage's budget pays for. Within a run the tries of a batch are
spaced by exponential backoff with full jitter, and never wait past a deadline. All retries of a
stage share one bucket of tokens that successes refill, so an outage is not answered with a storm.
Money is counted a UTC day at a time, against a cap for the stage and one for all stages.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Protocol

from pipeline_assets.errors import OverBudget

FEWEST_ATTEMPTS = 2
"""However dear a call is, one hiccup is not the end of a row."""
MOST_ATTEMPTS = 10
"""However cheap: what ten runs could not make is tried slowly from there on."""

RETRY_CAPACITY = 100
SUCCESSES_PER_RETRY = 10
"""Retries stay within the capacity plus a tenth of the successes."""

DUST = 1e-9
"""Sums and quotients of cents are not exact (0.06 / 0.02 < 3): so much of a cap is no money."""

Draw = Callable[[float, float], float]
"""A number between two, as `random.uniform` draws it."""


def attempts(budget_usd: float, cost_usd: float) -> int:
    """How often a row may be tried over all runs when a try costs `cost_usd`."""
    if cost_usd == 0:
        return MOST_ATTEMPTS
    paid_for = min(MOST_ATTEMPTS, budget_usd / cost_usd * (1 + DUST))
    return max(FEWEST_ATTEMPTS, math.floor(paid_for))


LONGEST_WAIT = timedelta(days=7)
"""Nobody who asks for more means it, and no time lies behind the end of the calendar."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How a rung is tried again for the same rows within a run.

    `tries` calls in all. The wait after the first is drawn from 0 to `first_s`, and the range grows
    by `factor` with each try up to `cap_s`. No wait ends later than `deadline_s` after the first
    call began.
    """

    tries: int = 3
    first_s: float = 0.5
    factor: float = 2.0
    cap_s: float = 20.0
    deadline_s: float = 30.0

    def __post_init__(self) -> None:
        if not 1 <= self.tries <= MOST_ATTEMPTS:
            raise ValueError(f"tries={self.tries} is outside 1..{MOST_ATTEMPTS}")
        if not 1 <= self.factor <= 10:
            raise ValueError(f"factor={self.factor} is outside 1..10")
        if not 0 <= self.first_s <= self.cap_s < math.inf:
            raise ValueError(
                f"first_s={self.first_s}, cap_s={self.cap_s}: not 0 <= first_s <= cap_s"
            )
        if not 0 <= self.deadline_s < math.inf:
            raise ValueError(f"deadline_s={self.deadline_s} is not a time of 0 s or more")


@dataclass(frozen=True, slots=True)
class Again:
    """Wait so long, and try again within the run."""

    wait_s: float


@dataclass(frozen=True, slots=True)
class Later:
    """The wait would reach the deadline: the row waits outside.

    `asked`: because the other side asked for it; then the try is not charged. A call that takes
    the whole deadline by itself is, or a row that hangs would be tried for ever.
    """

    wait_s: float
    asked: bool = True


def wait_s(backoff: Backoff, tries_made: int, asked: timedelta | None, draw: Draw) -> float:
    """Full jitter, on top of what the other side asked for."""
    widest = min(backoff.cap_s, backoff.first_s * backoff.factor ** (tries_made - 1))
    at_least = 0.0 if asked is None else max(0.0, asked.total_seconds())
    return at_least + draw(0.0, widest)


def next_try(
    backoff: Backoff, tries_made: int, elapsed_s: float, asked: timedelta | None, draw: Draw
) -> Again | Later | None:
    """What to do after `tries_made` failed tries; None: they are used up, the row falls on.

    `elapsed_s` is counted from the beginning of the first try.
    """
    if tries_made >= backoff.tries:
        return None
    wait = wait_s(backoff, tries_made, asked, draw)
    if elapsed_s + wait < backoff.deadline_s:
        return Again(wait)
    return Later(wait, asked=asked is not None)


@dataclass(frozen=True, slots=True)
class TokenBucket:
    """Retry tokens, kept as the successes that pay for them, so that a tenth of one is exact."""

    credit: int = RETRY_CAPACITY * SUCCESSES_PER_RETRY

    @property
    def tokens(self) -> int:
        """The retries that it grants."""
        return self.credit // SUCCESSES_PER_RETRY

    @property
    def full(self) -> bool:
        """Whether a success would be lost on it."""
        return self.credit >= RETRY_CAPACITY * SUCCESSES_PER_RETRY


def take(bucket: TokenBucket, wanted: int) -> tuple[TokenBucket, int]:
    """Take up to `wanted` tokens, and say how many there were."""
    granted = min(wanted, bucket.tokens)
    return TokenBucket(bucket.credit - granted * SUCCESSES_PER_RETRY), granted


def earn(bucket: TokenBucket, successes: int) -> TokenBucket:
    """Refill by `successes`, up to the capacity."""
    return TokenBucket(min(bucket.credit + successes, RETRY_CAPACITY * SUCCESSES_PER_RETRY))


@dataclass(frozen=True, slots=True)
class Cap:
    """A daily cap and what has been spent under it. `setting` is where it is raised."""

    name: str
    setting: str
    usd: float
    spent_usd: float


def affordable(cost_usd: float, rows: int, caps: Sequence[Cap]) -> tuple[int, Cap | None]:
    """How many of `rows` fit under every cap, and the cap that refuses the rest."""
    if cost_usd == 0:
        return rows, None
    binding = None
    for cap in caps:
        left_usd = cap.usd * (1 + DUST) - cap.spent_usd
        if cost_usd * rows > left_usd:
            rows, binding = max(0, math.floor(left_usd / cost_usd)), cap
    return rows, binding


def day_of(now: float) -> date:
    """The UTC day of a time in seconds since the epoch."""
    return datetime.fromtimestamp(now, UTC).date()


def rest_of_day(now: float) -> timedelta:
    """How long it is until the next UTC day."""
    moment = datetime.fromtimestamp(now, UTC)
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + timedelta(days=1) - moment


@dataclass(frozen=True, slots=True)
class Granted:
    """How many rows may be called for, and why not the others."""

    rows: int
    refusal: OverBudget | None = None


class Budget(Protocol):
    """What one stage may spend and retry, behind one small face."""

    def spend(self, cost_usd: float, rows: int) -> Granted:
        """Reserve the cost of a call before it is made; the answer may be lost, the bill is not."""

    def give_back(self, cost_usd: float, rows: int) -> None:
        """The latest reservation's call was not made for `rows` of its rows."""

    def retries(self, rows: int) -> int:
        """Take tokens to try up to `rows` rows again within the run."""

    def succeeded(self, rows: int) -> None:
        """Rows were made by a call: they pay for retries."""

    def paused(self) -> str | None:
        """Why paid calls and retries are paused by a person, if they are."""
