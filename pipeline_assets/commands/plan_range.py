"""`plan` over a range: what a backfill would do, hour by hour, and cost at most; changes nothing.

Each hour is planned against the tables as they are now. Where a row of one stage is about to
change, the rows that depend on it may change after it: they are counted as if they did, and as if
every rung that may be called were called as often as it may be. An item that is new or changed in
the feed is counted as if all of it were made. A run does that much or less. The time is what these
rows take if each is made by the best of its rungs.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline_assets.commands.feed_news import CHANGED, NEW, FeedNews, look
from pipeline_assets.commands.pace import Pace
from pipeline_assets.commands.plan import BLOCKED, to_call
from pipeline_assets.core.names import ITEMS
from pipeline_assets.core.plan import Planned, Standing
from pipeline_assets.core.rows import Work
from pipeline_assets.core.stage import Rung, Stage
from pipeline_assets.core.status import Status
from pipeline_assets.engine.engine import plan_hour
from pipeline_assets.engine.orders import Order
from pipeline_assets.resources import Resources
from pipeline_assets.stages import all_stages, strict_tables

FOLLOWS = "may follow from upstream"


@dataclass(slots=True)
class Forecast:
    """What runs would do at most: rows by stage and reason, and rows given to each rung.

    `best` are the rows by the best of the rungs that they may be given to.
    """

    rows: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    calls: Counter[str] = field(default_factory=Counter)
    best: dict[Stage, Counter[Rung]] = field(default_factory=lambda: defaultdict(Counter))
    cost_usd: float = 0.0

    def count(self, stage: Stage, reason: str, rungs: Sequence[Rung], rows: int = 1) -> None:
        """Count rows that are worked on for a reason, by these rungs at most."""
        self.rows[stage.name][reason] += rows
        self.best[stage].update(dict.fromkeys(rungs[:1], rows))
        for rung in rungs:
            tries = 1 if rung.backoff is None else rung.backoff.tries
            self.calls[f"{stage.name}.{rung.name}"] += rows * tries
            self.cost_usd += rows * tries * rung.cost_usd

    def add(self, other: "Forecast") -> None:
        """Count another hour in."""
        for stage, reasons in other.rows.items():
            self.rows[stage].update(reasons)
        self.calls.update(other.calls)
        for of, best in other.best.items():
            self.best[of].update(best)
        self.cost_usd += other.cost_usd

    def shown(self, pace: Pace) -> dict[str, Any]:
        """As the command gives it; the seconds are None where a rung was never measured."""
        seconds = [pace.of(stage, best) for stage, best in self.best.items()]
        return {
            "rows": {stage: dict(reasons) for stage, reasons in self.rows.items()},
            "calls_at_most": dict(self.calls),
            "cost_usd_at_most": self.cost_usd,
            "seconds": None if None in seconds else sum((each or 0.0 for each in seconds), 0.0),
        }


def plan_range(
    resources: Resources,
    hours: Sequence[str],
    *,
    items: frozenset[str],
    force: bool,
    steps: Callable[[Sequence[str]], Iterable[str]] = iter,
) -> dict[str, Any]:
    """Each hour's forecast, and that of all of them together; there is at least one hour.

    The hours are gone through as `steps` gives them, which may show how far that is.
    """
    feed = look(resources)
    pace = Pace(resources)
    total = Forecast()
    planned = []
    all_news = feed.news(resources, hours, items)
    for hour in steps(hours):
        present = resources.tables.exists(ITEMS, hour)
        rows = resources.tables.rows(ITEMS, hour) if present else 0
        news = all_news[hour]
        forecast = Forecast()
        _count_new(resources, news, forecast)
        if present:
            _count_present(resources, hour, items, news, forecast, force=force)
        total.add(forecast)
        planned.append(
            {
                "hour": hour,
                "materialized": present,
                "feed_rows": feed.rows_of(hour),
                "items": rows,
                "new_items": news.new,
                "changed_items": len(news.changed),
                **forecast.shown(pace),
            }
        )
    return {
        "from": planned[0]["hour"],
        "to": planned[-1]["hour"],
        "feed_problem": feed.problem,
        "hours": planned,
        "total": total.shown(pace),
    }


def _count_new(resources: Resources, news: FeedNews, forecast: Forecast) -> None:
    """Items that no table has yet: each of their rows may be given to every rung."""
    if news.new:
        for stage in all_stages(resources.settings):
            forecast.count(stage, NEW, stage.rungs, news.new_rows(stage))


def _count_present(
    resources: Resources,
    hour: str,
    items: frozenset[str],
    news: FeedNews,
    forecast: Forecast,
    *,
    force: bool,
) -> None:
    strict = strict_tables(resources.settings)
    changing: dict[str, set[str]] = {}
    for stage in all_stages(resources.settings):
        order = Order(stage.name, hour, "plan", items, force, strict=strict)
        upstream = set().union(*(changing.get(table, ()) for table in stage.upstream))
        changing[stage.name] = set()
        expected = _expected(order, stage, resources, news.changed, upstream)
        for work, reason, rungs, changes in expected:
            forecast.count(stage, reason, rungs)
            if changes:
                changing[stage.name].add(work.id[0])


def _expected(
    order: Order,
    stage: Stage,
    resources: Resources,
    changed: frozenset[str],
    upstream: set[str],
) -> Iterator[tuple[Work, str, Sequence[Rung], bool]]:
    """The rows that a run may work on, why, by which rungs, and whether more may follow."""
    for work, decision in plan_hour(order, resources, stage):
        follows = work.id[0] in upstream
        if decision is Standing.NOT_ASKED_FOR:
            continue
        if work.id[0] in changed:
            yield work, CHANGED, stage.rungs, True
        elif isinstance(decision, Planned) and work.blocked is None:
            reason, rungs = to_call(stage, decision)
            if follows and stage.applies(work):
                rungs = stage.rungs
            yield work, reason, rungs, follows or not _stays(stage, decision)
        elif follows:
            unknown = work.blocked is not None or stage.applies(work)
            yield work, FOLLOWS, stage.rungs if unknown else (), True
        elif isinstance(decision, Planned):
            yield work, BLOCKED, (), False


def _stays(stage: Stage, planned: Planned) -> bool:
    """Whether the row is written again only to say once more that there is nothing to do."""
    old = planned.old
    still = old is not None and old.status is Status.NOT_APPLICABLE
    return still and not stage.applies(planned.work)
