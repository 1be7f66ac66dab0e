"""`plan` over a range: what a backfill would do, hour by hour, and cost at most; changes nothing.

Each hour is planned against the tables as they are now. Where a row of one stage is about to
change, the rows that depend on it may change after it: they are counted as if they did, and as if
every rung that may be called were called as often as it may be. A run does that much or less.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline_assets.adapters.engine import plan_hour
from pipeline_assets.adapters.inputs import ROLES
from pipeline_assets.adapters.orders import Order
from pipeline_assets.commands.plan import BLOCKED, NOTHING_TO_DO
from pipeline_assets.core.plan import Planned, Standing
from pipeline_assets.core.rows import Work
from pipeline_assets.core.stage import Rung, Stage
from pipeline_assets.errors import FeedError
from pipeline_assets.resources import Resources
from pipeline_assets.stages import all_stages, strict_tables
from pipeline_assets.stages.items import ITEMS, feed_hours

FOLLOWS = "may follow from upstream"
NEW = "new in the feed"


@dataclass(slots=True)
class Forecast:
    """What runs would do at most: rows by stage and reason, and rows given to each rung."""

    rows: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    calls: Counter[str] = field(default_factory=Counter)
    cost_usd: float = 0.0

    def count(self, stage: Stage, reason: str, rungs: Sequence[Rung], rows: int = 1) -> None:
        """Count rows that are worked on for a reason, by these rungs at most."""
        self.rows[stage.name][reason] += rows
        for rung in rungs:
            tries = 1 if rung.backoff is None else rung.backoff.tries
            self.calls[f"{stage.name}.{rung.name}"] += rows * tries
            self.cost_usd += rows * tries * rung.cost_usd

    def add(self, other: "Forecast") -> None:
        """Count another hour in."""
        for stage, reasons in other.rows.items():
            self.rows[stage].update(reasons)
        self.calls.update(other.calls)
        self.cost_usd += other.cost_usd

    def shown(self) -> dict[str, Any]:
        """As the command gives it."""
        return {
            "rows": {stage: dict(reasons) for stage, reasons in self.rows.items()},
            "calls_at_most": dict(self.calls),
            "cost_usd_at_most": self.cost_usd,
        }


def plan_range(
    resources: Resources, hours: Iterable[str], *, items: frozenset[str], force: bool
) -> dict[str, Any]:
    """Each hour's forecast, and that of all of them together; there is at least one hour."""
    feed, problem = _feed(resources)
    total = Forecast()
    planned = []
    for hour in hours:
        present = resources.tables.exists(ITEMS, hour)
        rows = resources.tables.rows(ITEMS, hour) if present else 0
        new = 0 if feed is None or items else max(0, feed[hour] - rows)
        forecast = Forecast()
        _count_new(resources, new, forecast)
        if present:
            _count_present(resources, hour, items, forecast, force=force)
        total.add(forecast)
        planned.append(
            {
                "hour": hour,
                "materialized": present,
                "feed_rows": None if feed is None else feed[hour],
                "items": rows,
                "new_items": new,
                **forecast.shown(),
            }
        )
    return {
        "from": planned[0]["hour"],
        "to": planned[-1]["hour"],
        "feed_problem": problem,
        "hours": planned,
        "total": total.shown(),
    }


def _feed(resources: Resources) -> tuple[Counter[str] | None, str | None]:
    """The rows of the feed by hour; or why it cannot be counted."""
    try:
        return feed_hours(resources), None
    except FeedError as error:
        return None, str(error)


def _count_new(resources: Resources, items: int, forecast: Forecast) -> None:
    """Items that no table has yet: each of their rows may be given to every rung."""
    if items:
        for stage in all_stages(resources.settings):
            rows = items * (len(ROLES) if stage.per_resource else 1)
            forecast.count(stage, NEW, stage.rungs, rows)


def _count_present(
    resources: Resources, hour: str, items: frozenset[str], forecast: Forecast, *, force: bool
) -> None:
    strict = strict_tables(resources.settings)
    changing: dict[str, set[str]] = {}
    for stage in all_stages(resources.settings):
        order = Order(stage, hour, "plan", items, force, strict=strict)
        upstream = set().union(*(changing.get(table, ()) for table in stage.upstream))
        changing[stage.name] = set()
        for work, reason, rungs in _expected(order, resources, upstream):
            forecast.count(stage, reason, rungs)
            if reason is not BLOCKED:
                changing[stage.name].add(work.id[0])


def _expected(
    order: Order, resources: Resources, upstream: set[str]
) -> Iterator[tuple[Work, str, Sequence[Rung]]]:
    """The rows that a run may work on, why, and the rungs that it may give them to."""
    for work, decision in plan_hour(order, resources):
        follows = work.id[0] in upstream
        if decision is Standing.NOT_ASKED_FOR:
            continue
        if isinstance(decision, Planned) and work.blocked is None:
            reason = decision.reason.value
            yield work, *_called(order.stage, decision, reason, follows=follows)
        elif follows:
            unknown = work.blocked is not None or order.stage.applies(work)
            yield work, FOLLOWS, order.stage.rungs if unknown else ()
        elif isinstance(decision, Planned):
            yield work, BLOCKED, ()


def _called(
    stage: Stage, planned: Planned, reason: str, *, follows: bool
) -> tuple[str, Sequence[Rung]]:
    if not stage.applies(planned.work):
        return NOTHING_TO_DO, ()
    if follows:
        return reason, stage.rungs
    rungs = stage.rungs[: planned.ceiling]
    return reason, [rung for rung in rungs if rung.requires(planned.work) is None]
