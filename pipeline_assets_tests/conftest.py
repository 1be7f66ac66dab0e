"""A data root of one's own, the sample shop, and one finished hour that all may read."""

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import settings as hypothesis_settings

from pipeline_assets import errors
from pipeline_assets.core.hours import hour_name
from pipeline_assets.core.sizes import BatchSizes
from pipeline_assets.core.stage import Stage
from pipeline_assets.engine.engine import materialize
from pipeline_assets.engine.orders import Listener, Order, Report
from pipeline_assets.ingest.items import ItemsReport, materialize_items
from pipeline_assets.resources import Resources
from pipeline_assets.sample.catalogue import CatalogueItem, catalogue, write_feed
from pipeline_assets.sample.codes import encode
from pipeline_assets.sample.drawing import Subject
from pipeline_assets.sample.faults import with_fault
from pipeline_assets.sample.shop import Shop
from pipeline_assets.settings import load_settings
from pipeline_assets.stages import STAGES
from pipeline_assets.state.database import State
from pipeline_assets_tests.leftovers import (  # noqa: F401 - hooks of pytest's
    pytest_configure,
    pytest_sessionfinish,
)
from pipeline_assets_tests.postgres import (  # noqa: F401 - fixtures
    database_url,
    own_postgres,
    postgres,
)
from pipeline_assets_tests.s3 import S3Server, in_a_bucket, s3, storage  # noqa: F401 - fixtures

HOUR_START = datetime(2026, 3, 2, 6, tzinfo=UTC)
HOUR = hour_name(HOUR_START)
NEXT_HOUR = hour_name(HOUR_START + timedelta(hours=1))
SEED = 11
ITEMS = 60
SHARED_FAULTS = {"404": 0.02, "truncated-jpeg": 0.02, "html-as-jpeg": 0.02, "huge-image": 0.02}

# Properties are about behaviour: a slow machine is no reason for them to fail.
hypothesis_settings.register_profile("default", deadline=None, max_examples=50)
hypothesis_settings.register_profile("long", deadline=None, max_examples=1000)
hypothesis_settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the browser: its tests wait, and begun last all others would be over by then."""
    items.sort(key=lambda item: "ui" not in item.path.parts)


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self, at: datetime = HOUR_START + timedelta(days=1)) -> None:
        self.at = at

    def __call__(self) -> datetime:
        """The time."""
        return self.at

    def seconds(self) -> float:
        """The time as seconds since the epoch, as the state database has it."""
        return self.at.timestamp()

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.at += timedelta(seconds=seconds)

    def sleep(self, seconds: float) -> bool:
        """Be later at once."""
        self.advance(seconds)
        return True


class FickleShop(Shop):
    """The sample shop, from which goods can be taken away."""

    def __init__(self) -> None:
        super().__init__()
        self.gone: dict[str, int] = {}

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.path in self.gone:
            return web.Response(status=self.gone[request.path])
        return await super()._answer(request)


def open_resources(
    folder: Path, clock: Clock, shop: Shop | None = None, **settings: Any
) -> Resources:
    """Resources over a folder: real adapters, and a clock that stands still."""
    chosen: dict[str, Any] = {
        "data": folder,
        "state_url": "",
        "feed": str(folder / "feed.csv"),
        "accelerator": "cpu",
        "workers": 0,  # fakes and clocks do not reach other processes
        "start": HOUR_START - timedelta(days=1),
        "fetch_allow": () if shop is None else (shop.url.removeprefix("http://"),),
    }
    resources = Resources(load_settings(**{**chosen, **settings}), clock)
    resources.__dict__["state"] = State(resources.settings.database_url, clock=clock.seconds)
    resources.__dict__["sizes"] = BatchSizes()
    return resources


@dataclass(frozen=True)
class Goods:
    """Makes feed rows whose addresses the shop knows."""

    url: str

    def product(
        self,
        item_id: str,
        subject: Subject | None = None,
        *,
        image_fault: str | None = None,
        document_fault: str | None = None,
        has_image: bool = True,
        has_document: bool = True,
        name: str | None = None,
        description: str = "",
        file_name: str = "img-1",
    ) -> CatalogueItem:
        """One product; by default a red shirt with a page and a picture."""
        subject = subject or Subject("shirt", "red", 3)
        code = encode(subject)
        image, document = f"/images/{file_name}-{code}.jpg", f"/pages/{code}.html"
        if image_fault is not None:
            image = with_fault(image, image_fault)
        if document_fault is not None:
            document = with_fault(document, document_fault)
        return CatalogueItem(
            item_id=item_id,
            name=name or f"{subject.colour} {subject.category}",
            kind="product",
            description=description,
            document_url=self.url + document if has_document else None,
            image_url=self.url + image if has_image else None,
            event_time=HOUR_START + timedelta(minutes=5),
            priority="batch",
            category=subject.category,
            colour=subject.colour,
            fault=image_fault or document_fault,
        )


@dataclass(frozen=True)
class Platform:
    """A data root with its resources: what a test does to it, in a line each."""

    resources: Resources
    clock: Clock

    def feed(self, rows: Sequence[CatalogueItem]) -> None:
        """Write the feed anew."""
        self.resources.data.mkdir(parents=True, exist_ok=True)
        write_feed(Path(self.resources.settings.feed), rows)

    def items(self, hour: str = HOUR, run: str = "run") -> ItemsReport:
        """Bring the items of an hour up to date."""
        return materialize_items(self.resources, hour, run)

    def run(self, *stages: Stage, hour: str = HOUR, run: str = "run", **options: Any) -> "Reports":
        """Bring stages up to date, by default all of them, and give what came of each.

        A second passes before, so that a later run's rows are later. A wait passes at once.
        """
        self.clock.advance(1)
        listener = Listener(sleep=self.clock.sleep)
        return {
            stage.name: materialize(
                Order(stage.name, hour, run, **options), self.resources, listener, stage
            )
            for stage in stages or STAGES
        }

    def rows(self, asset: str, hour: str = HOUR) -> dict[str, dict[str, Any]]:
        """The rows of a table by item; those of a resource by item/role."""
        found = self.resources.tables.read(asset, hour).to_pylist()
        return {"/".join(filter(None, (r["item_id"], r.get("role")))): r for r in found}


Reports = dict[str, Report]


def called(reports: Reports) -> dict[str, int]:
    """How many rows each rung was given, over all stages."""
    return {
        f"{stage}.{rung}": stats.rows
        for stage, report in reports.items()
        for rung, stats in report.rungs.items()
        if stats.rows
    }


def in_batches_of(stage: Stage, rows: int) -> Stage:
    """The stage with smaller micro-batches."""
    return replace(stage, micro_batch=rows)


@pytest.fixture(autouse=True)
def _no_secrets_of_another_test() -> Iterator[None]:
    """What a process keeps secret it keeps for its life, which is longer than a test's."""
    yield
    errors._KEPT.clear()


@pytest.fixture(scope="session")
def shop() -> Iterator[FickleShop]:
    """The sample shop, open for the whole session; ask `goods` for what it sells."""
    with FickleShop() as opened:
        yield opened


@pytest.fixture
def goods(shop: FickleShop) -> Iterator[Goods]:
    """Feed rows that the shop can serve; nothing is gone, and every fault begins afresh."""
    shop.forget_requests()
    yield Goods(shop.url)
    shop.gone.clear()


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still."""
    return Clock()


@pytest.fixture
def resources(tmp_path: Path, clock: Clock, shop: FickleShop) -> Iterator[Resources]:
    """Real adapters over an empty data root; the primary model runs on the CPU."""
    opened = open_resources(tmp_path / "data", clock, shop)
    yield opened
    opened.close()


@pytest.fixture
def platform(resources: Resources, clock: Clock) -> Platform:
    """An empty data root to work on."""
    return Platform(resources, clock)


@pytest.fixture(params=["local", "s3"])
def anywhere(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock, shop: FickleShop
) -> Iterator[Platform]:
    """An empty data root, once in a folder, and once in a bucket."""
    if request.param == "local":
        yield request.getfixturevalue("platform")
        return
    server: S3Server = request.getfixturevalue("s3")
    with in_a_bucket(server, tmp_path, clock, shop) as resources:
        yield Platform(resources, clock)


@pytest.fixture(scope="session")
def finished_root(tmp_path_factory: pytest.TempPathFactory, shop: FickleShop) -> Path:
    """A data root with one finished hour of 60 items, some of them faulty. For reading only."""
    clock = Clock()
    data = tmp_path_factory.mktemp("finished") / "data"
    opened = open_resources(data, clock, shop)
    platform = Platform(opened, clock)
    platform.feed(list(catalogue(ITEMS, SEED, HOUR_START, base_url=shop.url, faults=SHARED_FAULTS)))
    platform.items()
    platform.run()
    opened.close()
    return data


@pytest.fixture
def finished(finished_root: Path, shop: FickleShop) -> Iterator[Platform]:
    """The finished hour, to be read and not written."""
    clock = Clock()
    opened = open_resources(finished_root, clock, shop)
    yield Platform(opened, clock)
    opened.close()


@pytest.fixture
def finished_copy(finished_root: Path, tmp_path: Path, shop: FickleShop) -> Iterator[Platform]:
    """A copy of the finished hour, to be worked on."""
    data = tmp_path / "copy"
    shutil.copytree(finished_root, data)
    clock = Clock()
    opened = open_resources(data, clock, shop)
    yield Platform(opened, clock)
    opened.close()
