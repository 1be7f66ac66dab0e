"""One row on its way down a chain: what each rung answered, and what that cost."""

from dataclasses import dataclass, field
from datetime import timedelta

from pipeline_assets.core.budget import LONGEST_WAIT, Later
from pipeline_assets.core.plan import Planned
from pipeline_assets.core.rows import Made, Outcome
from pipeline_assets.core.stage import Rung
from pipeline_assets.errors import RowError, UpstreamMissing


@dataclass(slots=True)
class Attempt:
    """How one row fares: the value and the number of the rung that made it, or every error.

    A row is with one rung at a time. It is `answered` by it, with a value or an error; with an
    error it either falls on to the next rung or is held, to be called for again. `stopped` means
    that a rung held its error for final.

    `tries` is what it costs in attempts: one for the first answered call, with a value or an error
    of its own, and one more for each time that the same rung was called again. A look that finds
    nothing upstream (no earlier copy) is no attempt, and neither is a call after which the other
    side asked for more time than this run has.
    """

    planned: Planned
    made: Made | None = None
    rung: int | None = None
    errors: list[RowError] = field(default_factory=list)
    called: bool = False
    tries: int = 0
    stopped: bool = False
    cost_usd: float = 0.0
    seconds: float = 0.0
    _answered_by: int | None = None
    _charged: bool = False
    _deferred: bool = False
    _held: RowError | None = None

    def may_try(self, number: int) -> bool:
        """Whether it still needs a value, and may have it from that rung."""
        return self.made is None and not self.stopped and number < self.planned.ceiling

    def recalled(self, made: Made, number: int) -> None:
        """It has a value that was kept from equal work: no call, no attempt."""
        self.made, self.rung = made, number

    def answered(self, outcome: Outcome, number: int, cost_usd: float) -> None:
        """A call of a rung has come to this. An error is yet to be held, or to fall on with."""
        self.called = True
        self.cost_usd += cost_usd
        if isinstance(outcome, UpstreamMissing):
            self._charged = False
            return
        again = self._answered_by == number
        self._charged = not self._deferred and (self.tries == 0 or again)
        self.tries += self._charged
        self._answered_by = number
        if isinstance(outcome, Made):
            self.made, self.rung, self._held = outcome, number, None

    def fall(self, rung: Rung, error: RowError) -> None:
        """The rung gives no value: on to the next one, unless it holds such an error for final."""
        self.errors.append(error)
        self._held = None
        self.stopped = error.kind not in rung.falls_through

    def refused(self, rung: Rung, why: RowError) -> None:
        """No call, or no further one: then what the last one failed with is worth more."""
        self.fall(rung, self._held or why)

    def hold(self, error: RowError) -> None:
        """The same rung is to be called again."""
        self._held = error

    def give_up(self, rung: Rung, error: RowError, later: Later | None) -> None:
        """The rung is not called again in this run; `later` is when it may be."""
        if later is None:
            self.fall(rung, error)
            return
        if later.asked:
            self.tries -= self._charged
            self._deferred = True
        wait_s = min(later.wait_s, LONGEST_WAIT.total_seconds())
        self.fall(rung, type(error)(error.message, retry_after=timedelta(seconds=wait_s)))
