"""Fetch, from a real server with a real shop's faults."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline_assets.core.breaker import Mode
from pipeline_assets.core.budget import RETRY_CAPACITY, SUCCESSES_PER_RETRY, Again, next_try
from pipeline_assets.core.rows import Work
from pipeline_assets.engine.engine import materialize
from pipeline_assets.engine.orders import Listener, Order
from pipeline_assets.fetch.packing import ASK_AT_BYTES
from pipeline_assets.sample.catalogue import CatalogueItem
from pipeline_assets.sample.shop import Shop
from pipeline_assets.settings import Settings
from pipeline_assets.stages import fetch
from pipeline_assets.store.blobs import BlobRef, UrlCopy
from pipeline_assets_tests.conftest import (
    HOUR,
    HOUR_START,
    Clock,
    FickleShop,
    Goods,
    Platform,
    called,
    in_batches_of,
    open_resources,
)

ONE_BY_ONE = in_batches_of(fetch.STAGE, 1)


def fetched(platform: Platform, *rows: object) -> dict[str, dict[str, object]]:
    """Feed and fetch."""
    platform.feed(rows)  # type: ignore[arg-type]  # catalogue items
    platform.items()
    platform.run(fetch.STAGE)
    return platform.rows("fetched")


def image_path(item: CatalogueItem) -> str:
    """Where on its shop an item's picture is."""
    return "/" + (item.image_url or "").split("/", 3)[3]


def packs(platform: Platform) -> list[Path]:
    """Every file among the packs."""
    return [path for path in (platform.resources.data / "blobs").rglob("*") if path.is_file()]


@contextmanager
def shop_that_asks_for(
    seconds: int, tmp_path: Path, clock: Clock
) -> Iterator[tuple[Platform, Goods, Shop]]:
    """A shop whose 429 asks to be left alone for `seconds`, and a data root to work on."""
    with (
        Shop(retry_after_s=seconds) as shop,
        closing(open_resources(tmp_path / "data", clock, shop)) as resources,
    ):
        yield Platform(resources, clock), Goods(shop.url), shop


def test_the_bytes_are_in_a_pack_that_the_row_refers_to(platform: Platform, goods: Goods) -> None:
    """By pack, offset, size and sha256; an absent role has nothing to do."""
    rows = fetched(platform, goods.product("a", has_document=False))
    row = rows["a/image"]
    ref = BlobRef(row["pack"], row["offset"], row["size"], row["sha256"])  # type: ignore[arg-type]
    assert platform.resources.blobs.read(ref).startswith(b"\xff\xd8\xff")
    assert (row["status"], row["rung"], row["quality"]) == ("ok", "http", 1.0)
    assert row["content_type"] == "image/jpeg"
    absent = rows["a/document"]
    assert (absent["status"], absent["quality"], absent["error_kind"]) == (
        "not-applicable",
        1.0,
        None,
    )


@pytest.mark.parametrize(
    ("fault", "status", "kind", "tries"),
    [
        ("404", "failed", "not_found", 1),
        ("410", "failed", "not_found", 1),
        ("403", "failed", "forbidden", 1),
        ("empty-body", "failed", "invalid_input", 1),
        ("503x9", "skipped", "overloaded", 3),
        ("429x9", "skipped", "rate_limited", 3),
    ],
)
def test_a_fault_without_an_earlier_copy_says_what_it_was(
    platform: Platform,
    goods: Goods,
    shop: FickleShop,
    fault: str,
    status: str,
    kind: str,
    tries: int,
) -> None:
    """Data errors are asked for once and fail for good; the document is not touched."""
    item = goods.product("a", image_fault=fault)
    rows = fetched(platform, item)
    row = rows["a/image"]
    assert (row["status"], row["error_kind"], row["retryable"]) == (status, kind, tries > 1)
    assert (row["attempts"], shop.requests(image_path(item))) == (tries, tries)
    assert row["quality"] == 0.5
    assert row["url"] is None
    assert rows["a/document"]["status"] == "ok"


def test_a_burst_of_503_is_ridden_out(platform: Platform, goods: Goods, shop: FickleShop) -> None:
    """Within one run, alone: the document is not asked for again; no pack without a row."""
    item = goods.product("a", image_fault="503")
    rows = fetched(platform, item)
    assert (rows["a/image"]["rung"], rows["a/image"]["attempts"]) == ("http", 3)
    assert sorted(shop.all_requests().values()) == [1, 3]
    refs = [BlobRef(r["pack"], r["offset"], r["size"], r["sha256"]) for r in rows.values()]  # type: ignore[arg-type]
    assert all(map(platform.resources.blobs.read, refs))
    assert len(packs(platform)) == len({ref.pack for ref in refs}) == 2
    found = platform.resources.copies.find([item.image_url or "", item.document_url or ""])
    assert {copy.blob for copy in found.values()} == set(refs)


def test_tries_that_bring_nothing_leave_no_pack(platform: Platform, goods: Goods) -> None:
    """And note no copy."""
    item = goods.product("a", image_fault="503x9", has_document=False)
    assert fetched(platform, item)["a/image"]["attempts"] == 3
    assert packs(platform) == []
    assert platform.resources.copies.find([item.image_url or ""]) == {}


def test_what_was_fetched_is_durable_before_others_are_waited_for(
    platform: Platform, goods: Goods
) -> None:
    """Whoever ends the run in the wait has its bytes as the last good copy."""
    item = goods.product("a", image_fault="503")
    platform.feed([item])
    platform.items()

    def ended(_seconds: float) -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        materialize(Order("fetched", HOUR, "run"), platform.resources, Listener(sleep=ended))
    (copy,) = platform.resources.copies.find([item.document_url or ""]).values()
    assert platform.resources.blobs.read(copy.blob).startswith(b"<!doctype html>")


def test_a_long_burst_is_healed_by_a_later_run(platform: Platform, goods: Goods) -> None:
    """Only the row that failed is asked for again."""
    rows = fetched(platform, goods.product("a", image_fault="503x3"), goods.product("b"))
    assert rows["a/image"]["status"] == "skipped"
    assert called(platform.run(fetch.STAGE)) == {"fetched.http": 1}
    row = platform.rows("fetched")["a/image"]
    assert (row["status"], row["rung"], row["attempts"], row["error"]) == ("ok", "http", 4, None)


def test_a_resource_that_hangs_has_all_its_tries_before_the_deadline() -> None:
    """Two timeouts, and the longest waits that can be drawn: otherwise no try would be charged."""
    backoff = fetch.STAGE.rungs[0].backoff
    assert backoff is not None
    elapsed_s = 2 * Settings.model_fields["fetch_timeout_s"].default + backoff.first_s
    assert isinstance(next_try(backoff, 2, elapsed_s, None, lambda _low, high: high), Again)


def test_a_short_retry_after_is_waited_for(tmp_path: Path, clock: Clock) -> None:
    """All of it, and some jitter; then the breaker, open for as long, lets one through."""
    with shop_that_asks_for(7, tmp_path, clock) as (platform, goods, shop):
        item = goods.product("a", image_fault="429", has_document=False)
        platform.feed([item])
        platform.items()
        began = clock.at
        platform.run(fetch.STAGE)
        row = platform.rows("fetched")["a/image"]
        assert (row["rung"], row["attempts"], shop.requests(image_path(item))) == ("http", 2, 2)
        # A second passes before the run.
        assert timedelta(seconds=8) <= clock.at - began <= timedelta(seconds=8.5)


def test_a_long_retry_after_is_waited_for_outside(tmp_path: Path, clock: Clock) -> None:
    """By the row, whose attempt is not charged, and by all others that want that host."""
    with shop_that_asks_for(600, tmp_path, clock) as (platform, goods, shop):
        first = goods.product("a", image_fault="429", has_document=False)
        second = goods.product("b", file_name="other", has_document=False)
        platform.feed([first, second])
        platform.items()
        platform.run(ONE_BY_ONE)
        due = clock.at + timedelta(seconds=600)
        rows = platform.rows("fetched")
        row = rows["a/image"]
        assert (row["status"], row["error_kind"], row["attempts"]) == ("skipped", "rate_limited", 0)
        assert due <= row["retry_at"] <= due + timedelta(seconds=0.5)
        row = rows["b/image"]
        assert (row["status"], row["error_kind"], row["attempts"]) == ("skipped", "circuit_open", 0)
        assert row["retry_at"] == due
        host = f"fetched.http@{shop.url.removeprefix('http://').partition(':')[0]}"
        assert platform.resources.breakers.load(host).mode is Mode.OPEN

        clock.advance(590)
        platform.run(ONE_BY_ONE)
        platform.run(ONE_BY_ONE, force=True)
        assert shop.all_requests() == {image_path(first): 1}

        clock.at = due
        platform.run(ONE_BY_ONE)
        rows = platform.rows("fetched")
        assert [(row["status"], row["attempts"]) for row in rows.values() if row["url"]] == [
            ("ok", 1),
            ("ok", 1),
        ]
        assert shop.all_requests() == {image_path(first): 2, image_path(second): 1}


def test_until_a_long_retry_after_is_over_the_old_copy_stands_in(
    tmp_path: Path, clock: Clock
) -> None:
    """The look for it is no attempt either, and the row knows when to ask again."""
    with shop_that_asks_for(600, tmp_path, clock) as (platform, goods, shop):
        item = goods.product("a", image_fault="429", has_document=False)
        with platform.resources.blobs.pack() as pack:
            old = UrlCopy(pack.add(b"old"), "image/jpeg", HOUR_START)
        platform.resources.copies.keep({item.image_url or "": old})
        row = fetched(platform, item)["a/image"]
        assert (row["rung"], row["error_kind"], row["attempts"]) == (
            "last_good_copy",
            "rate_limited",
            0,
        )
        asked_again = clock.at + timedelta(seconds=600)
        assert row["retry_at"] >= asked_again  # type: ignore[operator]  # a timestamp column
        clock.at = asked_again + timedelta(seconds=1)
        platform.run(fetch.STAGE)
        row = platform.rows("fetched")["a/image"]
        assert (row["rung"], row["attempts"], shop.requests(image_path(item))) == ("http", 1, 2)


@pytest.mark.parametrize("fault", ["503", "503x9", "429", "429x9"])
def test_a_few_addresses_that_fail_leave_the_rest_of_their_host_alone(
    platform: Platform, goods: Goods, fault: str
) -> None:
    """Tries of nothing but what failed prove nothing about a host that answers the others."""
    faulty = [
        goods.product(f"{n}", image_fault=fault, file_name=f"bad-{n}", has_document=False)
        for n in range(8)
    ]
    sound = [
        goods.product(f"{n}-sound", file_name=f"img-{n}", has_document=False) for n in range(8)
    ]
    platform.feed([*faulty, *sound])
    platform.items()
    platform.run(in_batches_of(fetch.STAGE, 2))
    rows = platform.rows("fetched")
    assert {rows[f"{n}-sound/image"]["rung"] for n in range(8)} == {"http"}
    assert {rows[f"{n}/image"]["error_kind"] for n in range(8)} <= {
        None,
        "overloaded",
        "rate_limited",
    }
    assert platform.resources.breakers.events(None, 1) == []


@pytest.mark.parametrize("has_document", [False, True])
def test_an_outage_is_not_answered_with_a_storm(
    platform: Platform, goods: Goods, shop: FickleShop, has_document: bool
) -> None:
    """300 pictures, none to be had: a hundred tries more, and a tenth of what else was fetched."""
    items = [
        goods.product(
            f"item-{number}",
            image_fault="503x9",
            file_name=f"img-{number}",
            has_document=has_document,
        )
        for number in range(300)
    ]
    rows = fetched(platform, *items)
    successes = sum(row["status"] == "ok" for row in rows.values())
    assert successes == (300 if has_document else 0)
    requests = sum(shop.requests(image_path(item)) for item in items)
    most = RETRY_CAPACITY + successes / SUCCESSES_PER_RETRY
    assert RETRY_CAPACITY <= requests - 300 <= most


def test_a_url_that_two_items_name_is_asked_for_once(
    platform: Platform, goods: Goods, shop: FickleShop
) -> None:
    """And both have its bytes."""
    item = goods.product("a")
    rows = fetched(platform, item, replace(item, item_id="b"))
    assert shop.requests(image_path(item)) == 1
    assert rows["a/image"]["sha256"] == rows["b/image"]["sha256"]


def test_an_opt_out_is_not_answered_with_an_old_copy(
    platform: Platform, goods: Goods, shop: FickleShop
) -> None:
    """403 after 200: the copy is there and is not used."""
    item = goods.product("a")
    fetched(platform, item)
    assert item.image_url is not None
    shop.gone[item.image_url.removeprefix(shop.url)] = 403
    platform.run(fetch.STAGE, force=True)
    # On the same input nothing gets worse: the row keeps its bytes, the other item never gets any.
    rows = fetched(platform, item, replace(item, item_id="b"))
    assert (rows["b/image"]["status"], rows["b/image"]["error_kind"]) == ("failed", "forbidden")


def test_a_refusal_that_is_meant_takes_the_bytes_away(
    platform: Platform, goods: Goods, shop: FickleShop
) -> None:
    """451 after 200: the row has none any more, and no earlier copy stands in for anyone."""
    item = goods.product("a")
    assert fetched(platform, item)["a/image"]["status"] == "ok"
    path = (item.image_url or "").removeprefix(shop.url)
    shop.gone[path] = 451
    platform.run(fetch.STAGE, force=True)
    row = fetched(platform, item)["a/image"]
    assert (row["status"], row["error_kind"], row["sha256"]) == ("failed", "blocked", None)
    shop.gone[path] = 503
    rows = fetched(platform, item, replace(item, item_id="b"))
    assert (rows["a/image"]["status"], rows["b/image"]["status"]) == ("failed", "skipped")


def test_a_lost_pack_costs_just_its_own_rows(
    platform: Platform, goods: Goods, shop: FickleShop
) -> None:
    """One copy that cannot be read is one row without it, not a batch."""
    kept, lost = goods.product("kept", file_name="kept"), goods.product("lost", file_name="lost")
    fetched(platform, kept)
    gone = UrlCopy(BlobRef("2026/01/01/gone.tar", 512, 3, "0" * 64), None, HOUR_START)
    platform.resources.copies.keep({lost.image_url or "": gone})
    for item in (kept, lost):
        shop.gone[(item.image_url or "").removeprefix(shop.url)] = 503
    rows = fetched(platform, replace(kept, item_id="again"), lost)
    assert (rows["again/image"]["status"], rows["again/image"]["rung"]) == ("ok", "last_good_copy")
    assert rows["again/image"]["error_kind"] == "overloaded"
    assert (rows["lost/image"]["status"], rows["lost/image"]["error_kind"]) == (
        "skipped",
        "overloaded",
    )


def test_fresh_bytes_replace_an_old_copy(
    platform: Platform, goods: Goods, shop: FickleShop
) -> None:
    """When the server is back."""
    item = goods.product("a")
    fetched(platform, item)
    path = (item.image_url or "").removeprefix(shop.url)
    shop.gone[path] = 503
    again = replace(item, item_id="b")
    assert fetched(platform, item, again)["b/image"]["quality"] == pytest.approx(0.95)
    del shop.gone[path]
    assert called(platform.run(fetch.STAGE)) == {"fetched.http": 1}
    assert platform.rows("fetched")["b/image"]["rung"] == "http"


def test_an_address_that_is_not_allowed_is_blocked(platform: Platform, goods: Goods) -> None:
    """Loopback is open for the shop's own port and nothing else."""
    item = replace(goods.product("a"), image_url="http://127.0.0.1:9/secret.jpg")
    row = fetched(platform, item)["a/image"]
    assert (row["status"], row["error_kind"], row["retryable"]) == ("failed", "blocked", False)


def test_another_scheme_is_a_failed_row_that_names_it(platform: Platform, goods: Goods) -> None:
    """The item's other resource is fetched all the same."""
    rows = fetched(platform, replace(goods.product("a"), image_url="ftp://shop.example/x.jpg"))
    assert rows["a/image"]["status"] == "failed"
    assert "ftp://shop.example/x.jpg" in str(rows["a/image"]["error"])
    assert rows["a/document"]["status"] == "ok"


def test_an_interrupted_fetch_leaves_no_file(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a pack nor the beginning of one."""

    def interrupted(_urls: Sequence[str], store: Callable[[bytes], str], _known: object) -> None:
        store(bytes(ASK_AT_BYTES))
        assert list(platform.resources.data.rglob("*.tar.*"))
        raise KeyboardInterrupt

    monkeypatch.setattr(platform.resources.fetcher, "fetch_all", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch.http(platform.resources, [Work(("a",), {"url": "http://shop.example/a"})])
    assert not list(platform.resources.data.rglob("*.tar*"))


def test_what_has_not_changed_is_not_sent_again(
    platform: Platform, goods: Goods, shop: FickleShop
) -> None:
    """The row has its bytes, with the time at which the server said so."""
    item = goods.product("a", has_document=False)
    before = fetched(platform, item)["a/image"]
    platform.clock.advance(3600)
    platform.run(fetch.STAGE, force=True)
    after = platform.rows("fetched")["a/image"]
    assert shop.requests(image_path(item)) == 2
    assert len(packs(platform)) == 1
    place = ("url", "content_type", "pack", "offset", "size", "sha256", "etag")
    assert [after[name] for name in place] == [before[name] for name in place]
    assert after["etag"] is not None
    assert (after["rung"], after["error"]) == ("http", None)
    assert after["fetched_at"] == platform.clock.at


def test_what_has_not_changed_but_is_lost_is_sent_again(
    platform: Platform, goods: Goods, shop: FickleShop
) -> None:
    """Asked for once more, without conditions, and stored anew."""
    item = goods.product("a", has_document=False)
    before = fetched(platform, item)["a/image"]
    (pack,) = packs(platform)
    pack.unlink()
    platform.run(fetch.STAGE, force=True)
    after = platform.rows("fetched")["a/image"]
    assert shop.requests(image_path(item)) == 3
    assert (after["sha256"], after["pack"] == before["pack"]) == (before["sha256"], False)
    assert platform.resources.blobs.read(
        BlobRef(after["pack"], after["offset"], after["size"], after["sha256"])
    )


def test_the_same_bytes_under_another_address_are_stored_once(
    platform: Platform, goods: Goods
) -> None:
    """In whatever micro-batch, hour or pack."""
    first = goods.product("a", file_name="one", has_document=False)
    second = goods.product("b", file_name="two", has_document=False)
    fetched(platform, first)
    rows = fetched(platform, first, second)
    assert rows["b/image"]["url"] != rows["a/image"]["url"]
    assert rows["b/image"]["pack"] == rows["a/image"]["pack"]
    assert len(packs(platform)) == 1


def test_an_old_copy_says_how_old_it_is(platform: Platform, goods: Goods, shop: FickleShop) -> None:
    """Behind the reason why there is no newer one; its own time is in the row."""
    item = goods.product("a")
    then = fetched(platform, item)["a/image"]["fetched_at"]
    shop.gone[image_path(item)] = 503
    platform.clock.advance(26 * 3600)
    row = fetched(platform, item, replace(item, item_id="b"))["b/image"]
    assert "503; the copy of 2026-03-03 06:00 UTC stands in, 1 d 2 h old" in str(row["error"])
    assert row["fetched_at"] == then
