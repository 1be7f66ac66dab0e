"""A process that spends and retries as fast as it can: it races others in `test_budgets`.

A module of its own, so that a spawned process imports little else.
"""

from collections.abc import Mapping
from functools import partial
from multiprocessing.synchronize import Barrier
from typing import TYPE_CHECKING

from pipeline_assets.state.budgets import Budgets
from pipeline_assets.state.database import State
from pipeline_assets_tests.lengths import HANG_S

if TYPE_CHECKING:
    from multiprocessing.queues import Queue

Told = tuple[str, list[int], int]
"""A stage, the rows that it paid for on each day, and those that it retried."""

COST_USD = 0.01
ROWS = 7
DAYS = 12
CALLS_A_DAY = 4
DAY_S = 86400.0


def spend_and_retry(
    url: str, now: float, stage: str, caps: Mapping[str, float], meet: Barrier, told: "Queue[Told]"
) -> None:
    """Ask for more than there is, every day at once with the others, and tell what was granted."""
    days = [now + day * DAY_S for day in range(DAYS)]
    granted, retried = [], 0
    for today in days:
        state = State(url, clock=partial(float, today))
        budget = Budgets(state, daily_usd=caps["all"], stage_daily_usd=caps).stage(stage)
        meet.wait(timeout=HANG_S)
        granted.append(sum(budget.spend(COST_USD, ROWS).rows for _ in range(CALLS_A_DAY)))
        retried += sum(budget.retries(ROWS) for _ in range(CALLS_A_DAY))
        budget.succeeded(1)
        state.close()
    told.put((stage, granted, retried))
