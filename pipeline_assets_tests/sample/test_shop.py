"""The shop over a real socket, with each of its misbehaviours."""

import http.client
import io
import socket
import struct
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message

import pytest
from PIL import Image

from pipeline_assets.sample.codes import encode
from pipeline_assets.sample.drawing import Subject, draw_jpeg
from pipeline_assets.sample.faults import FAULTS, parse_fault
from pipeline_assets.sample.shop import Shop

SHOE = Subject("shoe", "red", 7)
IMAGE = f"/images/red-shoe-{encode(SHOE)}.jpg"
PAGE = f"/pages/{encode(SHOE)}.html"
PDF = f"/docs/{encode(SHOE)}.pdf"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came over the wire."""

    status: int
    headers: Message
    body: bytes


def get(url: str, headers: dict[str, str] | None = None) -> Answer:
    """Ask once, whatever the answer's status."""
    request = urllib.request.Request(url, headers=headers or {})  # noqa: S310 - loopback
    try:
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
            return Answer(response.status, response.headers, response.read())
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.headers, error.read())


@pytest.fixture(scope="module")
def open_shop() -> Iterator[Shop]:
    """One shop for the module."""
    with Shop(slow_pause_s=0.0, retry_after_s=7) as shop:
        yield shop


@pytest.fixture
def shop(open_shop: Shop) -> Shop:
    """Give the open shop with its counts at zero."""
    open_shop.forget_requests()
    return open_shop


@pytest.mark.parametrize(
    ("path", "kind", "start"),
    [
        (IMAGE, "image/jpeg", b"\xff\xd8"),
        (PAGE, "text/html", b"<!doctype html>"),
        (PDF, "application/pdf", b"%PDF-"),
    ],
)
def test_it_serves_pictures_pages_and_documents(
    shop: Shop, path: str, kind: str, start: bytes
) -> None:
    """Each with its type, its bytes and an ETag that is honoured."""
    answer = get(shop.url + path)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == kind
    assert answer.body.startswith(start)
    again = get(shop.url + path, {"If-None-Match": answer.headers["ETag"]})
    assert (again.status, again.body) == (304, b"")


def test_a_picture_is_served_as_drawn(shop: Shop) -> None:
    """The address alone says what to draw, so any shop serves the same bytes."""
    assert get(shop.url + IMAGE).body == draw_jpeg(SHOE)
    with Shop() as other:
        assert get(other.url + IMAGE).body == draw_jpeg(SHOE)


@pytest.mark.parametrize("path", ["/", "/images/none.jpg", PAGE + "x", f"/docs/{IMAGE[8:]}"])
def test_an_unknown_address_is_not_found(shop: Shop, path: str) -> None:
    """What was not asked to fail fails only where there is nothing."""
    assert get(shop.url + path).status == 404


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_refusal_lasts(shop: Shop, status: int) -> None:
    """These never pass by themselves."""
    url = f"{shop.url}/fault/{status}{PAGE}"
    assert [get(url).status for _ in range(3)] == [status] * 3


def test_429_says_how_long_to_wait_and_passes(shop: Shop) -> None:
    """The first request is told to come back, the second is served."""
    refused, served = (get(f"{shop.url}/fault/429{PAGE}") for _ in range(2))
    assert (refused.status, refused.headers["Retry-After"]) == (429, "7")
    assert served.status == 200


@pytest.mark.parametrize(("name", "expected"), [("503", 2), ("503x1", 1), ("503x3", 3)])
def test_a_burst_of_503_passes_after_its_number(shop: Shop, name: str, expected: int) -> None:
    """The first N requests of an address fail, then it is served for good."""
    url = f"{shop.url}/fault/{name}{IMAGE}"
    statuses = [get(url).status for _ in range(expected + 2)]
    assert statuses == [503] * expected + [200, 200]


def test_bursts_of_different_addresses_do_not_share_a_count(shop: Shop) -> None:
    """Each address has its own."""
    urls = (f"{shop.url}/fault/503x1{path}" for path in (IMAGE, PAGE))
    assert [get(url).status for url in urls] == [503, 503]


def test_a_slow_body_arrives_whole(shop: Shop) -> None:
    """Patience is rewarded."""
    assert get(f"{shop.url}/fault/slow-body{IMAGE}").body == draw_jpeg(SHOE)


def test_a_slow_body_makes_an_impatient_client_time_out() -> None:
    """The first piece comes, the next does not; closing the shop does not wait for it either."""
    with Shop(slow_pause_s=600) as shop:
        connection = http.client.HTTPConnection(shop.url.removeprefix("http://"), timeout=0.3)
        connection.request("GET", f"/fault/slow-body{IMAGE}")
        response = connection.getresponse()
        assert response.status == 200
        with pytest.raises(TimeoutError):
            response.read()
        connection.close()


def test_a_truncated_picture_opens_but_does_not_decode(shop: Shop) -> None:
    """The header is sound and the length agrees, so that only decoding finds out."""
    answer = get(f"{shop.url}/fault/truncated-jpeg{IMAGE}")
    assert int(answer.headers["Content-Length"]) == len(answer.body) < len(draw_jpeg(SHOE))
    picture = Image.open(io.BytesIO(answer.body))
    with pytest.raises(OSError, match="truncated"):
        picture.load()


def test_html_sent_as_a_picture_is_no_picture(shop: Shop) -> None:
    """The type lies."""
    answer = get(f"{shop.url}/fault/html-as-jpeg{IMAGE}")
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert b"<html>" in answer.body


def test_a_huge_picture_is_a_bomb_of_a_few_kb(shop: Shop) -> None:
    """Its header claims more than 800 million pixels."""
    answer = get(f"{shop.url}/fault/huge-image{IMAGE}")
    assert len(answer.body) < 4096
    width, height = struct.unpack(">II", answer.body[16:24])
    assert width * height > 800_000_000


def test_an_empty_body_is_a_success_with_nothing_in_it(shop: Shop) -> None:
    """Status 200, length 0."""
    answer = get(f"{shop.url}/fault/empty-body{IMAGE}")
    assert (answer.status, answer.headers["Content-Length"], answer.body) == (200, "0", b"")


def test_an_unknown_fault_is_refused_with_the_list(shop: Shop) -> None:
    """A misspelt test fails loudly."""
    answer = get(f"{shop.url}/fault/teapot{IMAGE}")
    assert answer.status == 400
    assert b"'teapot' is unknown: use one of 403" in answer.body


@pytest.mark.parametrize("kind", FAULTS)
def test_every_fault_can_be_limited_to_its_first_request(shop: Shop, kind: str) -> None:
    """With x1 the second request is served as usual."""
    url = f"{shop.url}/fault/{kind}x1{IMAGE}"
    get(url)
    assert get(url).body == draw_jpeg(SHOE)
    assert parse_fault(f"{kind}x1").times == 1


def test_it_counts_requests_for_each_path_from_many_threads(shop: Shop) -> None:
    """A test can ask how often something was fetched."""
    threads = [threading.Thread(target=get, args=(shop.url + PAGE,)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    get(shop.url + IMAGE)
    assert shop.requests(PAGE) == 20
    assert shop.requests("/never") == 0
    assert shop.all_requests() == {PAGE: 20, IMAGE: 1}


def test_a_taken_port_is_an_error_and_a_closed_shop_is_gone() -> None:
    """Opening never hangs, and closing frees the port."""
    with Shop() as shop:
        port = int(shop.url.rpartition(":")[2])
        with pytest.raises(OSError, match="address already in use"), Shop(port=port):
            pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
