"""The sensor for late and corrected items: what it asks for, and what such a run works on."""

import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from pipeline_assets.assets.location import Location
from pipeline_assets.automation import feed_changed
from pipeline_assets.automation.asking import ASKED_BY, LAUNCHED_WITHIN_S, tick
from pipeline_assets.automation.feed_changed import (
    AFTER_THE_HOUR,
    AGAIN_AFTER_S,
    FEED_CHANGED,
    MOST_TRIES,
)
from pipeline_assets.definitions import defs
from pipeline_assets.errors import FeedError
from pipeline_assets.feed import reading as feed_reading
from pipeline_assets.feed.hours import feed_news
from pipeline_assets.ingest import changes as feed_changes
from pipeline_assets.resources import Resources
from pipeline_assets.sample.catalogue import CatalogueItem, write_feed
from pipeline_assets.sample.shop import Shop
from pipeline_assets_tests import hours
from pipeline_assets_tests.conftest import (
    HOUR,
    HOUR_START,
    NEXT_HOUR,
    Goods,
    Platform,
    open_resources,
)
from pipeline_assets_tests.lengths import HANG_S

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """A Dagster instance that is forgotten."""
    with dg.DagsterInstance.ephemeral() as made:
        yield made


class Sensor:
    """The sensor over a platform, with the cursor that the daemon keeps for it."""

    def __init__(self, platform: Platform, instance: dg.DagsterInstance) -> None:
        self.platform, self.instance = platform, instance
        self.cursor: str | None = None

    def tick(self) -> dg.SensorResult:
        """One tick, a minute after the last."""
        self.platform.clock.advance(60)
        result = tick(
            FEED_CHANGED,
            Location(self.platform.resources.settings),
            self.platform.resources,
            self.instance,
            self.cursor,
        )
        self.cursor = result.cursor or self.cursor
        return result

    def asked(self) -> list[str | None]:
        """The hours that a tick asks for."""
        return [request.partition_key for request in self.tick().run_requests or ()]

    def said(self) -> str:
        """Why a tick asks for nothing."""
        result = self.tick()
        assert not result.run_requests
        assert result.skip_reason is not None
        return result.skip_reason.skip_message or ""

    def serve(self) -> list[str | None]:
        """A tick, and the items of the hours that it asks for."""
        requests = self.tick().run_requests or ()
        for request in requests:
            self.platform.items(str(request.partition_key))
            end(self.instance, request, ok=True)
        return [request.partition_key for request in requests]


@pytest.fixture
def sensor(platform: Platform, instance: dg.DagsterInstance) -> Sensor:
    """The sensor over an empty data root."""
    return Sensor(platform, instance)


def end(instance: dg.DagsterInstance, request: dg.RunRequest, *, ok: bool) -> None:
    """A run as was asked for, that does nothing and ends."""

    @dg.op
    def act() -> None:
        if not ok:
            raise dg.Failure("on request")

    @dg.job
    def hour() -> None:
        act()

    hour.execute_in_process(
        instance=instance, tags=request.tags, raise_on_error=False, run_config=QUIET
    )


def in_hour(item: CatalogueItem, offset: int) -> CatalogueItem:
    """The item, so many hours later."""
    return replace(item, event_time=item.event_time + timedelta(hours=offset))


def test_an_hour_that_was_never_built_is_asked_for_once(sensor: Sensor, goods: Goods) -> None:
    """With a key that names its content, and the sensor as who asked."""
    sensor.platform.feed([goods.product("a"), goods.product("b")])
    [request] = sensor.tick().run_requests or ()
    assert request.partition_key == HOUR
    assert (request.run_key or "").startswith(f"feed_changed/{HOUR}/")
    assert request.tags[ASKED_BY] == FEED_CHANGED.name
    assert sensor.said() == "the feed is as it was; 0 of 1 hours asked for, 1 in flight"
    sensor.platform.items()
    end(sensor.instance, request, ok=True)
    assert sensor.said() == "the feed is as it was; no closed hour waits"


def test_an_unchanged_feed_is_not_read(
    sensor: Sensor, goods: Goods, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tick looks at its files' sizes and times, and no further."""
    sensor.platform.feed([goods.product("a")])
    assert sensor.serve() == [HOUR]

    def read(*_arguments: Any) -> Any:
        raise AssertionError("the feed was read")

    monkeypatch.setattr(feed_reading, "_opened", read)
    assert "as it was" in sensor.said()


@pytest.mark.parametrize("change", ["late", "corrected", "another hour"])
def test_new_and_corrected_items_are_asked_for(sensor: Sensor, goods: Goods, change: str) -> None:
    """Each hour for itself."""
    items = [goods.product("a"), goods.product("b")]
    sensor.platform.feed(items)
    assert sensor.serve() == [HOUR]
    match change:
        case "late":
            items.append(goods.product("c"))
        case "corrected":
            items[0] = replace(items[0], name="corrected")
        case _:
            items.append(in_hour(goods.product("c"), 1))
    sensor.platform.feed(items)
    assert sensor.serve() == [NEXT_HOUR if change == "another hour" else HOUR]
    assert "no closed hour waits" in sensor.said()


@pytest.mark.parametrize("change", ["touched", "in another order", "removed"])
def test_what_changes_no_row_asks_for_nothing(sensor: Sensor, goods: Goods, change: str) -> None:
    """Rows that left the feed stay in the table, and are not asked for ever after."""
    items = [goods.product("a"), goods.product("b"), goods.product("c")]
    sensor.platform.feed(items)
    assert sensor.serve() == [HOUR]
    match change:
        case "in another order":
            items.reverse()
        case "removed":
            del items[1]
    sensor.platform.feed(items)
    feed = Path(sensor.platform.resources.settings.feed)
    os.utime(feed, ns=(1, feed.stat().st_mtime_ns + 1))
    assert sensor.said() == (
        f"the feed has {len(items)} rows in 1 hours, 0 of them with new or changed rows; "
        "no closed hour waits"
    )
    sensor.platform.feed([*items, goods.product("d")])
    assert sensor.serve() == [HOUR]


def test_a_feed_that_is_sent_in_parts_is_the_same_feed(
    tmp_path: Path, platform: Platform, goods: Goods
) -> None:
    """What was built of the whole is not built again."""
    items = [goods.product("a"), goods.product("b"), goods.product("c")]
    platform.feed(items)
    assert feed_changes.compare(platform.resources).changed == 1
    platform.items()
    (tmp_path / "parts").mkdir()
    write_feed(tmp_path / "parts" / "1.csv", items[:1])
    write_feed(tmp_path / "parts" / "2.csv", items[1:])
    data = platform.resources.data
    in_parts = open_resources(data, platform.clock, feed=str(tmp_path / "parts"))
    found = feed_changes.compare(in_parts)
    assert (found.rows, found.hours, found.changed) == (3, 1, 0)
    in_parts.close()


def test_of_an_item_that_is_there_twice_the_last_row_counts(sensor: Sensor, goods: Goods) -> None:
    """Another one that is the last is news; the same one is none."""
    first = goods.product("a", name="first")
    second = replace(first, name="second")
    sensor.platform.feed([first, second])
    assert sensor.serve() == [HOUR]
    sensor.platform.feed([replace(second, description="away again"), first, second])
    assert sensor.asked() == []
    sensor.platform.feed([second, first])
    assert sensor.serve() == [HOUR]
    assert sensor.platform.rows("items")["a"]["name"] == "first"


def test_what_the_schedule_built_in_between_is_not_asked_for(sensor: Sensor, goods: Goods) -> None:
    """The table says that it is there already."""
    sensor.platform.clock.at = HOUR_START + timedelta(minutes=30)
    sensor.platform.feed([goods.product("a")])
    assert sensor.said().endswith("no closed hour waits")
    sensor.platform.items()
    sensor.platform.clock.at = HOUR_START + timedelta(hours=2)
    assert sensor.asked() == []


def test_an_hour_is_asked_for_once_it_is_closed_and_the_schedule_had_its_turn(
    sensor: Sensor, goods: Goods
) -> None:
    """Although the feed does not change any more."""
    closed = HOUR_START + timedelta(hours=1) + AFTER_THE_HOUR
    sensor.platform.clock.at = closed - timedelta(minutes=2)
    sensor.platform.feed([goods.product("a")])
    assert sensor.asked() == []
    assert sensor.asked() == [HOUR]


def test_a_tick_asks_for_a_few_hours_and_not_for_more_than_run_at_a_time(
    sensor: Sensor, goods: Goods
) -> None:
    """The newest first, until every hour is built."""
    sensor.platform.feed([in_hour(goods.product(f"p{step}"), -step) for step in range(24)])
    settings = sensor.platform.resources.settings
    first = sensor.tick().run_requests or ()
    assert [request.partition_key for request in first][:2] == [HOUR, "2026-03-02-05"]
    assert len(first) == settings.feed_per_tick
    assert len(sensor.asked()) == settings.feed_in_flight - settings.feed_per_tick
    assert sensor.said().endswith("0 of 24 hours asked for, 20 in flight, 4 left for a later tick")
    for request in first:
        sensor.platform.items(str(request.partition_key))
        end(sensor.instance, request, ok=True)
    assert len(sensor.asked()) == 4


def test_an_hour_whose_run_failed_is_asked_for_again_and_in_the_end_given_up(
    sensor: Sensor, goods: Goods
) -> None:
    """Until the feed changes its rows once more."""
    sensor.platform.feed([goods.product("a")])
    keys = set()
    for _attempt in range(MOST_TRIES):
        [request] = sensor.tick().run_requests or ()
        keys.add(request.run_key)
        end(sensor.instance, request, ok=False)
        assert sensor.asked() == []
        sensor.platform.clock.advance(AGAIN_AFTER_S)
    assert len(keys) == MOST_TRIES
    assert sensor.said().endswith(
        f"{HOUR}: given up after 3 tries in this version of its feed, its rows stay as they are"
    )
    sensor.platform.feed([goods.product("a"), goods.product("b")])
    assert sensor.asked() == [HOUR]


def test_a_request_that_never_became_a_run_is_made_again_under_its_key(
    sensor: Sensor, goods: Goods
) -> None:
    """The daemon died in between; if it did not, the key keeps a second run out."""
    sensor.platform.feed([goods.product("a")])
    [request] = sensor.tick().run_requests or ()
    sensor.platform.clock.advance(LAUNCHED_WITHIN_S)
    [again] = sensor.tick().run_requests or ()
    assert again.run_key == request.run_key


def test_a_lost_state_database_asks_for_nothing_that_is_there(sensor: Sensor, goods: Goods) -> None:
    """The tables are the memory."""
    sensor.platform.feed([goods.product("a"), in_hour(goods.product("b"), 1)])
    assert len(sensor.serve()) == 2
    with sensor.platform.resources.state.transaction() as connection:
        connection.execute(sa.delete(feed_news))
    sensor.cursor = None
    assert "0 of them with new or changed rows" in sensor.said()


def test_a_feed_that_takes_long_to_read_holds_no_tick_up(
    sensor: Sensor, goods: Goods, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read on between the ticks, once, as it is by then."""
    go_on, compare, begun = threading.Event(), feed_changes.compare, []

    def slowly(resources: Resources) -> feed_changes.Compared:
        begun.append(resources.feed.version())
        assert go_on.wait(HANG_S)
        return compare(resources)

    monkeypatch.setattr(feed_changes, "compare", slowly)
    monkeypatch.setattr(feed_changed, "PATIENCE_S", 0.05)
    sensor.platform.feed([goods.product("a")])
    for _ in range(3):
        assert sensor.said().startswith("the feed has changed and is being read; no closed hour")
    sensor.platform.feed([goods.product("a"), goods.product("b")])
    assert len(begun) == 1
    go_on.set()
    monkeypatch.setattr(feed_changed, "PATIENCE_S", HANG_S)
    assert sensor.asked() == [HOUR]
    assert "as it was" in sensor.said()
    assert len(begun) == 1


def test_no_feed_is_said_and_a_feed_that_cannot_be_read_is_an_error(
    sensor: Sensor, instance: dg.DagsterInstance
) -> None:
    """A tick that fails is red in the UI, with the reason."""
    assert "there is no such file" in sensor.said()
    resources = sensor.platform.resources
    Path(resources.settings.feed).parent.mkdir(parents=True, exist_ok=True)
    Path(resources.settings.feed).write_text("nonsense\n")
    with pytest.raises(FeedError, match="no column 'item_id'"):
        tick(FEED_CHANGED, Location(resources.settings), resources, instance, None)


def test_a_run_that_was_asked_for_works_on_new_and_changed_rows_only(
    tmp_path: Path, shop: Shop, goods: Goods, instance: dg.DagsterInstance
) -> None:
    """As Dagster evaluates the sensor and runs the job: one late item, one corrected, one gone."""
    data = tmp_path / "data"
    items = [goods.product(name, file_name=f"img-{name}") for name in "abcd"]
    hours.write_goods(data, items)
    environment = {**hours.environment_of(data, shop.url), "PIPELINE_WORKERS": "0"}
    with hours.environment(environment, tmp_path):
        first = run_what_is_asked(instance)
        assert first["items"]["new_or_changed"] == 4
        assert first["embeddings"]["rows_planned"] == 4
        late = goods.product("late", file_name="img-late")
        changed = [replace(items[0], name="corrected"), *items[2:], late]
        write_feed(data / "feed.csv", changed)
        second = run_what_is_asked(instance)
    assert second["items"]["new_or_changed"] == 2
    assert second["items"]["dagster/row_count"] == 5
    assert second["fetched"]["rung_http_rows"] == 2  # the late one's page and picture
    assert second["extracted_text"]["rows_planned"] == 1
    assert second["enriched_items"]["rows_planned"] == 2


def run_what_is_asked(instance: dg.DagsterInstance) -> dict[str, dict[str, Any]]:
    """A tick of the sensor, and the one run that it asks for."""
    context = dg.build_sensor_context(instance=instance, definitions=defs)
    result = defs.get_repository_def().get_sensor_def(FEED_CHANGED.name)(context)
    assert isinstance(result, dg.SensorResult)
    [request] = result.run_requests or ()
    finished = defs.resolve_job_def("hour").execute_in_process(
        instance=instance,
        partition_key=request.partition_key,
        run_config=QUIET,
        tags=request.tags,
        raise_on_error=False,
    )
    assert finished.success
    return hours.shown(finished)
