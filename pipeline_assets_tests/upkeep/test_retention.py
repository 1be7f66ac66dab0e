"""What is old enough goes, and nothing else."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline_assets.commands import retention as command
from pipeline_assets.sample.drawing import Subject
from pipeline_assets.stages import fetch
from pipeline_assets.store.blobs import BlobRef
from pipeline_assets.store.files import Temporary
from pipeline_assets.upkeep.retention import retain
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

LAMP, HAT = Subject("lamp", "blue", 4), Subject("hat", "yellow", 2)
A_DAY = 24 * 3600.0


def finish(platform: Platform, *hours: str) -> dict[str, int]:
    """Hours from the feed to the store, and how many rows each rung was given."""
    calls: dict[str, int] = {}
    for hour in hours or (HOUR,):
        platform.items(hour)
        for rung, rows in called(platform.run(hour=hour)).items():
            calls[rung] = calls.get(rung, 0) + rows
    return calls


def readable(platform: Platform, hour: str = HOUR) -> bool:
    """Whether the bytes of every fetched row are where it says."""
    rows = platform.rows("fetched", hour).values()
    places = [
        BlobRef(*(row[name] for name in ("pack", "offset", "size", "sha256"))) for row in rows
    ]
    return all(platform.resources.blobs.holds(place) for place in places)


def fed_anew(platform: Platform, goods: Goods) -> None:
    """A picture and its page that no row refers to any more, in a pack with others."""
    platform.feed([goods.product("a", LAMP, file_name="before"), goods.product("b")])
    finish(platform)
    platform.feed([goods.product("a", HAT, file_name="after"), goods.product("b")])
    finish(platform)


def test_a_copy_that_no_row_refers_to_goes_when_it_is_old(anywhere: Platform, goods: Goods) -> None:
    """Until then it may stand in for its URL. Its bytes go with it, the next time."""
    fed_anew(anywhere, goods)
    before = goods.product("a", LAMP, file_name="before").image_url or ""
    resources = anywhere.resources
    anywhere.clock.advance(29 * A_DAY)
    assert retain(resources).packs.copies == 0
    assert resources.copies.find([before])
    anywhere.clock.advance(2 * A_DAY)
    looked = retain(resources, dry_run=True).packs
    assert (looked.copies, len(looked.rewritten)) == (2, 1)
    assert resources.copies.find([before])
    packs = set(resources.blobs.packs())
    done = retain(resources).packs
    assert (done.copies, done.rewritten, done.removed) == (2, looked.rewritten, ())
    assert not resources.copies.find([before])
    assert packs < set(resources.blobs.packs())  # somebody may be reading the old one
    last = retain(resources).packs
    assert (last.removed, last.rewritten) == (looked.rewritten, ())
    assert last.freed_bytes > looked.freed_bytes > 0
    assert readable(anywhere)
    assert finish(anywhere) == {}
    assert retain(resources).packs == type(last)()


def test_a_pack_of_which_little_is_unused_stays(
    platform: Platform, goods: Goods, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To rewrite it for that would cost more than it saves."""
    fed_anew(platform, goods)
    platform.clock.advance(31 * A_DAY)
    monkeypatch.setattr("pipeline_assets.upkeep.retention.LEAST_UNUSED", 0.99)
    done = retain(platform.resources).packs
    assert (done.copies, done.rewritten, done.removed) == (2, (), ())
    assert readable(platform)


def test_a_running_fetch_keeps_all_packs(platform: Platform, goods: Goods) -> None:
    """It may be about to refer to bytes of any; the next time they go."""
    fed_anew(platform, goods)
    platform.clock.advance(31 * A_DAY)
    packs = platform.resources.blobs.packs()
    with platform.resources.leases.acquire(f"fetched/{NEXT_HOUR}"):
        done = retain(platform.resources)
    assert "fetched" in done.waits[0]
    assert platform.resources.blobs.packs() == packs
    assert retain(platform.resources).packs.rewritten


def interrupted(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the shards of a fetch that was killed before it published."""
    with monkeypatch.context() as patch:
        patch.setattr("pipeline_assets.engine.engine._publish_what_is_new", None)
        with pytest.raises(TypeError):
            platform.run(fetch.STAGE)


def test_finished_work_waits_for_some_time(
    anywhere: Platform, goods: Goods, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then it is given up: the rows are made again when somebody runs the hour."""
    anywhere.clock.at = datetime.now(UTC)  # which the shards are dated by
    anywhere.feed([goods.product("a")])
    anywhere.items()
    interrupted(anywhere, monkeypatch)
    anywhere.clock.advance(6 * A_DAY)
    assert retain(anywhere.resources).work_rows == 0
    anywhere.clock.advance(2 * A_DAY)
    assert retain(anywhere.resources, dry_run=True).work_rows == 2
    with anywhere.resources.leases.acquire(f"fetched/{HOUR}"):
        held = retain(anywhere.resources)
    assert (held.work_rows, len(held.waits)) == (0, 2)
    done = retain(anywhere.resources)
    assert (done.work_rows, done.work_bytes > 0) == (2, True)
    assert anywhere.resources.shards.names("", "*/hour=*/*") == []
    assert finish(anywhere)["fetched.http"] == 2


def test_bytes_of_finished_work_are_used(
    platform: Platform, goods: Goods, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before any table refers to them; also where no copy does."""
    platform.feed([goods.product("a")])
    platform.items()
    interrupted(platform, monkeypatch)
    platform.resources.copies.drop(
        url for url in (goods.product("a").image_url, goods.product("a").document_url) if url
    )
    assert retain(platform.resources).packs.removed == ()
    assert "fetched.http" not in finish(platform)
    assert readable(platform)


def superseded(
    folder: Path, clock: Clock, shop: FickleShop, goods: Goods, **settings: object
) -> Platform:
    """An item that has a newer row in the next hour, and one that has not."""
    platform = Platform(open_resources(folder, clock, shop, **settings), clock)
    then = goods.product("a", LAMP, file_name="then")
    now = replace(goods.product("a", HAT), event_time=then.event_time + timedelta(hours=1))
    platform.feed([then, now, goods.product("b")])
    finish(platform, HOUR, NEXT_HOUR)
    return platform


@pytest.mark.parametrize(
    ("keep", "days", "left"),
    [
        ({}, 999, {"a", "b"}),
        ({"keep_superseded": "1d"}, 1, {"b"}),
        ({"keep_superseded": "9d"}, 1, {"a", "b"}),
    ],
    ids=["for ever", "over", "not yet"],
)
def test_superseded_rows_go_if_that_is_wanted(
    tmp_path: Path,
    clock: Clock,
    shop: FickleShop,
    goods: Goods,
    keep: dict[str, str],
    days: int,
    left: set[str],
) -> None:
    """From all tables of their hour; the hour of the newer row is as it was."""
    platform = superseded(tmp_path / "data", clock, shop, goods, **keep)
    clock.advance(days * A_DAY)
    looked = retain(platform.resources, dry_run=True).superseded
    done = retain(platform.resources).superseded
    assert looked == done
    assert platform.rows("items").keys() == platform.rows("enriched_items").keys() == left
    assert platform.rows("items", NEXT_HOUR).keys() == {"a"}
    assert readable(platform)
    platform.resources.close()


def test_what_killed_writers_left_goes(platform: Platform, goods: Goods) -> None:
    """But not what somebody is writing."""
    platform.feed([goods.product("a")])
    finish(platform)
    folder = platform.resources.data / "blobs"
    gone, going = folder / ".x.tar.123.tmp", Temporary(folder / "y.tar")
    gone.write_bytes(b"half a pack")
    with going.open() as file:
        file.write(b"half another")
        assert retain(platform.resources).leftovers == 1
        assert (gone.exists(), going.path.exists()) == (False, True)
    going.release()


def test_the_command_says_what_went(platform: Platform, goods: Goods) -> None:
    """In numbers, and in words."""
    fed_anew(platform, goods)
    platform.clock.advance(31 * A_DAY)
    looked = command.run(platform.resources, dry_run=True)
    assert looked["said"][0].startswith("nothing is changed")
    done = command.run(platform.resources, dry_run=False)
    assert (done["copies"], done["packs_rewritten"], done["waits"]) == (2, 1, [])
    assert done["said"][0] == "let go:"
