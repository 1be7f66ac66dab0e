"""`doctor`: what is wrong with this installation, and how to mend it."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pipeline_assets.adapters.feed import feed_columns
from pipeline_assets.adapters.files import write_durably
from pipeline_assets.errors import without_secrets
from pipeline_assets.resources import FALLBACK, PRIMARY, Resources, load_model
from pipeline_assets.settings import unknown_variables

LOW_DISK_BYTES = 2_000_000_000
MAX_CLOCK_SKEW_S = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: whether it is well, what was found, what to do."""

    what: str
    ok: bool
    found: str
    mend: str | None = None


class NotWell(Exception):
    """Something is wrong: what, and how to mend it."""

    def __init__(self, found: str, mend: str) -> None:
        self.found, self.mend = found, mend
        super().__init__(found)


Look = Callable[[Resources], str]


def doctor(resources: Resources) -> list[Finding]:
    """Look at storage, databases, feed, models, accelerator and clock. Never raises."""
    return list(_findings(resources))


def _findings(resources: Resources) -> Iterator[Finding]:
    for what, look, mend in LOOKS:
        try:
            yield Finding(what, True, look(resources))
        except NotWell as wrong:
            yield Finding(what, False, wrong.found, wrong.mend)
        except Exception as error:  # noqa: BLE001 - a look that fails is a finding
            yield Finding(what, False, f"{type(error).__name__}: {error}", mend)


def _settings(_resources: Resources) -> str:
    unknown = unknown_variables()
    if unknown:
        raise NotWell(f"no setting is called {', '.join(unknown)}", "correct the name, or unset it")
    return "every PIPELINE_ variable is one"


def _storage(resources: Resources) -> str:
    probe = resources.data / "work" / "doctor"
    write_durably(probe, b"written by pipeline-assets doctor")
    probe.unlink()
    free = shutil.disk_usage(resources.data).free
    if free < LOW_DISK_BYTES:
        raise NotWell(
            f"{resources.data} has {free / 1e9:.1f} GB left",
            "free some space, or set PIPELINE_DATA to another disk",
        )
    return f"{resources.data} is writable, {free / 1e9:.0f} GB free"


def _state(resources: Resources) -> str:
    resources.state.remember("doctor", True)
    resources.state.forget("doctor")
    return f"{resources.state.engine.url.render_as_string(hide_password=True)} answers"


def _clock(resources: Resources) -> str:
    with resources.state.reading() as connection:
        skew = abs(resources.state.now(connection) - resources.clock().timestamp())
    if skew > MAX_CLOCK_SKEW_S:
        raise NotWell(
            f"this host and the state database are {skew:.0f} s apart",
            "set both clocks by NTP: leases and breakers go by the database's",
        )
    return f"within {skew:.1f} s of the state database"


def _feed(resources: Resources) -> str:
    if not resources.settings.feed:
        raise NotWell("PIPELINE_FEED is not set", "set it to a CSV, JSONL or Parquet file")
    columns = feed_columns(resources.settings.feed)
    unused = f"; not used: {', '.join(columns.unknown)}" if columns.unknown else ""
    return f"{resources.settings.feed} has {', '.join(columns.known)}{unused}"


def _primary(resources: Resources) -> str:
    return load_model(resources.settings.primary_model, "cpu", PRIMARY).id


def _fallback(resources: Resources) -> str:
    return load_model(resources.settings.fallback_model, "cpu", FALLBACK).id


def _accelerator(resources: Resources) -> str:
    health = resources.accelerator.health()
    if not health.healthy:
        on_request = health.fault is not None
        raise NotWell(
            health.reason or "unhealthy",
            "`pipeline-assets accelerator heal` lifts the fault"
            if on_request
            else "mend the device, or set PIPELINE_ACCELERATOR=cpu",
        )
    memory = (
        f", {health.free_bytes / 1e9:.1f} of {health.total_bytes / 1e9:.1f} GB free"
        if health.free_bytes is not None and health.total_bytes is not None
        else ""
    )
    return f"{health.name}{memory}"


def _dagster(resources: Resources) -> str:
    from pipeline_assets.automation.storage import dagster_root, storage_url  # noqa: PLC0415
    from pipeline_assets.running import instance  # noqa: PLC0415 - loads Dagster

    settings = resources.settings
    where = without_secrets(storage_url(settings)) or dagster_root(settings)
    with instance() as dagster:
        runs = dagster.get_runs_count()
        kept = "in memory only: no dagster.yaml here" if dagster.is_ephemeral else f"in {where}"
    return f"{runs} runs, {kept}"


LOOKS: tuple[tuple[str, Look, str], ...] = (
    ("settings", _settings, "see the README's table of settings"),
    ("storage", _storage, "set PIPELINE_DATA to a folder that this user may write to"),
    (
        "state database",
        _state,
        "start the database server, free space on its disk, or set PIPELINE_STATE_URL",
    ),
    ("clock", _clock, "mend the state database first"),
    ("feed", _feed, "set PIPELINE_FEED to a CSV, JSONL or Parquet file with the columns it names"),
    ("primary model", _primary, "set PIPELINE_PRIMARY_MODEL"),
    ("fallback model", _fallback, "set PIPELINE_FALLBACK_MODEL"),
    ("accelerator", _accelerator, "set PIPELINE_ACCELERATOR"),
    (
        "Dagster",
        _dagster,
        "start the server of PIPELINE_DAGSTER_STORAGE_URL; look at dagster.yaml and DAGSTER_HOME",
    ),
)
