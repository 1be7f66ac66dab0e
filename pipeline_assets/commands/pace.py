"""What a row takes on each rung, measured on the rows that stand: what `plan` estimates time by.

The rows of the present producer tell, once there are enough of them: after a trial hour the plan
of a new model's roll-out goes by the new model. Until then it goes by whatever made rows there.
"""

from collections.abc import Mapping
from functools import cache

import pyarrow as pa

from pipeline_assets.core.stage import Rung, Stage
from pipeline_assets.resources import Resources

ENOUGH_ROWS = 100
"""Fewer say little: the first call of a process loads the model, and that is in their time."""
LOOKED_AT = 24
"""The newest hours of a stage; more would cost a plan more than they tell."""

MAKER = ["rung", "producer"]


class Pace:
    """Seconds a row by rung, of one data root as it is now; each stage is looked at once."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._spent = cache(self._spent_on)

    def of(self, stage: Stage, rows: Mapping[Rung, int]) -> float | None:
        """What so many rows on each rung would take; None where nobody knows of one of them."""
        paces = {rung: self.seconds(stage, rung) for rung in rows}
        known = [pace * rows[rung] for rung, pace in paces.items() if pace is not None]
        return sum(known, 0.0) if len(known) == len(rows) else None

    def seconds(self, stage: Stage, rung: Rung) -> float | None:
        """What a row has taken on a rung, those that were recalled included; None: unknown."""
        spent = self._spent(stage)
        rows, seconds = spent.get((rung.name, rung.producer(self._resources)), (0, 0.0))
        if rows < ENOUGH_ROWS:
            by_any = [of for (name, _producer), of in spent.items() if name == rung.name]
            rows, seconds = sum(one[0] for one in by_any), sum(one[1] for one in by_any)
        return seconds / rows if rows else None

    def _spent_on(self, stage: Stage) -> dict[tuple[str, str], tuple[int, float]]:
        """The rows of each rung and producer, and the seconds that they took together."""
        hours = self._resources.tables.hours(stage.name)[-LOOKED_AT:]
        if not hours:
            return {}
        parts = pa.concat_tables(self._by_maker(stage, hour) for hour in hours)
        found = parts.group_by(MAKER).aggregate([("rows", "sum"), ("ms", "sum")]).to_pylist()
        return {
            (one["rung"], one["producer"]): (one["rows_sum"], (one["ms_sum"] or 0.0) / 1000)
            for one in found
        }

    def _by_maker(self, stage: Stage, hour: str) -> pa.Table:
        rows = self._resources.tables.read(stage.name, hour, [*MAKER, "duration_ms"])
        counted = rows.group_by(MAKER).aggregate([("rung", "count"), ("duration_ms", "sum")])
        return counted.rename_columns([*MAKER, "rows", "ms"])
