"""`plan`: what a run of an hour would do and why, at what cost; changes nothing."""

from collections import Counter, defaultdict
from typing import Any

import pyarrow.compute as pc

from pipeline_assets.adapters.engine import plan_hour
from pipeline_assets.adapters.history import hours_with_calls, read_calls
from pipeline_assets.adapters.orders import Order
from pipeline_assets.core.plan import Planned, Standing
from pipeline_assets.core.stage import Stage
from pipeline_assets.errors import FeedError
from pipeline_assets.resources import Resources
from pipeline_assets.stages import all_stages, strict_tables
from pipeline_assets.stages.items import ITEMS, feed_hours

BLOCKED = "waits for upstream"
NOTHING_TO_DO = "not applicable: no call"


def plan(resources: Resources, hour: str, *, items: frozenset[str], force: bool) -> dict[str, Any]:
    """The rows that each stage would work on, by reason, and those that stand.

    A stage is planned against the tables as they are now: where an upstream stage is itself about
    to change, what follows from that shows only after it ran.
    """
    stages = [
        _stage(resources, stage, hour, items, force=force)
        for stage in all_stages(resources.settings)
    ]
    return {
        "hour": hour,
        "feed_rows": _feed_rows(resources, hour),
        "feed_lost": resources.feed.lost()[0],
        "items": resources.tables.rows(ITEMS, hour),
        "stages": stages,
        "cost_usd": sum(stage["cost_usd"] for stage in stages),
        "seconds": sum(stage["seconds"] or 0.0 for stage in stages),
    }


def _feed_rows(resources: Resources, hour: str) -> int | None:
    try:
        return feed_hours(resources)[hour]
    except FeedError:
        return None


def _stage(
    resources: Resources, stage: Stage, hour: str, items: frozenset[str], *, force: bool
) -> dict[str, Any]:
    planned: Counter[str] = Counter()
    standing: Counter[str] = Counter()
    rows: dict[str, list[str]] = defaultdict(list)
    to_call = 0
    strict = strict_tables(resources.settings)
    order = Order(stage, hour, "plan", items, force, strict=strict)
    for work, decision in plan_hour(order, resources):
        if isinstance(decision, Standing):
            standing[decision.value] += 1
            continue
        reason, calls = _reason(stage, decision)
        planned[reason] += 1
        to_call += calls
        rows[reason].append("/".join(work.id))
    seconds = _seconds_a_row(resources, stage, hour)
    return {
        "stage": stage.name,
        "planned": dict(planned),
        "standing": dict(standing),
        "rows": dict(rows),
        "calls": to_call,
        "cost_usd": to_call * stage.rungs[0].cost_usd,
        "seconds": None if seconds is None else to_call * seconds,
    }


def _reason(stage: Stage, decision: Planned) -> tuple[str, int]:
    if decision.work.blocked is not None:
        return BLOCKED, 0
    if not stage.applies(decision.work):
        return NOTHING_TO_DO, 0
    rungs = stage.rungs[: decision.ceiling]
    return decision.reason.value, int(any(rung.requires(decision.work) is None for rung in rungs))


def _seconds_a_row(resources: Resources, stage: Stage, hour: str) -> float | None:
    """What a row of the best rung has taken, from this hour or the latest one that has calls."""
    for candidate in [hour, *reversed(hours_with_calls(resources.tables))]:
        calls = read_calls(resources.tables, candidate)
        mine = calls.filter(
            pc.and_(
                pc.equal(calls["stage"], stage.name), pc.equal(calls["rung"], stage.rungs[0].name)
            )
        )
        rows = pc.sum(mine["rows"]).as_py()
        if rows:
            return float(pc.sum(mine["seconds"]).as_py() / rows)
    return None
