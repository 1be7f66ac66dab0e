"""Finding the row that kills its worker, by what a live supervisor saw.

A death in a call of many rows proves nothing about one of them: the rows are called again in far
smaller batches, until the killer is alone. A row that was alone three times is told apart from bad
luck, and its neighbours have finished meanwhile.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline_assets.core.plan import Planned
from pipeline_assets.core.rows import RowId

NARROW_BY = 16
"""A batch of 256 is down to single rows after two deaths; each costs the start of a process."""
DEATHS_ALONE = 3


@dataclass(frozen=True, slots=True)
class Suspects:
    """What is known of rows that were in a call when their worker died.

    `limits` is the largest batch that a row may be called in; `deaths` counts those that it died
    alone; `crashed` are the rows that are given up, each with the cause.
    """

    limits: Mapping[RowId, int] = field(default_factory=dict)
    deaths: Mapping[RowId, int] = field(default_factory=dict)
    crashed: Mapping[RowId, str] = field(default_factory=dict)


def after_death(suspects: Suspects, rows: Sequence[RowId], cause: str) -> Suspects:
    """What is known after a worker died in a call of `rows`."""
    limits = {**suspects.limits, **dict.fromkeys(rows, max(1, len(rows) // NARROW_BY))}
    if len(rows) > 1:
        return Suspects(limits, suspects.deaths, suspects.crashed)
    row = rows[0]
    deaths = {**suspects.deaths, row: suspects.deaths.get(row, 0) + 1}
    if deaths[row] < DEATHS_ALONE:
        return Suspects(limits, deaths, suspects.crashed)
    return Suspects(limits, deaths, {**suspects.crashed, row: cause})


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
