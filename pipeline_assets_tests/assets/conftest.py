"""Two finished hours of the same items: a good one, and one whose accelerator had no memory."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from pipeline_assets.accelerator.accelerator import Fault, InjectedFault
from pipeline_assets.resources import opened
from pipeline_assets.sample.catalogue import CatalogueItem
from pipeline_assets.sample.shop import Shop
from pipeline_assets_tests import hours

ITEMS = 38


@dataclass(frozen=True)
class Hour:
    """A data root with one hour, what its run said, and what its feed offers."""

    data: Path
    result: dg.ExecuteInProcessResult
    goods: tuple[CatalogueItem, ...]

    def rows(self, asset: str) -> dict[str, hours.Row]:
        """The rows of a table by item; those of a resource by item/role."""
        return hours.rows(self.data, asset)

    def at_fault(self, fault: str) -> str:
        """The item at which the shop misbehaves in this way."""
        return next(each.item_id for each in self.goods if each.fault == fault)


def _made(folder: Path, shop: Shop, fault: InjectedFault | None) -> Hour:
    data = folder / "data"
    goods = hours.goods_of_an_hour(shop.url, ITEMS)
    hours.write_goods(data, goods)
    with hours.environment(hours.environment_of(data, shop.url), folder):
        if fault is not None:
            with opened() as resources:
                resources.accelerator.fail(fault)
        result = hours.materialized()
    assert result.success
    return Hour(data, result, tuple(goods))


@pytest.fixture(scope="session")
def good_root(tmp_path_factory: pytest.TempPathFactory, shop: Shop) -> Hour:
    """An hour without an outage. For reading only."""
    return _made(tmp_path_factory.mktemp("good"), shop, None)


@pytest.fixture(scope="session")
def degraded_root(tmp_path_factory: pytest.TempPathFactory, shop: Shop) -> Hour:
    """The same hour without accelerator memory for a single row. For reading only."""
    return _made(tmp_path_factory.mktemp("degraded"), shop, InjectedFault(Fault.OOM))


@pytest.fixture
def good(good_root: Hour, shop: Shop) -> Iterator[Hour]:
    """The good hour with the environment set to it, to be read and not written."""
    with hours.environment(hours.environment_of(good_root.data, shop.url), good_root.data.parent):
        yield good_root


@pytest.fixture
def degraded(degraded_root: Hour, shop: Shop) -> Iterator[Hour]:
    """The degraded hour with the environment set to it, to be read and not written."""
    folder = degraded_root.data.parent
    with hours.environment(hours.environment_of(degraded_root.data, shop.url), folder):
        yield degraded_root


Copied = Callable[[Hour], Hour]


@pytest.fixture
def copied(tmp_path: Path, shop: Shop) -> Iterator[Copied]:
    """Gives a copy of an hour to work on; the environment is set to it."""
    data = tmp_path / "data"

    def copy(hour: Hour) -> Hour:
        shutil.copytree(hour.data, data)
        return Hour(data, hour.result, hour.goods)

    with hours.environment(hours.environment_of(data, shop.url), tmp_path):
        yield copy
