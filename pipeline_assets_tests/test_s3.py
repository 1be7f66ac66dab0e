"""The whole platform with its data in a bucket."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline_assets.commands import doctor as doctor_module
from pipeline_assets.commands.doctor import Finding, doctor
from pipeline_assets.commands.quality import By, quality
from pipeline_assets.commands.queues import retry_queue
from pipeline_assets.commands.search import search
from pipeline_assets.commands.show import show
from pipeline_assets.errors import Overtaken
from pipeline_assets.monitoring.derived import DERIVED, derive
from pipeline_assets.resources import Resources
from pipeline_assets.search import IndexDamaged
from pipeline_assets.settings import load_settings
from pipeline_assets.stages import classify_image, extract_text, fetch, validate
from pipeline_assets.store.s3_storage import S3Storage, bucket
from pipeline_assets.store.s3_urls import S3Url
from pipeline_assets_tests.conftest import (
    HOUR,
    Clock,
    FickleShop,
    Goods,
    Platform,
    called,
)
from pipeline_assets_tests.s3 import S3Server, in_a_bucket


@pytest.fixture
def remote(s3: S3Server, tmp_path: Path, clock: Clock, shop: FickleShop) -> Iterator[Platform]:
    """An empty data root in a bucket."""
    with in_a_bucket(s3, tmp_path, clock, shop) as resources:
        yield Platform(resources, clock)


def on_another_host(platform: Platform, folder: Path) -> Platform:
    """The same bucket and database from a machine with a cache of its own, an empty one."""
    settings = platform.resources.settings.model_copy(update={"cache_dir": folder})
    resources = replace(platform.resources, settings=settings)
    resources.__dict__["state"] = platform.resources.state
    return Platform(resources, platform.clock)


def finish(platform: Platform, hour: str = HOUR) -> dict[str, int]:
    """An hour from the feed to the index, and how many rows each rung was given."""
    platform.items(hour)
    reports = platform.run(hour=hour)
    resources = platform.resources
    for table in DERIVED:
        resources.tables.write(table, hour, derive(resources.tables, table, hour, 0.8))
    resources.search.replace_hour(hour, resources.tables.read("enriched_items", hour))
    return called(reports)


def names(platform: Platform, text: str) -> list[str]:
    """The items that are found for a text."""
    return [hit["item_id"] for hit in search(platform.resources, text, mode="hybrid", top=5)]


def test_an_hour_goes_from_the_feed_to_the_index(
    remote: Platform, goods: Goods, tmp_path: Path
) -> None:
    """Nothing of it lies on this machine but what can be made again, and nothing is redone."""
    remote.feed([goods.product("a"), goods.product("b", name="yellow hat", image_fault="404")])
    assert finish(remote)["fetched.http"] == 4
    enriched = remote.rows("enriched_items")
    assert enriched["a"]["quality"] == pytest.approx(1.0)
    assert enriched["b"]["quality"] < 1.0
    assert names(remote, "yellow hat")[0] == "b"
    tables = remote.resources.tables
    assert tables.url("items", HOUR).startswith(f"{remote.resources.settings.data}/tables/items/")
    assert len(remote.resources.storage.names("blobs", "*/*/*/*.tar")) == 1
    assert not remote.resources.shards.names("", "*/*/*.arrow")
    left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert not {name for name in left if name.endswith((".parquet", ".tar", ".arrow", ".tmp"))}
    shutil.rmtree(tmp_path / "cache")
    assert finish(remote) == {}


def test_the_commands_read_the_bucket(remote: Platform, goods: Goods) -> None:
    """Queries over the tables of all hours, and a look at one item."""
    remote.feed([goods.product("a"), goods.product("b", image_fault="404")])
    finish(remote)
    (hour,) = quality(remote.resources, By.HOUR)
    assert (hour["hour"], hour["rows"]) == (HOUR, 2)
    by_stage = {row["stage"]: row["rows"] for row in quality(remote.resources, By.STAGE)}
    assert by_stage["fetched"] == 4
    assert retry_queue(remote.resources, 10) == []
    found = show(remote.resources, "b")
    assert found is not None
    assert {row["status"] for row in found["stages"]["fetched"]} == {"ok", "failed"}


def test_another_hosts_index_follows_the_tables(
    remote: Platform, goods: Goods, tmp_path: Path
) -> None:
    """It has none yet, or one that has not seen what was done since."""
    remote.feed([goods.product("a", name="red shirt")])
    finish(remote)
    assert names(on_another_host(remote, tmp_path / "other"), "red shirt") == ["a"]
    remote.feed([goods.product("a", name="blue coat"), goods.product("b", name="green scarf")])
    finish(remote)
    assert names(on_another_host(remote, tmp_path / "other"), "blue coat")[0] == "a"
    assert names(on_another_host(remote, tmp_path / "other"), "green scarf")[0] == "b"


def test_a_damaged_index_follows_nothing_and_is_said_so(
    remote: Platform, goods: Goods, tmp_path: Path
) -> None:
    """By whoever asks it, with what to do; not by opening the data root."""
    remote.feed([goods.product("a")])
    finish(remote)
    assert on_another_host(remote, tmp_path / "other").resources.search.count() == 1
    for database in (tmp_path / "other").rglob("*.db*"):
        database.write_bytes(b"no database" * 1000)
    remote.feed([goods.product("a", name="blue coat")])
    finish(remote)
    index = on_another_host(remote, tmp_path / "other").resources.search
    with pytest.raises(IndexDamaged):
        index.count()


def test_an_owner_that_slept_between_a_look_at_its_lease_and_the_put_changes_nothing(
    remote: Platform, goods: Goods, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On another host no lock holds the successor back; its table stands."""
    remote.feed([goods.product("a")])
    remote.items()
    remote.run(fetch.STAGE, validate.STAGE, extract_text.STAGE)
    successor = on_another_host(remote, tmp_path / "other")
    replaced = S3Storage.replace

    def sleep_first(storage: S3Storage, collected: Path, name: str, seen: str) -> None:
        monkeypatch.setattr(S3Storage, "replace", replaced)
        remote.clock.advance(120)
        successor.run(classify_image.STAGE, run="successor", force=True)
        storage.replace(collected, name, seen)

    monkeypatch.setattr(S3Storage, "replace", sleep_first)
    with pytest.raises(Overtaken, match="image_labels"):
        remote.run(classify_image.STAGE, run="slow")
    assert remote.rows("image_labels")["a"]["run_id"] == "successor"
    assert called(remote.run(classify_image.STAGE, run="next")) == {}
    assert remote.rows("image_labels")["a"]["run_id"] == "successor"


def test_items_may_name_objects_under_configured_prefixes(
    s3: S3Server, tmp_path: Path, clock: Clock, shop: FickleShop, goods: Goods
) -> None:
    """Beside others on the web; what lies elsewhere is blocked."""
    prefix = s3.root()
    bucket(prefix.bucket).put(f"{prefix.key}/in/page.html", b"<h1>A shirt</h1><p>Of linen.</p>")
    bucket(prefix.bucket).put(f"{prefix.key}/out/page.html", b"<h1>No</h1>")
    inside, outside = (
        replace(goods.product(name), document_url=f"{prefix}/{name}/page.html")
        for name in ("in", "out")
    )
    with in_a_bucket(s3, tmp_path, clock, shop, fetch_s3=(prefix / "in",)) as resources:
        platform = Platform(resources, clock)
        platform.feed([inside, outside])
        platform.items()
        platform.run()
        fetched = platform.rows("fetched")
        assert fetched["in/document"]["status"] == "ok"
        assert fetched["in/image"]["status"] == "ok"
        assert (fetched["out/document"]["status"], fetched["out/document"]["error_kind"]) == (
            "failed",
            "blocked",
        )
        assert "linen" in platform.rows("extracted_text")["in"]["text"]


def storage_finding(resources: Resources) -> Finding:
    """What doctor says of the storage."""
    return next(finding for finding in doctor(resources) if finding.what == "storage")


def test_doctor_tries_the_bucket(remote: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is needed of it, and leaves nothing there."""
    monkeypatch.setattr(
        doctor_module, "LOOKS", [look for look in doctor_module.LOOKS if look[0] == "storage"]
    )
    well = storage_finding(remote.resources)
    assert well.ok, well
    assert "on conditions too" in well.found
    assert remote.resources.shards.names("", "*") == []

    def ignore(storage: S3Storage, collected: Path, name: str, _seen: str) -> None:
        storage.put(name, collected.read_bytes())

    with monkeypatch.context() as patched:
        patched.setattr(S3Storage, "replace", ignore)
        ill = storage_finding(remote.resources)
    assert not ill.ok
    assert "conditional writes" in (ill.mend or "")
    assert remote.resources.shards.names("", "*") == []


def test_doctor_takes_no_hour_into_the_index_of_this_host(
    remote: Platform, goods: Goods, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that is new is well: the first search reads them."""
    remote.feed([goods.product("a")])
    finish(remote)
    other = on_another_host(remote, tmp_path / "other").resources
    monkeypatch.setattr(
        doctor_module, "LOOKS", [look for look in doctor_module.LOOKS if look[0] == "search index"]
    )
    (finding,) = doctor(other)
    assert (finding.ok, finding.found) == (True, "not there yet; the first search makes it")
    assert not (other.data / "search").exists()
    assert other.search.count() == 1
    (finding,) = doctor(other)
    assert finding.ok
    assert "1 items of 1 hours" in finding.found


def test_doctor_says_that_there_is_no_bucket(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what it should be."""
    assert s3.endpoint
    monkeypatch.setattr(
        doctor_module, "LOOKS", [look for look in doctor_module.LOOKS if look[0] == "storage"]
    )
    settings = load_settings(
        data=S3Url("no-such-bucket", "x"), state_url="sqlite://", cache_dir=tmp_path
    )
    finding = storage_finding(Resources(settings))
    assert "no such bucket" in finding.found
    assert "s3://bucket/prefix" in (finding.mend or "")
