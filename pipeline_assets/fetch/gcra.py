"""A rate that many keep to together: the generic cell rate algorithm, by reservation.

All that is remembered is when the next request would be due if all came evenly. Whoever asks is
told from when on each of their requests may be made, and the next in line is due behind them.
"""

import math
from dataclasses import dataclass

BATCH_S = 0.25
"""What is reserved at once, and what may come at once: a quarter of a second's worth."""


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests per second, evenly, but for a burst of `burst`."""

    per_s: float

    def __post_init__(self) -> None:
        if not 0 < self.per_s < math.inf:
            raise ValueError(f"{self.per_s} requests per second: more than 0")

    @property
    def burst(self) -> int:
        """How many may come at once after a silence; as many are reserved at a time."""
        return max(1, int(self.per_s * BATCH_S))


def reserve(
    rate: Rate, due: float | None, now: float, wanted: int
) -> tuple[tuple[float, ...], float]:
    """When each of `wanted` requests may be made, and when the next would be due; times in seconds.

    `due` is what the last reservation left; None where there has been none.
    """
    interval = 1 / rate.per_s
    early = (rate.burst - 1) * interval
    times = []
    due = now if due is None else due
    for _ in range(wanted):
        due = max(due, now)
        times.append(max(now, due - early))
        due += interval
    return tuple(times), due
