"""Is an hour of its usual size? What is usual, hours of the same kind say."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

ENOUGH = 4
"""Hours that make a usual size."""

LIKE_IT = (
    ("the same hour of the last 8 weeks", timedelta(weeks=1), 8),
    ("the same hour of the last 14 days", timedelta(days=1), 14),
    ("the 24 hours before", timedelta(hours=1), 24),
)
"""What an hour is held against: the first of these of which there are enough hours."""

FAR = 4.0
NORMAL = 1.4826
"""Of a normal distribution the standard deviation is so many median absolute deviations."""

ALWAYS_USUAL = 0.3
"""A share of the usual size that is no news, however regular the hours were."""


@dataclass(frozen=True, slots=True)
class Volume:
    """How many items an hour has, and what is usual; `said` says what is wrong, if it is.

    `against` says which hours tell what is usual.
    """

    items: int
    usual: float | None = None
    least: float | None = None
    most: float | None = None
    said: str | None = None
    against: str | None = None

    @property
    def expected(self) -> str:
        """What an hour is expected to have, for people."""
        if self.usual is None or self.least is None or self.most is None:
            return f"not known yet: it takes {ENOUGH} hours like this one"
        return f"{self.least:.0f} to {self.most:.0f} items; {self.against} had {self.usual:g}"


def volume(hour: datetime, items_of: Callable[[datetime], int | None]) -> Volume:
    """An hour's size against that of hours like it; `items_of` is None where an hour is missing."""
    items = items_of(hour) or 0
    for what, step, count in LIKE_IT:
        sizes = [items_of(hour - step * back) for back in range(1, count + 1)]
        known = [size for size in sizes if size is not None]
        if len(known) >= ENOUGH:
            return judged(items, known, what)
    return Volume(items, said=None if items else "the hour is empty, and there is none before it")


def judged(items: int, sizes: Sequence[int], what: str) -> Volume:
    """A size against those of other hours, by their median and its absolute deviation.

    Both bear half of the hours being out of the ordinary. Counts scatter by their root at least.
    """
    usual = median(sizes)
    deviation = median(abs(size - usual) for size in sizes)
    far = max(FAR * NORMAL * deviation, FAR * usual**0.5, ALWAYS_USUAL * usual)
    least, most = max(0.0, usual - far), usual + far
    if items == 0 and usual:
        said = f"the hour is empty; {what} had {usual:g} items"
    elif not least <= items <= most:
        said = f"{items} items; {what} had {usual:g}, and {least:.0f} to {most:.0f} are usual"
    else:
        said = None
    return Volume(items, usual, least, most, said, what)
