"""What an outage has degraded is healed by the daemon itself, and nothing else is touched."""

import hashlib
import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from pipeline_assets.core.hours import hour_name
from pipeline_assets.definitions import defs
from pipeline_assets.sample.catalogue import catalogue
from pipeline_assets_tests import hours
from pipeline_assets_tests.conftest import HOUR_START, SEED, FickleShop
from pipeline_assets_tests.e2e.graphql import PARTITION_TAG, Dagster
from pipeline_assets_tests.e2e.processes import BIN, Installation, Service, wait_for
from pipeline_assets_tests.lengths import HANG_S, IS_LONG, LONG
from pipeline_assets_tests.postgres import Stoppable

ITEMS = 8
HEALTHY, *OUTAGE = HOURS = [
    hour_name(HOUR_START + timedelta(hours=n)) for n in range(3 if IS_LONG else 2)
]
HOUR_ASSETS = [
    spec.key.to_user_string()
    for spec in defs.resolve_all_asset_specs()
    if spec.partitions_def is not None
]
HEAL, FEED, PROBES = "heal_low_quality_partitions", "feed_changed", "accelerator_health"
PRIMARY = "accelerator_clip"

SOONER = {
    "run_coordinator": {
        "module": "dagster.core.run_coordinator",
        "class": "QueuedRunCoordinator",
        "config": {"dequeue_interval_seconds": 1},
    }
}
"""The queue is looked at every five seconds, for each of the runs that wait for one another."""


@dataclass(frozen=True)
class Scene:
    """A few small hours in the feed, and the services over them."""

    installation: Installation
    services: dict[str, Service] = field(default_factory=dict)

    @property
    def data(self) -> Path:
        """The data root."""
        return Path(self.installation.settings["PIPELINE_DATA"])

    @property
    def dagster(self) -> Dagster:
        """The webserver's GraphQL."""
        return Dagster(self.services["webserver"].url)

    def command(self, *arguments: str) -> dict[str, Any]:
        """Run `pipeline-assets` as a person does; what it says."""
        done = subprocess.run(
            [BIN / "pipeline-assets", *arguments, "--format", "json"],
            cwd=self.installation.home,
            env=self.installation.environment,
            capture_output=True,
            text=True,
            timeout=HANG_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        said: dict[str, Any] = json.loads(done.stdout)
        return said

    def degraded(self, hour: str) -> set[str]:
        """The items of an hour whose label or embedding is not the primary's."""
        return {
            item
            for table in ("image_labels", "embeddings")
            for item, row in hours.rows(self.data, table, hour).items()
            if row["status"] in ("ok", "skipped") and row["rung"] != PRIMARY
        }

    def files(self, hour: str) -> Mapping[Path, str]:
        """Every file of an hour by what is in it."""
        found = (self.data / "tables").glob(f"*/hour={hour}/**/*.parquet")
        return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in found}

    def statuses(self, **tags: str) -> dict[str, list[str]]:
        """How the runs of hours with these tags stand."""
        found: dict[str, list[str]] = {}
        for run in self.dagster.runs(**tags):
            if PARTITION_TAG in run.tags:
                found.setdefault(run.tags[PARTITION_TAG], []).append(run.status)
        return found

    def healed(self) -> dict[str, list[str]]:
        """How the runs stand that the healing sensor asked for, by hour."""
        return self.statuses(pipeline_assets__asked_by=HEAL)

    def degrade(self) -> None:
        """A healthy hour, then the accelerator breaks, and the others are backfilled."""
        self.services["webserver"] = self.installation.start_webserver()
        wait_for(self.dagster.location_loaded, "the code location")
        self.dagster.stop_sensor(FEED)  # it would ask for all hours as soon as it sees the feed
        self.command("run", "--hour", HEALTHY)
        assert self.degraded(HEALTHY) == set()
        self.command("accelerator", "fail", "oom")
        backfill = self.dagster.backfill(HOUR_ASSETS, OUTAGE)
        # Not before: a daemon looks for backfills when it starts, and then twice a minute.
        self.services["daemon"] = daemon = self.installation.start_daemon()
        done = {hour: ["SUCCESS"] for hour in OUTAGE}
        daemon.until(lambda: self.statuses(dagster__backfill=backfill) == done, "the backfill")
        assert all(len(self.degraded(hour)) >= ITEMS / 2 for hour in OUTAGE)
        daemon.until(lambda: "unhealthy" in self.dagster.said_by(PROBES), "a bad probe")

    def expect_healed(self) -> None:
        """The accelerator is mended by hand, and all the rest comes by itself."""
        before = self.files(HEALTHY)
        assert self.healed() == {}
        self.command("accelerator", "heal")
        done = {hour: ["SUCCESS"] for hour in OUTAGE}
        wait_for(lambda: self.healed() == done, "the hours asked for")
        assert {hour: self.degraded(hour) for hour in HOURS} == {hour: set() for hour in HOURS}
        assert self.files(HEALTHY) == before
        assert self.command("accelerator", "status")["epoch"] == 1
        wait_for(
            lambda: self.dagster.said_by(HEAL) == "nothing improvable", "a tick with nothing to do"
        )
        assert self.healed() == done
        runs = {hour: len(statuses) for hour, statuses in self.statuses().items()}
        assert runs == {HEALTHY: 1} | dict.fromkeys(OUTAGE, 2)


@contextmanager
def scene_of(folder: Path, shop: FickleShop, more: Mapping[str, str]) -> Iterator[Scene]:
    """Hours of the sample shop, all without a fault of its own."""
    data = folder / "data"
    goods = [
        each
        for n in range(len(HOURS))
        for each in catalogue(ITEMS, SEED, HOUR_START + timedelta(hours=n), base_url=shop.url)
    ]
    hours.write_goods(data, goods)
    settings = hours.environment_of(data, shop.url) | {"PIPELINE_WORKERS": "0"} | dict(more)
    with Installation(folder, settings, changes=SOONER) as installation:
        yield Scene(installation)


@LONG
def test_the_sensor_heals_exactly_the_hours_of_the_outage(tmp_path: Path, shop: FickleShop) -> None:
    """Once the accelerator is well: each hour once, the healthy one not at all."""
    with scene_of(tmp_path, shop, {}) as scene:
        scene.degrade()
        scene.expect_healed()


def test_a_restart_of_the_database_in_between_changes_nothing(
    tmp_path: Path, shop: FickleShop, own_postgres: Stoppable
) -> None:
    """State database and Dagster's storage on PostgreSQL; webserver and daemon just go on."""
    urls = {
        "PIPELINE_STATE_URL": own_postgres.postgres.schema_url(),
        "PIPELINE_DAGSTER_STORAGE_URL": own_postgres.postgres.schema_url(),
    }
    with scene_of(tmp_path, shop, urls) as scene:
        scene.degrade()
        own_postgres.stop()
        own_postgres.start()
        scene.expect_healed()
