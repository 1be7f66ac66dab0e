"""Where the last good copy of a URL lies."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from pipeline_assets.state.copies import PER_QUERY, Copies
from pipeline_assets.state.database import State
from pipeline_assets.store.blobs import BlobRef, UrlCopy
from pipeline_assets.store.validators import NO_VALIDATORS, Validators
from pipeline_assets_tests.conftest import HOUR_START

COPY = UrlCopy(BlobRef("2026/03/02/a.tar", 512, 7, "ab" * 32), "text/html", HOUR_START)


@pytest.fixture
def copies(database_url: str) -> Iterator[Copies]:
    """An empty index."""
    state = State(database_url)
    yield Copies(state)
    state.close()


def test_a_copy_is_found_as_it_was_kept(copies: Copies) -> None:
    """Place, type and time, to the microsecond."""
    kept = replace(COPY, content_type=None, fetched_at=HOUR_START.replace(microsecond=123456))
    copies.keep({"https://shop.example/a": COPY, "https://shop.example/b": kept})
    found = copies.find(["https://shop.example/a", "https://shop.example/b", "https://x.example"])
    assert found == {"https://shop.example/a": COPY, "https://shop.example/b": kept}


@pytest.mark.parametrize(
    "url", ["https://shop.example/" + "x" * 6000, "https://x.example/\0", "ü" * 900]
)
def test_any_url_can_be_kept(copies: Copies, url: str) -> None:
    """However long, and whatever is in it."""
    copies.keep({url: COPY})
    assert copies.find([url, "https://shop.example/"]) == {url: COPY}


def test_many_who_keep_the_same_urls_do_not_wait_for_each_other_for_ever(copies: Copies) -> None:
    """Whatever order each has them in."""
    urls = [f"https://shop.example/{number}" for number in range(50)]
    orders = [urls, urls[::-1]] * 10
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda order: copies.keep(dict.fromkeys(order, COPY)), orders))
    assert len(copies.find(urls)) == len(urls)


def test_a_newer_copy_replaces_the_older(copies: Copies) -> None:
    """The last good one is the one to fall back to."""
    newer = replace(COPY, blob=replace(COPY.blob, pack="2026/03/03/b.tar"))
    copies.keep({"u": COPY})
    copies.keep({"u": newer})
    copies.keep({})
    assert copies.find(["u"]) == {"u": newer}


def test_an_older_copy_does_not_replace_a_newer_one(copies: Copies) -> None:
    """Whoever comes last: a recovery tells of old ones while a run fetches new ones."""
    older = replace(COPY, fetched_at=HOUR_START - timedelta(days=1))
    copies.keep({"u": COPY})
    copies.keep({"u": older})
    assert copies.find(["u"]) == {"u": COPY}


def test_any_number_of_urls_can_be_asked_for(copies: Copies) -> None:
    """Past what one statement takes."""
    urls = [f"https://shop.example/{i}" for i in range(PER_QUERY + 1)]
    copies.keep(dict.fromkeys(urls, COPY))
    assert len(copies.find(urls)) == len(urls)
    assert copies.find([]) == {}


def test_validators_are_kept_with_the_copy(copies: Copies) -> None:
    """And replaced with it."""
    kept = replace(COPY, validators=Validators('"v1"', "Mon, 02 Mar 2026 06:00:00 GMT"))
    copies.keep({"u": kept})
    assert copies.find(["u"]) == {"u": kept}
    copies.keep({"u": COPY})
    assert copies.find(["u"])["u"].validators == NO_VALIDATORS


def test_a_copy_is_found_by_its_bytes(copies: Copies) -> None:
    """Whatever their URL was; of several, one."""
    elsewhere = replace(COPY.blob, pack="2026/03/02/b.tar", sha256="cd" * 32)
    copies.keep({"a": COPY, "b": COPY, "c": replace(COPY, blob=elsewhere)})
    found = copies.holding(["ab" * 32, "cd" * 32, "ef" * 32])
    assert found == {"ab" * 32: COPY.blob, "cd" * 32: elsewhere}
    assert copies.holding([]) == {}
