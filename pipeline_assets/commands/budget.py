"""`budget list | pause | resume`."""

import getpass
import os
import socket
from typing import Any

from pipeline_assets.core.budget import TokenBucket
from pipeline_assets.errors import SettingsError
from pipeline_assets.resources import Resources
from pipeline_assets.stages import all_stages
from pipeline_assets.state.budgets import EVERY


def budgets(resources: Resources) -> list[dict[str, Any]]:
    """What was spent today, the caps, the retry tokens and the pauses: in all, and by stage.

    Names that no stage has, as a cap with a typo has one, come last and are `known: false`.
    """
    store, names = resources.budgets, _names(resources)
    spent, pauses = store.spent_today(), store.pauses()
    caps = {**store.stage_daily_usd, EVERY: store.daily_usd}
    buckets = {**dict.fromkeys(names, TokenBucket()), **store.buckets()}
    others = sorted({*caps, *spent, *buckets, *pauses} - {EVERY, *names})
    return [
        {
            "stage": name,
            "known": name not in others,
            "spent_usd": spent.get(name, 0.0),
            "cap_usd": caps.get(name),
            "retries_left": buckets[name].tokens if name in buckets else None,
            "paused": str(pauses[name]) if name in pauses else None,
        }
        for name in (EVERY, *names, *others)
    ]


def pause(resources: Resources, stage: str | None, why: str) -> list[dict[str, Any]]:
    """Pause the paid calls and the retries within a run of a stage, or of all.

    Raises `SettingsError` for a name that no stage has.
    """
    resources.budgets.pause(_checked(resources, stage), who=_who(), why=why)
    return budgets(resources)


def resume(resources: Resources, stage: str | None) -> list[dict[str, Any]]:
    """Take back the pause of a stage, or the one of all; what else is paused stays so.

    Raises `SettingsError` for a name that no stage has.
    """
    resources.budgets.resume(_checked(resources, stage))
    return budgets(resources)


def _checked(resources: Resources, stage: str | None) -> str:
    if stage is None:
        return EVERY
    names = _names(resources)
    if stage not in names:
        raise SettingsError("stage", stage, f"one of {', '.join(names)}; without one, all stages")
    return stage


def _names(resources: Resources) -> tuple[str, ...]:
    return tuple(stage.name for stage in all_stages(resources.settings))


def _who() -> str:
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        name = f"uid {os.getuid()}"
    return f"{name}@{socket.gethostname()}"
