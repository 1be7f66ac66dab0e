"""Hours that were built before there was an index of the hours are put into it, newest first.

Their summaries are there already, if of a program that said less; nothing is run for it.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline_assets.core.names import QUALITY_SUMMARY
from pipeline_assets.errors import ContractError
from pipeline_assets.monitoring.derived import derive
from pipeline_assets.stages import stage_tables, within_reach

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline_assets.resources import Resources

log = logging.getLogger(__name__)

LOOKED_BACK_TO = "hours.looked_back_to"
"""The fact which of the hours was the last to be looked at; `ALL` once there is no older one."""
ALL = ""

PATIENCE_S = 5.0
"""How long a look goes on: a summary takes milliseconds, one that is made anew some thirty. What is
left is for the next look."""


def learn_hours(resources: Resources, timer: Callable[[], float] = time.monotonic) -> int:
    """Put hours that have a summary into the index that lacks them, and say how many.

    Once all have been looked at, that is remembered with the state, and a look costs nothing.
    """
    looked_back_to = resources.state.fact(LOOKED_BACK_TO)
    if looked_back_to == ALL:
        return 0
    until = timer() + PATIENCE_S
    learnt = 0
    for hour in _unknown(resources, looked_back_to):
        if timer() >= until:
            break
        learnt += _learn(resources, hour)
        looked_back_to = hour
    else:
        looked_back_to = ALL
    resources.state.remember(LOOKED_BACK_TO, looked_back_to)
    return learnt


def _unknown(resources: Resources, looked_back_to: str | None) -> list[str]:
    known = resources.hours.names()
    there = reversed(resources.tables.hours(QUALITY_SUMMARY))
    return [
        hour
        for hour in there
        if hour not in known and (looked_back_to is None or hour < looked_back_to)
    ]


def _learn(resources: Resources, hour: str) -> int:
    """One hour's damaged file must not keep the others from healing."""
    try:
        return _learnt(resources, hour)
    except (OSError, pa.ArrowException, ContractError) as error:
        log.warning("the hour %s is not known to the sensors until it is run: %s", hour, error)
        return 0


def _learnt(resources: Resources, hour: str) -> int:
    try:
        return resources.hours.restore(hour)
    except ContractError:  # an older program's: it says too little
        settings = resources.settings
        stages, reach = stage_tables(settings), within_reach(settings)
        threshold = settings.quality_threshold
        made = derive(resources.tables, QUALITY_SUMMARY, hour, threshold, stages, reach)
        return resources.hours.keep_unknown(hour, made)
