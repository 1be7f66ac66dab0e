"""`retry-queue`, `dead-letters list`, `breakers list | reset | open`."""

from dataclasses import asdict
from typing import Any

import duckdb

from pipeline_assets.core.breaker import Mode
from pipeline_assets.derived import DEAD_LETTERS, RETRY_QUEUE
from pipeline_assets.errors import SettingsError
from pipeline_assets.resources import Resources
from pipeline_assets.stages import STAGES


def retry_queue(resources: Resources, limit: int) -> list[dict[str, Any]]:
    """Improvable rows of items under the threshold, worst item first."""
    return _slices(resources, RETRY_QUEUE.name, "item_quality, hour, item_id, stage", limit)


def dead_letters(resources: Resources, limit: int) -> list[dict[str, Any]]:
    """Rows that trying again cannot help, newest hour first."""
    return _slices(resources, DEAD_LETTERS.name, "hour DESC, item_id, stage", limit)


def breakers(resources: Resources) -> list[dict[str, Any]]:
    """Every breaker that has ever recorded something."""
    now = resources.breakers.now()
    return [
        {
            "breaker": name,
            "mode": state.mode.value,
            "failures": sum(call.failed for call in state.calls),
            "next_call_in_s": max(0.0, state.retry_at - now) if state.mode is Mode.OPEN else None,
            "reopenings": state.reopenings,
            "generation": state.generation,
        }
        for name, state in resources.breakers.all().items()
    ]


def reset_breaker(resources: Resources, name: str) -> dict[str, Any]:
    """Close a breaker. Raises `SettingsError` for a name that no rung has."""
    _check_name(name)
    resources.breakers.reset(name)
    return _breaker(resources, name)


def open_breaker(resources: Resources, name: str) -> dict[str, Any]:
    """Force a breaker open until it is reset. Raises `SettingsError` for an unknown name."""
    _check_name(name)
    resources.breakers.force(name, Mode.FORCED_OPEN)
    return _breaker(resources, name)


def _check_name(name: str) -> None:
    rungs = [f"{stage.name}.{rung.name}" for stage in STAGES for rung in stage.rungs]
    if name.partition("@")[0] not in rungs:
        raise SettingsError(
            "breaker", name, f"one of {', '.join(rungs)}, or one of these with @ and a host"
        )


def _breaker(resources: Resources, name: str) -> dict[str, Any]:
    return {"breaker": name, **asdict(resources.breakers.load(name))}


def _slices(resources: Resources, name: str, order: str, limit: int) -> list[dict[str, Any]]:
    files = [str(resources.tables.path(name, hour)) for hour in resources.tables.hours(name)]
    if not files:
        return []
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        found = connection.read_parquet(files, hive_partitioning=True).order(order).limit(limit)
        columns = found.columns
        return [dict(zip(columns, row, strict=True)) for row in found.fetchall()]
