"""`breakers list | events | open | disable | reset`."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from pipeline_assets.core.breaker import Mode
from pipeline_assets.errors import SettingsError
from pipeline_assets.resources import Resources
from pipeline_assets.stages import all_stages


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


def events(resources: Resources, name: str | None, limit: int) -> list[dict[str, Any]]:
    """Transitions, newest first: of all breakers, or of one with its hosts.

    Raises `SettingsError` for a name that no rung has.
    """
    if name is not None:
        _check_name(resources, name)
    return [
        {
            "at": datetime.fromtimestamp(event.at, UTC),
            "breaker": event.name,
            "generation": event.generation,
            "from": event.from_mode.value,
            "to": event.to_mode.value,
            "reason": event.reason,
        }
        for event in resources.breakers.events(name, limit)
    ]


def reset_breaker(resources: Resources, name: str) -> dict[str, Any]:
    """Close a breaker. Raises `SettingsError` for a name that no rung has."""
    _check_name(resources, name)
    resources.breakers.reset(name)
    return _breaker(resources, name)


def open_breaker(resources: Resources, name: str, seconds: float | None) -> dict[str, Any]:
    """Open a breaker for some time, or force it open until it is reset.

    Raises `SettingsError` for a name that no rung has.
    """
    _check_name(resources, name)
    if seconds is None:
        resources.breakers.force(name, Mode.FORCED_OPEN)
    else:
        resources.breakers.open_for(name, seconds)
    return _breaker(resources, name)


def disable_breaker(resources: Resources, name: str) -> dict[str, Any]:
    """Let every call through until it is reset. Raises `SettingsError` for an unknown name."""
    _check_name(resources, name)
    resources.breakers.force(name, Mode.DISABLED)
    return _breaker(resources, name)


def _check_name(resources: Resources, name: str) -> None:
    stages = all_stages(resources.settings)
    rungs = [f"{stage.name}.{rung.name}" for stage in stages for rung in stage.rungs]
    if name.partition("@")[0] not in rungs:
        raise SettingsError(
            "breaker", name, f"one of {', '.join(rungs)}, or one of these with @ and a host"
        )


def _breaker(resources: Resources, name: str) -> dict[str, Any]:
    return {"breaker": name, **asdict(resources.breakers.load(name))}
