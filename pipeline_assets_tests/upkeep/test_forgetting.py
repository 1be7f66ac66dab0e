"""What is forgotten is nowhere, and stays away."""

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline_assets.commands.search import search
from pipeline_assets.core.plan import Verdict
from pipeline_assets.errors import LeaseHeld
from pipeline_assets.ingest.changes import compare
from pipeline_assets.ingest.rejects import materialize_rejects
from pipeline_assets.monitoring.derived import DERIVED, derive
from pipeline_assets.sample.catalogue import CatalogueItem
from pipeline_assets.sample.drawing import Subject
from pipeline_assets.stages import extract_text, fetch
from pipeline_assets.state.database import State
from pipeline_assets.state.decisions import DeadRow
from pipeline_assets.state.forgotten_list import ForgottenList
from pipeline_assets.store.blobs import BlobRef, Blobs
from pipeline_assets.store.s3_storage import S3Storage
from pipeline_assets.store.tables import TableWriter
from pipeline_assets.upkeep import compaction, forgetting
from pipeline_assets.upkeep.forgetting import Erased, forget, found, wanted
from pipeline_assets_tests.conftest import (
    HOUR,
    NEXT_HOUR,
    Clock,
    FickleShop,
    Goods,
    Platform,
    called,
    open_resources,
)
from pipeline_assets_tests.lengths import IS_LONG

ITEM, OTHER = "Zanzibar-7731", "b"
NAME = "Quokkapot of Zanzibar"
LAMP, HAT = Subject("lamp", "blue", 4), Subject("hat", "yellow", 2)


def finish(platform: Platform, *hours: str) -> dict[str, int]:
    """Hours from the feed to the index, and how many rows each rung was given."""
    resources, calls = platform.resources, dict[str, int]()
    for hour in hours or (HOUR,):
        platform.items(hour)
        for rung, rows in called(platform.run(hour=hour)).items():
            calls[rung] = calls.get(rung, 0) + rows
        for table in DERIVED:
            resources.tables.write(table, hour, derive(resources.tables, table, hour, 0.8))
        resources.search.replace_hour(hour, resources.tables.read("enriched_items", hour))
    return calls


def two_items(goods: Goods) -> list[CatalogueItem]:
    """One to forget, with a page and a picture of its own, and another."""
    return [goods.product(ITEM, LAMP, name=NAME, file_name="zanzibar"), goods.product(OTHER)]


def erase(platform: Platform, *names: str) -> Erased:
    """Forget them."""
    return forget(platform.resources, wanted(names))


def picture(platform: Platform, item: str, hour: str = HOUR) -> bytes:
    """The bytes of an item's picture."""
    row = platform.rows("fetched", hour)[f"{item}/image"]
    return platform.resources.blobs.read(
        BlobRef(*(row[name] for name in ("pack", "offset", "size", "sha256")))
    )


def everything(platform: Platform) -> Iterator[tuple[str, bytes]]:
    """Every file of the data root as it is, and tables as text, too; the feed is not ours."""
    data = platform.resources.data
    paths = [path for path in data.rglob("*") if path.is_file() and path.name != "feed.csv"]
    if platform.resources.settings.state_url:
        paths += list(data.parent.parent.parent.glob("state.db*"))
    for path in paths:
        yield str(path), path.read_bytes()
        if path.suffix == ".parquet":
            yield str(path), repr(pq.read_table(path).to_pylist()).encode()
    storage = platform.resources.storage
    if isinstance(storage, S3Storage):
        for pattern in ("*/" * depth + "*" for depth in range(7)):
            for name in storage.names("", pattern):
                data_of = storage.whole(name)
                yield name, data_of.to_pybytes()
                if name.endswith(".parquet"):
                    yield name, repr(pq.read_table(storage.open(name).source).to_pylist()).encode()


def where(platform: Platform, *secrets: bytes) -> set[str]:
    """The files that have one of some bytes."""
    return {
        name for name, data in everything(platform) if any(secret in data for secret in secrets)
    }


def traces_of(platform: Platform) -> list[bytes]:
    """What nothing may remember of the item to be forgotten: id, name, the URL, the picture."""
    return [
        *(text.encode() for text in (ITEM, NAME, "Quokkapot", "quokkapot", "zanzibar")),
        picture(platform, ITEM)[-300:],  # behind the header, which all pictures share
    ]


def test_nothing_is_left_of_a_forgotten_item(anywhere: Platform, goods: Goods) -> None:
    """In no file of the data root, whatever its format; the other item is as it was."""
    anywhere.feed(two_items(goods))
    finish(anywhere)
    row = anywhere.rows("image_labels")[ITEM]
    dead = DeadRow(HOUR, "image_labels", (ITEM,), row["key"], row["updated_at"])
    anywhere.resources.decisions.decide([dead], Verdict.DISCARD, "no use")
    materialize_rejects(anywhere.resources)
    secrets, others = traces_of(anywhere), anywhere.rows("enriched_items")[OTHER]
    assert len(where(anywhere, *secrets)) > 10
    erased = erase(anywhere, ITEM)
    assert erased.left == {}
    assert {"items", "fetched", "enriched_items", "decisions", "packs"} <= erased.removed.keys()
    assert erased.removed["search index"] == 1
    assert erased.hours == [HOUR]
    assert where(anywhere, *secrets) == set()
    assert anywhere.rows("enriched_items") == {OTHER: others}
    hits = search(anywhere.resources, "lamp", mode="keyword", top=5)
    assert hits == []
    assert finish(anywhere) == {}
    assert where(anywhere, *secrets) == set()


def test_bytes_that_another_item_has_too_stay(platform: Platform, goods: Goods) -> None:
    """They are its own; and so is the copy of a URL that both name. Nothing is redone for it."""
    same = goods.product(OTHER, LAMP, file_name="zanzibar")
    platform.feed([goods.product(ITEM, LAMP, name=NAME, file_name="zanzibar"), same])
    finish(platform)
    before = picture(platform, OTHER)
    assert erase(platform, ITEM).left == {}
    assert picture(platform, OTHER) == before
    assert same.image_url is not None
    assert platform.resources.copies.find([same.image_url])
    assert finish(platform) == {}
    assert not where(platform, ITEM.encode(), b"Quokkapot")


def test_moved_bytes_are_no_reason_to_redo_anything(platform: Platform, goods: Goods) -> None:
    """Where they lie is carried, and read by no rung: not even with a force of what reads them."""
    platform.feed(two_items(goods))
    finish(platform)
    pack = platform.rows("fetched")[f"{OTHER}/image"]["pack"]
    before = picture(platform, OTHER)
    erase(platform, ITEM)
    assert platform.rows("fetched")[f"{OTHER}/image"]["pack"] != pack
    assert picture(platform, OTHER) == before
    assert finish(platform) == {}
    assert called(platform.run(extract_text.STAGE, force=True)) == {"extracted_text.structured": 1}


def test_an_item_goes_from_every_hour(platform: Platform, goods: Goods) -> None:
    """Also from those in which it is not the current one, and with the bytes it once had."""
    then = two_items(goods)
    now = replace(
        goods.product(ITEM, HAT, name="New pot", file_name="newer"),
        event_time=then[0].event_time + timedelta(hours=1),
    )
    platform.feed([*then, now])
    finish(platform, HOUR, NEXT_HOUR)
    secrets = [*traces_of(platform), b"New pot", picture(platform, ITEM, NEXT_HOUR)[-300:]]
    erased = erase(platform, ITEM)
    assert (erased.left, erased.hours) == ({}, [HOUR, NEXT_HOUR])
    assert where(platform, *secrets) == set()
    assert platform.rows("items", NEXT_HOUR) == {}


def test_bytes_that_no_row_refers_to_any_more_go_too(platform: Platform, goods: Goods) -> None:
    """Of the pictures that the item had before, nobody knows any more whose they were."""
    platform.feed(two_items(goods))
    finish(platform)
    old = picture(platform, ITEM)[-300:]
    platform.feed([goods.product(ITEM, HAT, file_name="later"), goods.product(OTHER)])
    finish(platform)
    assert not picture(platform, ITEM).endswith(old)
    platform.resources.copies.drop([two_items(goods)[0].image_url or ""])
    assert where(platform, old)
    assert erase(platform, ITEM).left == {}
    assert where(platform, old) == set()


def test_it_does_not_come_back_with_the_feed(platform: Platform, goods: Goods) -> None:
    """Not even changed, or where the state database is lost; and no sensor asks for the hour."""
    platform.feed(two_items(goods))
    finish(platform)
    erase(platform, ITEM)
    changed = goods.product(ITEM, name=f"{NAME}, again", file_name="zanzibar")
    platform.feed([changed, goods.product(OTHER)])
    platform.resources.feed_hours.keep([])
    assert compare(platform.resources).changed == 0
    platform.resources.state.close()
    for path in platform.resources.data.glob("state.db*"):
        path.unlink()
    again = Platform(replace(platform.resources), platform.clock)
    again.resources.__dict__["state"] = State(
        again.resources.settings.database_url, clock=platform.clock.seconds
    )
    assert again.items().forgotten == 1
    assert finish(again) == {}
    assert again.rows("items").keys() == {OTHER}
    assert not where(again, ITEM.encode(), b"Quokkapot")
    again.resources.close()


def test_a_bad_line_of_it_is_no_reject(platform: Platform, goods: Goods) -> None:
    """A reject would name it."""
    early = replace(goods.product(ITEM), event_time=goods.product(ITEM).event_time.replace(2020))
    platform.feed([early, goods.product(OTHER)])
    materialize_rejects(platform.resources)
    assert erase(platform, ITEM).removed["feed_rejects"] == 1
    platform.feed([early, goods.product(OTHER), goods.product("c")])
    materialize_rejects(platform.resources)
    assert platform.resources.tables.read("feed_rejects", "all").num_rows == 0


def test_an_item_lives_on_without_a_forgotten_url(platform: Platform, goods: Goods) -> None:
    """What was made of the URL is made anew without; what was made of its page is not redone."""
    rows = two_items(goods)
    platform.feed(rows)
    finish(platform)
    url = rows[0].image_url
    assert url is not None
    secret = picture(platform, ITEM)[-300:]
    erased = erase(platform, url)
    assert erased.left == {}
    assert erased.hours == [HOUR]
    assert where(platform, b"/zanzibar", secret) == set()
    assert platform.rows("items")[ITEM]["image_url"] is None
    assert ITEM not in platform.rows("enriched_items")
    assert platform.rows("enriched_items").keys() == {OTHER}
    calls = finish(platform)
    assert "fetched.http" not in calls
    enriched = platform.rows("enriched_items")[ITEM]
    assert (enriched["name"], enriched["image_url"], enriched["quality"]) == (NAME, None, 1.0)
    assert where(platform, b"/zanzibar", secret) == set()
    assert finish(platform) == {}


def test_an_error_that_names_a_forgotten_url_goes(platform: Platform, goods: Goods) -> None:
    """From the tables and from the queues."""
    gone = goods.product(ITEM, file_name="zanzibar", image_fault="404")
    platform.feed([gone, goods.product(OTHER)])
    finish(platform)
    assert platform.resources.tables.rows("dead_letters", HOUR)
    assert gone.image_url is not None
    assert where(platform, b"zanzibar")
    assert erase(platform, gone.image_url).left == {}
    assert where(platform, b"zanzibar") == set()


def test_to_forget_twice_is_to_forget_once(platform: Platform, goods: Goods) -> None:
    """And what was never there is kept out all the same."""
    platform.feed(two_items(goods))
    finish(platform)
    erase(platform, ITEM)
    tables = {path: path.read_bytes() for path in platform.resources.data.rglob("*.parquet")}
    assert erase(platform, ITEM) == Erased({}, {}, [])
    assert tables == {
        path: path.read_bytes() for path in platform.resources.data.rglob("*.parquet")
    }
    erase(platform, "never")
    platform.feed([*two_items(goods), goods.product("never")])
    assert platform.items().forgotten == 2


@dataclass
class Killed(BaseException):
    """The end of a process, at some step."""


STEPS: list[tuple[object, str, int]] = [
    (ForgottenList, "add", 1),
    (forgetting, "_stored", 2),
    *((forgetting, "rewrite", times) for times in (range(1, 8) if IS_LONG else (2, 5))),
    (forgetting, "_erased_from_index", 1),
    (forgetting, "_ours", 1),
    (forgetting, "compact", 1),
    (Blobs, "remove", 1),
    (compaction, "_refer_to", 1),
    (compaction, "relocated", 1),
    *((TableWriter, "publish", times) for times in (1, 2)),
    (State, "scrub", 1),
    (forgetting, "_left", 1),
]


@pytest.mark.parametrize("step", STEPS, ids=[f"{name}-{times}" for _in, name, times in STEPS])
def test_killed_at_any_step_it_is_finished_by_the_next(
    platform: Platform,
    goods: Goods,
    monkeypatch: pytest.MonkeyPatch,
    step: tuple[object, str, int],
) -> None:
    """Even by one that was asked for something else."""
    rows = two_items(goods)
    platform.feed(rows)
    finish(platform)
    secrets = traces_of(platform)
    module, name, times = step
    original: Callable[..., object] = getattr(module, name)
    calls = 0

    def die(*arguments: object, **named: object) -> object:
        nonlocal calls
        calls += 1
        if calls == times:
            raise Killed
        return original(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(module, name, die)
        with pytest.raises(Killed):
            erase(platform, ITEM)
    erased = erase(platform, "something else")
    assert erased.left == {}
    assert where(platform, *secrets) == set()
    assert finish(platform) == {}
    assert platform.rows("items").keys() == {OTHER}


def test_what_a_killed_run_left_is_searched_too(
    anywhere: Platform, goods: Goods, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its finished rows of other items are not lost by it."""
    anywhere.feed(two_items(goods))
    anywhere.items()
    with monkeypatch.context() as patch:
        patch.setattr("pipeline_assets.engine.engine._publish_what_is_new", Killed)
        with pytest.raises(TypeError):
            anywhere.run(fetch.STAGE)
    assert anywhere.resources.shards.names("", "*/hour=*/*")
    assert found(anywhere.resources, wanted([ITEM])) == {"fetched": 2, "items": 1}
    erased = erase(anywhere, ITEM)
    assert (erased.left, erased.removed["fetched"]) == ({}, 2)
    assert "fetched.http" not in finish(anywhere)
    assert not where(anywhere, ITEM.encode(), b"zanzibar")


def test_a_run_that_is_at_the_rows_is_waited_for(platform: Platform, goods: Goods) -> None:
    """Whoever asks is told which; once it is over, the rest is done."""
    platform.feed(two_items(goods))
    finish(platform)
    with (
        platform.resources.leases.acquire(f"extracted_text/{HOUR}"),
        pytest.raises(LeaseHeld, match="extracted_text"),
    ):
        erase(platform, ITEM)
    with (
        platform.resources.leases.acquire(f"fetched/{NEXT_HOUR}"),
        pytest.raises(LeaseHeld, match="fetched"),
    ):
        erase(platform, ITEM)
    assert erase(platform, ITEM).left == {}


def test_the_list_remembers_nobody(platform: Platform) -> None:
    """It has hashes, and since when."""
    erase(platform, ITEM, "https://shop.example/zanzibar.jpg")
    table = platform.resources.tables.read("forgotten", "all")
    assert table.num_rows == 3  # a URL may be an item's id as well
    assert "anzibar" not in repr(table.to_pylist())


def test_a_bad_pack_is_not_passed_over(platform: Platform, goods: Goods) -> None:
    """Bytes that cannot be taken over keep the old pack there, and it is said."""
    platform.feed(two_items(goods))
    finish(platform)
    row = platform.rows("fetched")[f"{OTHER}/image"]
    path = platform.resources.data / "blobs" / Path(row["pack"])
    content = bytearray(path.read_bytes())
    content[row["offset"] + 5] ^= 1
    path.write_bytes(content)
    assert erase(platform, ITEM).left == {"packs with unused bytes": 1}


def test_the_state_may_be_on_a_server(
    database_url: str, tmp_path: Path, clock: Clock, shop: FickleShop, goods: Goods
) -> None:
    """What a server's rows leave on its disk is its own; nothing of them can be read."""
    resources = open_resources(tmp_path / "data", clock, shop, state_url=database_url)
    platform = Platform(resources, clock)
    platform.feed(two_items(goods))
    finish(platform)
    row = platform.rows("image_labels")[ITEM]
    dead = DeadRow(HOUR, "image_labels", (ITEM,), row["key"], row["updated_at"])
    resources.decisions.decide([dead], Verdict.DISCARD, "no use")
    url = two_items(goods)[0].image_url or ""
    assert resources.copies.find([url])
    erased = erase(platform, ITEM)
    assert erased.left == {}
    assert erased.removed["decisions (state)"] == 1
    assert not resources.copies.find([url])
    assert resources.decisions.all().num_rows == 0
    assert finish(platform) == {}
    assert picture(platform, OTHER)
    resources.close()


def test_a_log_that_somebody_reads_is_said_to_be_left(
    platform: Platform, goods: Goods, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then deleted rows are in it; the same command again empties it."""
    platform.feed(two_items(goods))
    finish(platform)
    monkeypatch.setattr("pipeline_assets.state.database.SQLITE_BUSY_TIMEOUT_S", 0.1)
    state = State(platform.resources.settings.database_url, clock=platform.clock.seconds)
    platform.resources.__dict__["state"] = state
    with sqlite3.connect(platform.resources.data / "state.db") as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM copies").fetchone()
        assert erase(platform, ITEM).left == {"log of the state database": 1}
        reader.rollback()
    reader.close()
    assert erase(platform, ITEM).left == {}
    assert not where(platform, ITEM.encode(), b"zanzibar")
