"""The 3 am story: two hours of a catalogue, an accelerator that gives out, and the morning after.

Everything is real but the shop's goods: the HTTP server, the models, the runs. The fault is one on
request, at the accelerator's seam.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline_assets.accelerator.accelerator import Fault, InjectedFault
from pipeline_assets.commands.accelerator import heal
from pipeline_assets.commands.running import HourRun, instance, run_hour
from pipeline_assets.commands.search import search
from pipeline_assets.core.hours import hour_name
from pipeline_assets.core.names import ENRICHED
from pipeline_assets.core.quality import COMPARED_DIGITS
from pipeline_assets.errors import SettingsError
from pipeline_assets.resources import Resources, opened
from pipeline_assets.sample.catalogue import catalogue, write_feed
from pipeline_assets.sample.shop import Shop
from pipeline_assets.settings import load_settings
from pipeline_assets.stages import stage_tables
from pipeline_assets.store.rung_calls import read_calls
from pipeline_assets.store.tables import WHOLE

if TYPE_CHECKING:
    import dagster as dg

FIRST_HOUR = datetime(2026, 3, 2, 2, tzinfo=UTC)
HOURS = (FIRST_HOUR, FIRST_HOUR + timedelta(hours=1))
SEED = 7
MARKER = "DEMO"
FAULTS = {"404": 0.005, "truncated-jpeg": 0.005, "html-as-jpeg": 0.005, "503": 0.005}
"""Shares of the items at which the shop misbehaves, as real shops do."""
OUTAGE_AFTER = 1 / 3
QUERY = "red shirt"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Act:
    """One run of the story: what it was, what it left behind, what it took."""

    title: str
    hour: str
    run_id: str
    seconds: float
    items: int
    statuses: dict[str, dict[str, int]]
    quality: dict[str, int]
    rungs: dict[str, dict[str, int]]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Story:
    """The whole demo as data."""

    items_an_hour: int
    data: str
    acts: tuple[Act, ...]
    query: str
    hits: list[dict[str, Any]]
    seconds: float


def play(items: int, say: Say) -> Story:
    """Play the story on `items` items an hour; `say` is told what is happening."""
    started = time.monotonic()
    data = load_settings().data
    if not isinstance(data, Path):
        raise SettingsError("PIPELINE_DATA", data, "a folder: the demo is played on this machine")
    _prepare(data)
    with Shop(port=0) as shop, _environment(data, shop.url), instance() as dagster:
        say(f"the sample shop is open at {shop.url}; drawing a feed of {2 * items} items")
        feed = chain.from_iterable(
            catalogue(items, SEED, hour, base_url=shop.url, faults=FAULTS) for hour in HOURS
        )
        write_feed(data / "feed.csv", feed)
        with opened() as resources:
            acts = tuple(_acts(resources, dagster, items, [hour_name(hour) for hour in HOURS], say))
            hits = search(resources, QUERY, mode="hybrid", top=5)
    return Story(items, str(data), acts, QUERY, hits, time.monotonic() - started)


def _acts(
    resources: Resources, dagster: "dg.DagsterInstance", items: int, hours: list[str], say: Say
) -> Iterator[Act]:
    first, second = hours
    say(f"{first}: the accelerator is healthy")
    yield _act("healthy", resources, run_hour_timed(first, dagster))
    after = int(items * OUTAGE_AFTER)
    resources.accelerator.fail(InjectedFault(Fault.OOM, after_rows=after))
    say(f"{second}: the accelerator runs out of memory after {after} pictures")
    yield _act("out of memory", resources, run_hour_timed(second, dagster))
    heal(resources)
    say(f"{second}: the accelerator is back; the same hour again")
    yield _act("healed", resources, run_hour_timed(second, dagster))


def run_hour_timed(hour: str, dagster: "dg.DagsterInstance") -> tuple[HourRun, float]:
    """Run an hour and take the time, in seconds."""
    started = time.monotonic()
    run = run_hour(hour, dagster)
    return run, time.monotonic() - started


def _act(title: str, resources: Resources, timed: tuple[HourRun, float]) -> Act:
    run, seconds = timed
    enriched = resources.tables.read(ENRICHED, run.hour, ["quality"])
    return Act(
        title=title,
        hour=run.hour,
        run_id=run.run_id,
        seconds=round(seconds, 1),
        items=enriched.num_rows,
        statuses=_statuses(resources, run.hour),
        quality=_distribution(enriched["quality"]),
        rungs=_rungs(resources, run),
        warnings=run.warnings,
    )


def _statuses(resources: Resources, hour: str) -> dict[str, dict[str, int]]:
    names = stage_tables(resources.settings)
    tables = {name: resources.tables.read(name, hour, ["status"]) for name in names}
    return {name: _counts(table["status"]) for name, table in tables.items()}


def _distribution(quality: pa.ChunkedArray) -> dict[str, int]:
    rounded = pc.round(quality, ndigits=COMPARED_DIGITS - 1).cast(pa.float64())
    labels = [None if value is None else f"{value:.3f}" for value in rounded.to_pylist()]
    return dict(sorted(_counts(pa.chunked_array([pa.array(labels, pa.string())])).items()))


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    return {each["values"]: each["counts"] for each in column.value_counts().to_pylist()}


def _rungs(resources: Resources, run: HourRun) -> dict[str, dict[str, int]]:
    """What came of each rung in this run: rows made and recalled, calls, rows given to them."""
    calls = read_calls(resources.tables, run.hour)
    mine = calls.filter(pc.equal(calls["run_id"], run.run_id)).to_pylist()
    shown = ("made", "recalled", "calls", "rows")
    return {
        f"{call['stage']}.{call['rung']}": {name: call[name] for name in shown} for call in mine
    }


def _prepare(data: Path) -> None:
    """An empty data root, made anew if it is a demo's own; anybody else's is left alone."""
    if data.exists() and any(path.name != "README.md" for path in data.iterdir()):
        if not (data / MARKER).is_file():
            raise SettingsError(
                "PIPELINE_DATA", data, "it holds data that no demo made; name another folder"
            )
        if foreign := _foreign_hours(data):
            raise SettingsError(
                "PIPELINE_DATA",
                data,
                f"it holds {foreign[0]}, which no demo made; name another folder",
            )
        for path in data.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != "README.md":
                path.unlink()
    data.mkdir(parents=True, exist_ok=True)
    (data / MARKER).write_text("Made by `pipeline-assets demo`, which may delete this folder.\n")


def _foreign_hours(data: Path) -> list[str]:
    """The hours of tables that are not the demo's, which somebody worked on in its folder."""
    demos = {f"hour={each}" for each in (*map(hour_name, HOURS), WHOLE)}
    return sorted(
        f"{path.parent.name}/{path.name}"
        for path in data.glob("tables/*/hour=*")
        if path.name not in demos
    )


@contextmanager
def _environment(data: Path, shop_url: str) -> Iterator[None]:
    """The settings of the demo's runs, for the length of the demo."""
    values = {
        "PIPELINE_FEED": str(data / "feed.csv"),
        "PIPELINE_FETCH_ALLOW": shop_url.partition("//")[2].rstrip("/"),
    }
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def as_data(story: Story) -> dict[str, Any]:
    """The story as plain data, for `--format json`."""
    return asdict(story)
