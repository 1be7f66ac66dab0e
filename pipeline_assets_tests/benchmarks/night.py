"""A night of 24 hours: the accelerator down for six of them, the database and the daemon hit once.

Each hour is run in this process, as `pipeline-assets run` does, when its feed has just come. A real
daemon runs beside it on the same PostgreSQL: its sensors probe, ask for what is to be healed, and
its queue heals it while the later hours are run. The database is restarted between two hours of
the outage; the daemon is killed with all that it started, in the middle of the first healing.
The hours follow one another at once, not each sixty minutes.
"""

import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from pipeline_assets.accelerator.accelerator import Fault, InjectedFault
from pipeline_assets.commands.accelerator import heal
from pipeline_assets.core.hours import hour_name
from pipeline_assets.healing.hours import WaitsFor
from pipeline_assets.resources import Resources, opened
from pipeline_assets.sample.catalogue import catalogue, write_feed
from pipeline_assets.sample.shop import Shop
from pipeline_assets.stages import STAGES
from pipeline_assets.store.rung_calls import read_calls
from pipeline_assets_tests import hours as hours_of_tests
from pipeline_assets_tests.benchmarks.measure import PIPED_WIDTH, Measure
from pipeline_assets_tests.conftest import HOUR_START, SEED
from pipeline_assets_tests.e2e.processes import Installation, Service, wait_for
from pipeline_assets_tests.postgres import NO_BINARIES, Stoppable, find_binaries, stoppable

if TYPE_CHECKING:
    import dagster as dg

HOURS = tuple(HOUR_START + timedelta(hours=number) for number in range(24))
DOWN, UP, RESTARTED = 3, 9, 6
"""Before which hours the accelerator fails, is mended, and the database is restarted."""

FAULTS = {"404": 0.01, "truncated-jpeg": 0.01}
HEAL_TAG = {"pipeline_assets/asked_by": "heal_low_quality_partitions"}
HEALED_WITHIN_S = 600.0
BAR_S = 600.0
SOONER = {"run_monitoring": {"poll_interval_seconds": 2}}
"""Run monitoring looks once a minute for runs that died; this night's hours last seconds."""

RowKey = tuple[str, str, str]
"""Stage, item and role."""

Made = dict[RowKey, tuple[str | None, str]]
"""Which rung made a row, and in which run."""


@dataclass
class Hour:
    """What an hour's own run left, and how good the hour was then."""

    name: str
    run_id: str
    seconds: float
    stuck: int
    is_there: bool
    quality: float
    made: Made
    what: str = ""


@dataclass
class Night:
    """The night as it goes on."""

    items: int
    installation: Installation
    database: Stoppable
    shop_url: str
    dagster: "dg.DagsterInstance"
    daemon: Service
    hours: list[Hour] = field(default_factory=list)
    killed_after: str = ""

    def go_through(self) -> None:
        """All hours, and then wait until nothing is left to heal."""
        for number in range(len(HOURS)):
            what = self._before(number)
            self.hours.append(self._hour(number, what))
            self._say(self.hours[-1])
            self.kill_daemon_once()
        with opened() as resources:
            wait_for(
                lambda: self._all_healed(resources),
                "nothing left to heal",
                patience_s=HEALED_WITHIN_S,
            )
        if not self.killed_after:
            raise RuntimeError("no healing run was seen at work, so the daemon was never killed")

    def kill_daemon_once(self) -> None:
        """As soon as it heals, and with what it started; then start it again."""
        if not self.killed_after and self._heal_runs("STARTED"):
            self.daemon.kill()
            self.daemon = self.installation.start_daemon()
            self.killed_after = self.hours[-1].name

    def _before(self, number: int) -> str:
        with opened() as resources:
            if number == DOWN:
                resources.accelerator.fail(InjectedFault(Fault.OOM))
                return "accelerator down"
            if number == UP:
                heal(resources)
                return "accelerator mended"
        if number == RESTARTED:
            self.database.stop()
            self.database.start()
            return "database restarted"
        return ""

    def _hour(self, number: int, what: str) -> Hour:
        from pipeline_assets.commands.running import run_hour  # noqa: PLC0415 - after the environment is set

        name = hour_name(HOURS[number])
        feed = (
            catalogue(self.items, SEED, start, base_url=self.shop_url, faults=FAULTS)
            for start in HOURS[: number + 1]
        )
        with opened() as resources:
            write_feed(Path(resources.settings.feed), chain.from_iterable(feed))
            started = time.monotonic()
            run = run_hour(name, self.dagster)
            seconds = time.monotonic() - started
            enriched = resources.tables.read("enriched_items", name).to_pylist()
            return Hour(
                name,
                run.run_id,
                seconds,
                stuck(resources, name),
                {row["run_id"] for row in enriched} == {run.run_id} and len(enriched) == self.items,
                quality_of(resources, name),
                made_of(resources, name),
                what,
            )

    def _all_healed(self, resources: Resources) -> bool:
        self.kill_daemon_once()
        waiting = resources.hours.wanted(WaitsFor.ACCELERATOR, "", 0)
        return not waiting and not self._heal_runs("QUEUED", "STARTING", "STARTED")

    def _heal_runs(self, *statuses: str) -> int:
        import dagster as dg  # noqa: PLC0415 - a second

        wanted = [dg.DagsterRunStatus(status) for status in statuses]
        return len(self.dagster.get_runs(dg.RunsFilter(tags=HEAL_TAG, statuses=wanted)))

    def _say(self, hour: Hour) -> None:
        print(
            f"{hour.name}: {hour.quality:.3f} in {hour.seconds:.1f} s {hour.what}",
            file=sys.stderr,
            flush=True,
        )


@dataclass(frozen=True, slots=True)
class Given:
    """What the primary rungs were given in all runs: rows, values by stage, failed calls by reason.

    A run that was killed has noted nothing; what it made is durable, and counts for nobody. A batch
    that did not fit is a failed call too, and its rows are given again in smaller ones.
    """

    rows: int
    made: Counter[str]
    failures: Mapping[str, int]


def measures(items: int) -> Iterator[Measure]:
    """Play the night and print its timeline; a figure for each thing that it promises."""
    binaries = find_binaries()
    if binaries is None:
        print(f"left out: {NO_BINARIES}", file=sys.stderr)
        return
    started = time.monotonic()
    with TemporaryDirectory() as folder, Shop() as shop, stoppable(binaries, {}) as database:
        settings = {
            **hours_of_tests.environment_of(Path(folder) / "data", shop.url),
            "PIPELINE_STATE_URL": database.postgres.schema_url(),
            "PIPELINE_DAGSTER_STORAGE_URL": database.postgres.schema_url(),
            "PIPELINE_WORKERS": "0",
            "PIPELINE_HEAL_IN_FLIGHT": "2",
        }
        # These hours closed long ago: `feed_changed` would ask for each as soon as its rows come.
        without_feed = {name: each for name, each in settings.items() if name != "PIPELINE_FEED"}
        with Installation(Path(folder), without_feed, changes=SOONER) as installation:
            (Path(folder) / "data").mkdir()
            home = {"DAGSTER_HOME": str(installation.home)}
            with hours_of_tests.environment({**settings, **home}, installation.home):
                yield from _played(items, installation, database, shop)
    took = time.monotonic() - started
    yield Measure(f"night, {items} items an hour: in all", took, "s", "bar", BAR_S)


def _played(
    items: int, installation: Installation, database: Stoppable, shop: Shop
) -> Iterator[Measure]:
    from pipeline_assets.commands.running import instance  # noqa: PLC0415 - after the environment is set

    with instance() as dagster:
        daemon = installation.start_daemon()
        night = Night(items, installation, database, shop.url, dagster, daemon)
        night.go_through()
    with opened() as resources:
        show(night, resources)
        yield from _figures(night, resources, shop)


def _figures(night: Night, resources: Resources, shop: Shop) -> Iterator[Measure]:
    what = f"night, {night.items} items an hour"
    end = {key: made for hour in night.hours for key, made in made_of(resources, hour.name).items()}
    left = sum(stuck(resources, hour.name) for hour in night.hours)
    waiting = sum(each.improvable for each in resources.hours.all())
    given = given_to_primary(resources)
    theirs = Counter(
        key[0] for key, (rung, _run) in end.items() if rung in PRIMARIES.get(key[0], ())
    )
    twice = sum((given.made - theirs).values())
    print(
        f"the primary was given {given.rows} rows and made {given.made.total()}; failed calls: "
        f"{dict(given.failures)}; the daemon was killed after {night.killed_after}",
        file=sys.stderr,
    )

    def none(name: str, count: int) -> Measure:
        return Measure(f"{what}: {name}", count, "", "bar", 0)

    yield none("items stuck after any run", sum(hour.stuck for hour in night.hours) + left)
    yield none("hours not materialized by their own run", sum(not h.is_there for h in night.hours))
    yield none("improvable rows left after recovery", waiting)
    yield none("values that the primary made twice", twice)
    yield Measure(
        f"{what}: rows given to the primary in vain",
        given.rows - given.made.total(),
        "",
        "all",
        given.rows,
        bar=None,
    )
    yield none("good rows redone", sum(redone(hour, end) for hour in night.hours))
    named = named_by_hours(resources)
    again = sum(count > named[f"{shop.url}{path}"] for path, count in shop.all_requests().items())
    yield none("addresses that an hour asked for twice", again)


PRIMARIES = {
    stage.name: {rung.name for rung in stage.rungs if rung.accelerated}
    for stage in STAGES
    if any(rung.accelerated for rung in stage.rungs)
}


def redone(hour: Hour, end: Made) -> int:
    """The rows that were as good as can be after the hour's run, and are another run's now."""
    return sum(
        end[key] != (rung, run)
        for key, (rung, run) in hour.made.items()
        if key[0] not in PRIMARIES or rung in PRIMARIES[key[0]]
    )


def given_to_primary(resources: Resources) -> Given:
    """Over all hours and runs, as each run has noted it."""
    rows, made, failed = 0, Counter[str](), Counter[str]()
    for start in HOURS:
        for call in read_calls(resources.tables, hour_name(start)).to_pylist():
            if call["rung"] in PRIMARIES.get(call["stage"], ()):
                rows += call["rows"]
                made[call["stage"]] += call["made"]
                failed.update(dict(call["errors"]))
    return Given(rows, made, failed)


def named_by_hours(resources: Resources) -> Counter[str]:
    """In how many hours an address is named: items of several hours may share a picture."""
    named = Counter[str]()
    for start in HOURS:
        items = resources.tables.read("items", hour_name(start), ["document_url", "image_url"])
        named.update({url for column in items.columns for url in column.to_pylist() if url})
    return named


def stuck(resources: Resources, hour: str) -> int:
    """The rows of an hour that are neither done nor said to be given up, in any stage."""
    return sum(row["status"] == "pending" for _stage, row in _rows(resources, hour))


def quality_of(resources: Resources, hour: str) -> float:
    """The mean quality of an hour's items."""
    found = [row["quality"] for row in resources.tables.read("enriched_items", hour).to_pylist()]
    return sum(found) / len(found)


def made_of(resources: Resources, hour: str) -> Made:
    """Which rung made each row, and in which run; not what only puts together what was made."""
    return {
        (stage, row["item_id"], row.get("role") or ""): (row["rung"], row["run_id"])
        for stage, row in _rows(resources, hour)
        if stage != "enriched_items"
    }


def _rows(resources: Resources, hour: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for stage in STAGES:
        for row in resources.tables.read(stage.name, hour).to_pylist():
            yield stage.name, row


def show(night: Night, resources: Resources) -> None:
    """The timeline: each hour's quality after its own run, and in the end."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    table = Table(show_edge=False)
    for column in ("hour", "own run, s", "quality then", "quality in the end", "what happened"):
        table.add_column(column, justify="right" if "quality" in column else "left")
    for hour in night.hours:
        after = quality_of(resources, hour.name)
        table.add_row(
            hour.name, f"{hour.seconds:.1f}", f"{hour.quality:.3f}", f"{after:.3f}", hour.what
        )
    console.print(table)
