"""Whatever is killed, starting it again is all that there is to do."""

import asyncio
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pytest
from aiohttp import web

from pipeline_assets.sample.catalogue import catalogue
from pipeline_assets.sample.shop import Shop
from pipeline_assets.stages import fetch
from pipeline_assets_tests import hours
from pipeline_assets_tests.conftest import HOUR, HOUR_START, SEED, Goods
from pipeline_assets_tests.e2e.graphql import PARTITION_TAG, Dagster, Run
from pipeline_assets_tests.e2e.processes import Installation, Service, wait_for
from pipeline_assets_tests.lengths import LONG

ITEMS = 150
MICRO_BATCH = fetch.STAGE.micro_batch
ENDED = ("SUCCESS", "FAILURE", "CANCELED")
SOONER = {"run_monitoring": {"poll_interval_seconds": 2}}
"""Run monitoring looks once a minute; a test has no minute."""


class HeldShop(Shop):
    """The sample shop, which keeps whoever asks for one picture waiting until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.held = ""
        self.released = threading.Event()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == self.held:
            await asyncio.get_running_loop().run_in_executor(None, self.released.wait)
        return await super()._answer(request)


@dataclass(frozen=True)
class Scene:
    """An installation in the middle of an hour: the last micro-batch of its fetch hangs."""

    installation: Installation
    data: Path
    shop: HeldShop
    services: dict[str, Service] = field(default_factory=dict)

    def start(self, *names: str) -> None:
        """Start services, in the place of those of the same name that were killed."""
        for name in names:
            start = {
                "daemon": self.installation.start_daemon,
                "webserver": self.installation.start_webserver,
            }[name]
            self.services[name] = start()

    @property
    def dagster(self) -> Dagster:
        """The webserver's GraphQL."""
        return Dagster(self.services["webserver"].url)

    def launched(self) -> str:
        """A run of the hour that hangs with some of its rows durable."""
        wait_for(self.dagster.location_loaded, "the code location")
        self.dagster.stop_sensor("feed_changed")  # it would ask for the hour as well
        run = self.dagster.launch("hour", HOUR)
        self.services["daemon"].until(
            lambda: len(self.durable()) >= MICRO_BATCH, "the first durable micro-batch"
        )
        return run

    def expect_completed_after(
        self, cut_off: str, durable: set[str], asked: Mapping[str, int]
    ) -> None:
        """The run is called a failure, another one completes the hour, nothing is redone."""
        daemon = self.services["daemon"]
        ended = daemon.until(lambda: self.started_again(cut_off), "the end of the second run")
        assert ended.status == "SUCCESS", self.dagster.messages(ended.id)[-3:]
        statuses = {run.id: run.status for run in self.dagster.runs(**{PARTITION_TAG: HOUR})}
        assert statuses[cut_off] == "FAILURE"
        fetched = hours.rows(self.data, "fetched")
        assert {key for key, row in fetched.items() if row["run_id"] == cut_off} == durable
        again = {
            path for path, count in self.shop.all_requests().items() if count > asked.get(path, 0)
        }
        assert {f"{self.shop.url}{path}" for path in again} <= {
            row["url"] for key, row in fetched.items() if key not in durable
        }
        assert len(hours.rows(self.data, "enriched_items")) == ITEMS + 1

    def started_again(self, run: str) -> Run | None:
        """The run that goes on with what another one left, once it is over."""
        runs = self.dagster.runs(**{PARTITION_TAG: HOUR})
        return next((each for each in runs if each.parent == run and each.status in ENDED), None)

    def durable(self) -> set[str]:
        """The fetched rows that are durable, and in no table yet."""
        shards = (self.data / "work" / "fetched" / f"hour={HOUR}").glob("*.arrow")
        tables = [pa.ipc.open_file(str(path)).read_all() for path in shards]
        return {f"{row['item_id']}/{row['role']}" for table in tables for row in table.to_pylist()}


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """An empty data root with a feed; nothing runs yet."""
    with HeldShop() as shop:
        data = tmp_path / "data"
        goods = list(catalogue(ITEMS, SEED, HOUR_START, base_url=shop.url))
        held = Goods(shop.url).product("zz-held", has_document=False, file_name="held")
        shop.held = str(held.image_url).removeprefix(shop.url)
        hours.write_goods(data, [*goods, held])
        settings = hours.environment_of(data, shop.url) | {"PIPELINE_WORKERS": "1"}
        with Installation(tmp_path, settings, changes=SOONER) as installation:
            yield Scene(installation, data, shop)
        shop.released.set()


def test_a_power_cut_in_the_middle_of_an_hour_asks_for_nothing_but_a_start(scene: Scene) -> None:
    """The run is found dead and started again, and goes on from the last durable micro-batch."""
    scene.start("daemon", "webserver")
    cut_off = scene.launched()
    for service in scene.services.values():
        service.kill()
    durable, asked = scene.durable(), scene.shop.all_requests()
    scene.shop.released.set()
    scene.start("daemon", "webserver")
    scene.expect_completed_after(cut_off, durable, asked)


@LONG
def test_a_killed_run_and_a_killed_daemon_ask_for_nothing_but_a_start(scene: Scene) -> None:
    """One after the other; the webserver is killed as well, and shows the same afterwards."""
    scene.start("daemon", "webserver")
    cut_off = scene.launched()
    process = wait_for(lambda: scene.dagster.process_of(cut_off), "the process of the run")
    os.kill(process, signal.SIGKILL)
    for service in scene.services.values():
        service.kill_alone()
    durable, asked = scene.durable(), scene.shop.all_requests()
    scene.shop.released.set()
    scene.start("daemon", "webserver")
    scene.expect_completed_after(cut_off, durable, asked)
