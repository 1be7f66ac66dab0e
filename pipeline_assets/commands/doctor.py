"""`doctor`: what is wrong with this installation, and how to mend it."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from uuid import uuid4

from pipeline_assets.commands.index import missing
from pipeline_assets.core.names import ENRICHED
from pipeline_assets.errors import Overtaken, without_secrets
from pipeline_assets.resources import FALLBACK, PRIMARY, Resources, load_model
from pipeline_assets.settings import unknown_variables
from pipeline_assets.store.files import write_durably
from pipeline_assets.store.s3_storage import S3Storage
from pipeline_assets.store.storage import NOT_THERE

LOW_DISK_BYTES = 2_000_000_000
MAX_CLOCK_SKEW_S = 5.0
PROBE = b"written by pipeline-assets doctor"
REBUILD = "`pipeline-assets index rebuild` makes it anew from enriched_items"
NAMED_HOURS = 3


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
    """Look at storage, databases, feed, models, accelerator, index and clock. Never raises."""
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
    write_durably(probe, PROBE)
    probe.unlink()
    free = shutil.disk_usage(resources.data).free
    bucket = resources.storage if isinstance(resources.storage, S3Storage) else None
    if free < LOW_DISK_BYTES:
        setting = "PIPELINE_DATA" if bucket is None else "PIPELINE_CACHE_DIR"
        raise NotWell(
            f"{resources.data} has {free / 1e9:.1f} GB left",
            f"free some space, or set {setting} to another disk",
        )
    found = f"{resources.data} is writable, {free / 1e9:.0f} GB free"
    return found if bucket is None else f"{_bucket(bucket)}; {found}"


def _bucket(storage: S3Storage) -> str:
    """Write, write on a condition that does not hold, read, list and delete."""
    work, name = storage.below("work"), f"doctor-{uuid4().hex}"
    work.put(name, PROBE)
    try:
        read, listed = work.part(name, 0, len(PROBE)), work.names("", name)
        keeps_to_conditions = _refuses_a_second_writer(work, name)
    finally:
        work.remove([name])
    if read != PROBE or listed != [name] or work.exists(name):
        raise NotWell(
            f"{work.url(name)} was written, and then read, listed or deleted otherwise",
            "take a store that shows what was written at once, as S3 does",
        )
    if not keeps_to_conditions:
        raise NotWell(
            f"{storage.url('')} takes a PUT whose condition (If-None-Match) does not hold",
            "take a store that knows conditional writes, as S3 does: with this one two hosts could "
            "write over each other's tables",
        )
    return f"{storage.url('')} can be written, on conditions too, read, listed and deleted"


def _refuses_a_second_writer(storage: S3Storage, name: str) -> bool:
    other = storage.place(name)
    other.parent.mkdir(parents=True, exist_ok=True)
    other.write_bytes(b"of another writer")
    try:
        storage.replace(other, name, NOT_THERE)
    except Overtaken:
        return True
    finally:
        other.unlink(missing_ok=True)
    return False


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
        raise NotWell(
            "PIPELINE_FEED is not set",
            "set it to a CSV, JSONL or Parquet file, a folder of such, s3://… or https://…",
        )
    columns = resources.feed.columns()
    unused = f"; not used: {', '.join(columns.unknown)}" if columns.unknown else ""
    lost, unread = resources.feed.lost()
    rejected = (
        f"; {lost} rows have no hour and {unread} files cannot be read: feed_rejects says why"
        if lost or unread
        else ""
    )
    source = without_secrets(resources.settings.feed)
    return f"{source} has {', '.join(columns.known)}{unused}{rejected}"


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


def _search_index(resources: Resources) -> str:
    from pipeline_assets.search import IndexDamaged, SearchIndex  # noqa: PLC0415 - loads FAISS

    path, follows = resources.data / "search", isinstance(resources.storage, S3Storage)
    # Not the one of the resources: where tables are in a bucket, that reads what it has not seen.
    index = SearchIndex(path)
    try:
        lacking = [] if follows else missing(index, resources.tables)
        found = f"{path} has {index.count()} items of {len(index.hours())} hours"
    except IndexDamaged as damaged:
        raise NotWell(f"{damaged.path} cannot be read: {damaged.reason}", REBUILD) from None
    finally:
        index.close()
    if lacking:
        what = f"{path} lacks" if index.exists() else f"{path} is not there, for"
        raise NotWell(f"{what} {_named(lacking)}", REBUILD)
    if index.exists():
        return found
    return f"not there yet; {'the first search' if follows else 'the first hour'} makes it"


def _named(hours: Sequence[str]) -> str:
    """How many hours, and the newest few by name."""
    newest = ", ".join(reversed(hours[-NAMED_HOURS:]))
    more = ", …" if len(hours) > NAMED_HOURS else ""
    return f"{len(hours)} of the hours of {ENRICHED} ({newest}{more})"


def _dagster(resources: Resources) -> str:
    from pipeline_assets.automation.storage import dagster_root, storage_url  # noqa: PLC0415
    from pipeline_assets.commands.running import instance  # noqa: PLC0415 - loads Dagster

    settings = resources.settings
    where = without_secrets(storage_url(settings)) or dagster_root(settings)
    with instance() as dagster:
        runs = dagster.get_runs_count()
        kept = "in memory only: no dagster.yaml here" if dagster.is_ephemeral else f"in {where}"
    return f"{runs} runs, {kept}"


LOOKS: tuple[tuple[str, Look, str], ...] = (
    ("settings", _settings, "see the README's table of settings"),
    (
        "storage",
        _storage,
        (
            "set PIPELINE_DATA to a folder that this user may write to, or to s3://bucket/prefix "
            "with AWS_ variables for credentials that may read, write, list and delete there"
        ),
    ),
    (
        "state database",
        _state,
        "start the database server, free space on its disk, or set PIPELINE_STATE_URL",
    ),
    ("clock", _clock, "mend the state database first"),
    (
        "feed",
        _feed,
        "set PIPELINE_FEED to a feed with such columns, or PIPELINE_FEED_COLUMNS to its own",
    ),
    ("primary model", _primary, "set PIPELINE_PRIMARY_MODEL"),
    ("fallback model", _fallback, "set PIPELINE_FALLBACK_MODEL"),
    ("accelerator", _accelerator, "set PIPELINE_ACCELERATOR"),
    ("search index", _search_index, REBUILD),
    (
        "Dagster",
        _dagster,
        "start the server of PIPELINE_DAGSTER_STORAGE_URL; look at dagster.yaml and DAGSTER_HOME",
    ),
)
