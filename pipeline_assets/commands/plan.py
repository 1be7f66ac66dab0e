"""`plan`: what a run of an hour would do and why, at what cost; changes nothing."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from pipeline_assets.commands.feed_news import CHANGED, NEW, FeedNews, look
from pipeline_assets.commands.pace import Pace
from pipeline_assets.core.names import ITEMS
from pipeline_assets.core.plan import Planned, Standing
from pipeline_assets.core.stage import Rung, Stage
from pipeline_assets.engine.engine import plan_hour
from pipeline_assets.engine.orders import Order
from pipeline_assets.resources import Resources
from pipeline_assets.stages import all_stages, strict_tables

BLOCKED = "waits for upstream"
NOTHING_TO_DO = "not applicable: no call"


def plan(resources: Resources, hour: str, *, items: frozenset[str], force: bool) -> dict[str, Any]:
    """The rows that each stage would work on, by reason, and those that stand.

    A stage is planned against the tables as they are now: where an upstream stage is itself about
    to change, what follows from that shows only after it ran. Where the feed is ahead of the items,
    each row of such an item is counted by the best rung.
    """
    pace = Pace(resources)
    feed = look(resources)
    news = feed.news(resources, [hour], items)[hour]
    stages = [
        _stage(resources, stage, hour, items, news, pace, force=force)
        for stage in all_stages(resources.settings)
    ]
    return {
        "hour": hour,
        "feed_rows": feed.rows_of(hour),
        "feed_lost": resources.feed.lost()[0],
        "items": resources.tables.rows(ITEMS, hour),
        "new_items": news.new,
        "changed_items": len(news.changed),
        "stages": stages,
        "cost_usd": sum(stage["cost_usd"] for stage in stages),
        "seconds": sum(stage["seconds"] or 0.0 for stage in stages),
    }


def _stage(
    resources: Resources,
    stage: Stage,
    hour: str,
    items: frozenset[str],
    news: FeedNews,
    pace: Pace,
    *,
    force: bool,
) -> dict[str, Any]:
    planned: Counter[str] = Counter()
    standing: Counter[str] = Counter()
    rows: dict[str, list[str]] = defaultdict(list)
    first: Counter[Rung] = Counter()
    strict = strict_tables(resources.settings)
    order = Order(stage.name, hour, "plan", items, force, strict=strict)
    if news.new:
        planned[NEW] += news.new_rows(stage)
        first[stage.rungs[0]] += news.new_rows(stage)
    for work, decision in plan_hour(order, resources, stage):
        reason: str
        rungs: Sequence[Rung]
        if work.id[0] in news.changed:
            reason, rungs = CHANGED, stage.rungs
        elif isinstance(decision, Standing):
            standing[decision.value] += 1
            continue
        else:
            reason, rungs = to_call(stage, decision)
        planned[reason] += 1
        first.update(rungs[:1])
        rows[reason].append("/".join(work.id))
    return {
        "stage": stage.name,
        "planned": dict(planned),
        "standing": dict(standing),
        "rows": dict(rows),
        "calls": first.total(),
        "cost_usd": sum(rung.cost_usd * count for rung, count in first.items()),
        "seconds": pace.of(stage, first),
    }


def to_call(stage: Stage, planned: Planned) -> tuple[str, Sequence[Rung]]:
    """Why a row is worked on, and the rungs that it may be given to, best first."""
    if planned.work.blocked is not None:
        return BLOCKED, ()
    if not stage.applies(planned.work):
        return NOTHING_TO_DO, ()
    rungs = stage.rungs[: planned.ceiling]
    able = [rung for rung in rungs if rung.requires(planned.work) is None]
    return planned.reason.value, able
