"""Finding the row that kills its worker, or hangs, by what a live supervisor saw.

A death in a call of many rows proves nothing about one of them: the rows are called again in far
smaller batches, until the killer is alone. A row that was alone three times is told apart from bad
luck, and its neighbours have finished meanwhile. A row that hung alone is told at once: it has cost
a whole deadline, and goes on to the next rung.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pipeline_assets.core.plan import Planned
from pipeline_assets.core.rows import RowId

NARROW_BY = 16
"""A batch of 256 is down to single rows after two deaths; each costs the start of a process."""
DEATHS_ALONE = 3


@dataclass(frozen=True, slots=True)
class Suspects:
    """What is known of rows that were in a call when their worker died.

    `limits` is the largest batch that a row may be called in; `deaths` counts those that it died
    alone; `crashed` are the rows that are given up, each with the cause. `hung` are those over
    which a rung (`stage.rung`) hung alone, each with what to say of it.
    """

    limits: Mapping[RowId, int] = field(default_factory=dict)
    deaths: Mapping[RowId, int] = field(default_factory=dict)
    crashed: Mapping[RowId, str] = field(default_factory=dict)
    hung: Mapping[RowId, Mapping[str, str]] = field(default_factory=dict)

    def died(self, rows: Sequence[RowId], cause: str) -> "Suspects":
        """What is known after a worker died in a call of `rows`."""
        known = self._narrowed(rows)
        if len(rows) > 1:
            return known
        row = rows[0]
        deaths = {**self.deaths, row: self.deaths.get(row, 0) + 1}
        crashed = {**self.crashed, row: cause} if deaths[row] >= DEATHS_ALONE else self.crashed
        return replace(known, deaths=deaths, crashed=crashed)

    def hung_in(self, rung: str, rows: Sequence[RowId], cause: str) -> "Suspects":
        """What is known after a call of `rows` did not end."""
        known = self._narrowed(rows)
        if len(rows) > 1:
            return known
        row = rows[0]
        return replace(known, hung={**self.hung, row: {**self.hung.get(row, {}), rung: cause}})

    def _narrowed(self, rows: Sequence[RowId]) -> "Suspects":
        return replace(self, limits={**self.limits, **dict.fromkeys(rows, narrower(len(rows)))})


def narrower(rows: int) -> int:
    """How many rows of a call are called at once to find which one it was."""
    return max(1, rows // NARROW_BY)


def blames_rung(suspects: Suspects, rows: Sequence[RowId]) -> bool:
    """Whether a death in a call of `rows` is a failure of the rung as well.

    A row's further deaths alone are the row's own. Up to three failures are too few to open a
    breaker for one row that kills; a rung that kills with every row opens it soon.
    """
    return len(rows) > 1 or rows[0] not in suspects.deaths


def batches(
    planned: Sequence[Planned], size: int, suspects: Suspects
) -> Iterator[Sequence[Planned]]:
    """Micro-batches of at most `size` rows; suspects come last, in batches of their own.

    Those that have died alone come after those that have not: where everything kills, the rung's
    breaker is open before any row is given up.
    """
    limits, deaths = suspects.limits, suspects.deaths
    alike: dict[tuple[int, int], list[Planned]] = defaultdict(list)
    for each in planned:
        row = each.work.id
        alike[-min(size, limits.get(row, size)), deaths.get(row, 0)].append(each)
    for key in sorted(alike):
        rows, limit = alike[key], -key[0]
        for start in range(0, len(rows), limit):
            yield rows[start : start + limit]
