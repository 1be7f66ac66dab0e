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


def batches(
    planned: Sequence[Planned], size: int, limits: Mapping[RowId, int]
) -> Iterator[Sequence[Planned]]:
    """Micro-batches of at most `size` rows; suspects come last, in batches of their own."""
    by_limit: dict[int, list[Planned]] = defaultdict(list)
    for each in planned:
        by_limit[min(size, limits.get(each.work.id, size))].append(each)
    for limit in sorted(by_limit, reverse=True):
        rows = by_limit[limit]
        for start in range(0, len(rows), limit):
            yield rows[start : start + limit]
