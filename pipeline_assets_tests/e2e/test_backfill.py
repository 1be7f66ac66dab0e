"""A backfill from the UI: a run for each hour, and none that stops another."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline_assets.core.hours import hour_name
from pipeline_assets.sample.catalogue import catalogue
from pipeline_assets_tests import hours
from pipeline_assets_tests.conftest import HOUR_START, SEED, FickleShop
from pipeline_assets_tests.e2e.graphql import Dagster
from pipeline_assets_tests.e2e.processes import Installation, wait_for
from pipeline_assets_tests.lengths import LONG

STARTS = [HOUR_START + timedelta(hours=n) for n in range(2)]
HOURS = [hour_name(start) for start in STARTS]
BROKEN = HOURS[0]  # which is run first
ASSETS = ["items", "fetched", "validated"]


@pytest.fixture
def installation(tmp_path: Path, shop: FickleShop) -> Iterator[Installation]:
    """Two small hours, of which one cannot be written."""
    data = tmp_path / "data"
    goods = [
        replace(each, item_id=f"{each.item_id}-{n}")
        for n, start in enumerate(STARTS)
        for each in catalogue(4, SEED + n, start, base_url=shop.url)
    ]
    hours.write_goods(data, goods)
    (data / "tables" / "items").mkdir(parents=True)
    (data / "tables" / "items" / f"hour={BROKEN}").touch()
    settings = hours.environment_of(data, shop.url) | {"PIPELINE_WORKERS": "0"}
    with Installation(tmp_path, settings) as made:
        yield made


@LONG
def test_an_hour_that_fails_stops_no_other_and_good_hours_are_not_redone(
    installation: Installation, shop: FickleShop
) -> None:
    """Once the cause is mended, the same backfill again calls for the failed hour alone."""
    daemon, webserver = installation.start_daemon(), installation.start_webserver()
    dagster = Dagster(webserver.url)
    wait_for(dagster.location_loaded, "the code location")

    def statuses(backfill: str) -> dict[str, str]:
        daemon.until(lambda: dagster.backfill_ended(backfill), "its end")
        runs = dagster.runs(dagster__backfill=backfill)
        assert len(runs) == len(HOURS)
        return {run.tags["dagster/partition"]: run.status for run in runs}

    found = statuses(dagster.backfill(ASSETS, HOURS))
    assert found == {hour: "FAILURE" if hour == BROKEN else "SUCCESS" for hour in HOURS}
    (installation.folder / "data" / "tables" / "items" / f"hour={BROKEN}").unlink()
    shop.forget_requests()
    assert set(statuses(dagster.backfill(ASSETS, HOURS)).values()) == {"SUCCESS"}
    fetched = hours.rows(installation.folder / "data", "fetched", BROKEN).values()
    mended = {row["url"].removeprefix(shop.url) for row in fetched if row["url"]}
    assert mended
    assert set(shop.all_requests()) == mended
