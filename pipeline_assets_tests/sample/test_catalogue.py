"""The catalogue and its feed."""

import csv
from collections import Counter
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from pipeline_assets.sample.catalogue import FEED_COLUMNS, catalogue, write_feed
from pipeline_assets.sample.faults import FAULTS, parse_fault
from pipeline_assets.sample.shop import render

HOUR = datetime(2026, 3, 2, 6, tzinfo=UTC)
BASE = "http://shop.example"


def test_the_same_arguments_give_the_same_items() -> None:
    """Seed and hour settle everything."""
    first, again = list(catalogue(50, 1, HOUR)), list(catalogue(50, 1, HOUR))
    assert first == again
    assert first != list(catalogue(50, 2, HOUR))
    assert first != list(catalogue(50, 1, HOUR + timedelta(hours=1)))


def test_a_larger_catalogue_begins_with_the_smaller_one() -> None:
    """An item depends on its index, not on how many there are."""
    assert list(catalogue(80, 1, HOUR))[:30] == list(catalogue(30, 1, HOUR))


def test_ids_are_unique_within_and_between_hours() -> None:
    """No hour overwrites another."""
    hours = (HOUR, HOUR + timedelta(hours=1))
    ids = [item.item_id for hour in hours for item in catalogue(300, 1, hour)]
    assert len(set(ids)) == 600
    assert ids[17][1:] == "-20260302-06-00017"


def test_a_catalogue_holds_every_kind_of_item() -> None:
    """Pictures and documents are missing now and then, and some pictures are used twice."""
    items = list(catalogue(2000, 3, HOUR, base_url=BASE))
    products = [item for item in items if item.kind == "product"]
    guides = [item for item in items if item.kind == "document"]
    assert 0.05 < len(guides) / len(items) < 0.15
    assert all(item.image_url is None and item.document_url for item in guides)
    assert {str(item.document_url)[-4:] for item in guides} == {"html", ".pdf"}
    assert sum(item.image_url is None for item in products) > 50
    assert sum(item.document_url is None for item in products) > 50
    assert {item.priority for item in items} == {"interactive", "batch", "background"}
    assert all(HOUR <= item.event_time < HOUR + timedelta(hours=1) for item in items)


def test_a_picture_is_used_twice_under_one_address_and_under_two() -> None:
    """Both ways of repeating a picture occur, and two addresses give equal bytes."""
    urls = [item.image_url for item in catalogue(2000, 3, HOUR, base_url="") if item.image_url]
    by_code: dict[str, list[str]] = {}
    for url in urls:
        by_code.setdefault(url[-14:], []).append(url)
    twins = [same for same in by_code.values() if len(same) > 1]
    assert any(len(set(same)) == 1 for same in twins)
    two = next(sorted(set(same)) for same in twins if len(set(same)) > 1)
    assert render(two[0]).body == render(two[1]).body


def test_every_address_of_a_catalogue_is_served() -> None:
    """No address of a well-behaved catalogue is a dead link."""
    for item in catalogue(40, 5, HOUR, base_url=""):
        for path in (item.document_url, item.image_url):
            assert path is None or render(path).status == 200


def test_most_names_tell_the_category_and_some_do_not() -> None:
    """Rules that read names cannot replace looking at the picture."""
    products = [item for item in catalogue(1000, 1, HOUR) if item.category is not None]
    telling = sum(str(item.category) in item.name.lower() for item in products) / len(products)
    assert 0.5 < telling < 0.85


@pytest.mark.parametrize("fault", [*FAULTS, "503x7"])
def test_a_share_of_faults_gives_that_many_items(fault: str) -> None:
    """Each faulty item misbehaves at one address of the fitting kind."""
    items = list(catalogue(100, 1, HOUR, base_url=BASE, faults={fault: 0.05}))
    faulty = [item for item in items if item.fault is not None]
    assert len(faulty) == 5
    for item in faulty:
        addresses = [url or "" for url in (item.image_url, item.document_url)]
        bad = [url.startswith(f"{BASE}/fault/{fault}/") for url in addresses]
        assert bad.count(True) == 1
        assert bad[0] or not parse_fault(fault).needs_image


def test_the_smallest_share_of_each_fault_gives_one_item() -> None:
    """A test can ask for one of everything."""
    items = catalogue(len(FAULTS), 1, HOUR, faults=dict.fromkeys(FAULTS, 0.001))
    assert Counter(item.fault for item in items) == dict.fromkeys(FAULTS, 1)


def test_an_hour_in_another_zone_is_the_same_hour() -> None:
    """Ids and times are in UTC."""
    elsewhere = HOUR.astimezone(timezone(timedelta(hours=2)))
    assert list(catalogue(5, 1, elsewhere)) == list(catalogue(5, 1, HOUR))


@pytest.mark.parametrize(
    ("count", "hour", "faults", "message"),
    [
        (-1, HOUR, {}, "count: -1"),
        (1, datetime(2026, 3, 2, 6), {}, "hour: 2026-03-02 06:00:00"),  # noqa: DTZ001
        (1, HOUR.replace(minute=5), {}, "full hour"),
        (10, HOUR, {"418": 0.1}, "'418' is unknown"),
        (10, HOUR, {"404": 1.5}, "share of '404' is 1.5"),
        (10, HOUR, {"404": 0.8, "410": 0.8}, "do not fit into 10"),
    ],
)
def test_wrong_arguments_are_named(
    count: int, hour: datetime, faults: dict[str, float], message: str
) -> None:
    """The message says which value is wrong, before any item is drawn."""
    with pytest.raises(ValueError, match=message):
        catalogue(count, 1, hour, faults=faults)


def test_the_feed_has_the_contract_s_columns_and_all_rows(tmp_path: Path) -> None:
    """What is written is what was drawn, with empty text for what is absent."""
    feed = tmp_path / "feed.csv"
    items = list(catalogue(60, 1, HOUR))
    assert write_feed(feed, items) == 60
    with feed.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == FEED_COLUMNS
    assert rows == [item.row() for item in items]
    assert rows[0]["event_time"].endswith("Z")


def test_an_empty_catalogue_is_a_feed_with_a_header_alone(tmp_path: Path) -> None:
    """Nothing to sell is no error."""
    feed = tmp_path / "feed.csv"
    assert write_feed(feed, catalogue(0, 1, HOUR, faults={"404": 0.5})) == 0
    assert feed.read_text().strip() == ",".join(FEED_COLUMNS)
