"""Fetch, from a real server with a real shop's faults."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from pipeline_assets.adapters.blobs import BlobRef, Copy
from pipeline_assets.core.rows import Work
from pipeline_assets.stages import fetch
from pipeline_assets_tests.conftest import HOUR_START, FickleShop, Goods, Platform, called


def fetched(platform: Platform, *rows: object) -> dict[str, dict[str, object]]:
    """Feed and fetch."""
    platform.feed(rows)  # type: ignore[arg-type]  # catalogue items
    platform.items()
    platform.run(fetch.STAGE)
    return platform.rows("fetched")


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
    ("fault", "status", "kind", "retryable"),
    [
        ("404", "failed", "not_found", False),
        ("410", "failed", "not_found", False),
        ("403", "failed", "forbidden", False),
        ("empty-body", "failed", "invalid_input", False),
        ("503x9", "skipped", "overloaded", True),
        ("429x9", "skipped", "rate_limited", True),
    ],
)
def test_a_fault_without_an_earlier_copy_says_what_it_was(
    platform: Platform, goods: Goods, fault: str, status: str, kind: str, retryable: bool
) -> None:
    """Data errors fail for good, the others are retried later; the document is not touched."""
    rows = fetched(platform, goods.product("a", image_fault=fault))
    row = rows["a/image"]
    assert (row["status"], row["error_kind"], row["retryable"]) == (status, kind, retryable)
    assert row["quality"] == 0.5
    assert row["url"] is None
    assert rows["a/document"]["status"] == "ok"


def test_a_burst_of_503_is_ridden_out(platform: Platform, goods: Goods, shop: FickleShop) -> None:
    """Within one run."""
    item = goods.product("a", image_fault="503")
    assert fetched(platform, item)["a/image"]["rung"] == "http"
    assert item.image_url is not None
    assert shop.requests(item.image_url.removeprefix(shop.url)) == 3


def test_a_long_burst_is_healed_by_a_later_run(platform: Platform, goods: Goods) -> None:
    """Only the row that failed is asked for again."""
    rows = fetched(platform, goods.product("a", image_fault="503x4"), goods.product("b"))
    assert rows["a/image"]["status"] == "skipped"
    assert called(platform.run(fetch.STAGE)) == {"fetched.http": 1}
    row = platform.rows("fetched")["a/image"]
    assert (row["status"], row["rung"], row["attempts"], row["error"]) == ("ok", "http", 2, None)


def test_a_url_that_two_items_name_is_asked_for_once(
    platform: Platform, goods: Goods, shop: FickleShop
) -> None:
    """And both have its bytes."""
    item = goods.product("a")
    rows = fetched(platform, item, replace(item, item_id="b"))
    assert item.image_url is not None
    assert shop.requests(item.image_url.removeprefix(shop.url)) == 1
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


def test_a_lost_pack_costs_just_its_own_rows(
    platform: Platform, goods: Goods, shop: FickleShop
) -> None:
    """One copy that cannot be read is one row without it, not a batch."""
    kept, lost = goods.product("kept", file_name="kept"), goods.product("lost", file_name="lost")
    fetched(platform, kept)
    gone = Copy(BlobRef("2026/01/01/gone.tar", 512, 3, "0" * 64), None, HOUR_START)
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

    def interrupted(_urls: Sequence[str], store: Callable[[bytes], BlobRef]) -> None:
        store(b"a body")
        assert list(platform.resources.data.rglob("*.tar.*"))
        raise KeyboardInterrupt

    monkeypatch.setattr(platform.resources.fetcher, "fetch_all", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch.http(platform.resources, [Work(("a",), {"url": "http://shop.example/a"})])
    assert not list(platform.resources.data.rglob("*.tar*"))
