"""Fetching against a real server on loopback, and against addresses that must not be touched."""

import asyncio
import gzip
import socket
import ssl
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from pipeline_assets.errors import (
    Blocked,
    CircuitOpen,
    Forbidden,
    Internal,
    InvalidInput,
    Network,
    NotFound,
    Overloaded,
    RateLimited,
    RowError,
    SettingsError,
    StorageError,
    Timeout,
    TooLarge,
)
from pipeline_assets.fetch.fetcher import (
    PER_HOST,
    Fetched,
    HttpFetcher,
    Unchanged,
)
from pipeline_assets.fetch.rates import Unlimited
from pipeline_assets.fetch.request import USER_AGENT
from pipeline_assets.store.bodies import Body, Spooled, chunks_of
from pipeline_assets.store.validators import Validators
from pipeline_assets_tests.lengths import HANG_S

MAX_BYTES = 100_000
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Shop:
    """A server on loopback whose answers tests set by path; it counts and keeps requests."""

    def __init__(self) -> None:
        self.answers: dict[str, Handler] = {}
        self.hits: Counter[str] = Counter()
        self.requests: list[Mapping[str, str]] = []
        self.port = 0

    def url(self, path: str) -> str:
        """The address of `path`."""
        return f"http://127.0.0.1:{self.port}{path}"

    def on(self, path: str, *answers: web.Response | Callable[[], web.Response]) -> str:
        """Give `answers` in turn, the last for ever; returns the URL."""

        async def handle(_: web.Request) -> web.StreamResponse:
            answer = answers[min(self.hits[path], len(answers)) - 1]
            response = answer() if callable(answer) else answer
            return web.Response(
                status=response.status, body=response.body, headers=response.headers
            )

        self.answers[path] = handle
        return self.url(path)

    async def dispatch(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        self.hits[request.path] += 1
        self.requests.append(dict(request.headers))
        handler = self.answers.get(request.path)
        return web.Response(status=404) if handler is None else await handler(request)


@contextmanager
def running_loop() -> Iterator[Callable[[Any], Any]]:
    """An event loop in a thread; gives a function that runs a coroutine on it."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield lambda coroutine: asyncio.run_coroutine_threadsafe(coroutine, loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Shop]:
    """One server for the module."""
    shop = Shop()

    async def start() -> web.AppRunner:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", shop.dispatch)
        runner = web.AppRunner(app, shutdown_timeout=0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        shop.port = runner.addresses[0][1]
        return runner

    with running_loop() as run:
        runner = run(start())
        yield shop
        run(runner.cleanup())


@pytest.fixture
def shop(server: Shop) -> Shop:
    """The server with nothing on it."""
    server.answers.clear()
    server.hits.clear()
    server.requests.clear()
    return server


@pytest.fixture
def fetcher(shop: Shop) -> Iterator[HttpFetcher]:
    """A fetcher to which the shop is open."""
    with HttpFetcher(
        allow=[f"127.0.0.1:{shop.port}"],
        concurrency=16,
        timeout_s=20.0,
        max_bytes=MAX_BYTES,
    ) as fetcher:
        yield fetcher


@contextmanager
def raw_server(answer: bytes, *, then: str = "close") -> Iterator[tuple[str, list[bytes]]]:
    """Answers bytes as they are, then closes, resets or hangs; gives the URL and the requests."""
    seen: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        if then == "hang":
            await reader.read()  # until the client gives up
        if then == "endless":
            while not writer.is_closing():
                writer.write(bytes(65536))
                await writer.drain()
        if then == "reset":
            writer.transport.abort()
        writer.close()

    async def quiet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handle(reader, writer)
        except ConnectionError:
            writer.close()

    async def start() -> asyncio.Server:
        return await asyncio.start_server(quiet, "127.0.0.1", 0)

    async def stop(server: asyncio.Server) -> None:
        server.close()
        await asyncio.sleep(0)

    with running_loop() as run:
        server = run(start())
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", seen
        run(stop(server))


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A key, and a certificate that nobody else vouches for."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "shop.example")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    paths = folder / "key.pem", folder / "certificate.pem"
    paths[0].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    paths[1].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return paths


def fetch(fetcher: HttpFetcher, url: str) -> Fetched[bytes] | RowError:
    """The outcome of one URL, with the body stored as it is."""
    (outcome,) = fetcher.fetch_all([url], bytes)
    assert not isinstance(outcome, Unchanged)
    return outcome


def fetch_raw(url: str, *, timeout_s: float = 20.0) -> Fetched[bytes] | RowError:
    """The outcome of one URL on any port of loopback."""
    with HttpFetcher(
        allow=["127.0.0.0/8"],
        concurrency=1,
        timeout_s=timeout_s,
        max_bytes=MAX_BYTES,
    ) as fetcher:
        return fetch(fetcher, url)


def test_a_body_is_stored_with_what_the_server_declared(shop: Shop, fetcher: HttpFetcher) -> None:
    """Content type as declared, validators for asking again, who we are."""
    headers = {"Content-Type": "image/JPEG; x=1", "ETag": '"e"', "Last-Modified": "yesterday"}
    url = shop.on("/a.jpg", web.Response(body=b"bytes", headers=headers))
    assert fetcher.fetch_all([url], len) == [
        Fetched(url, 200, "image/JPEG; x=1", '"e"', "yesterday", 5)
    ]
    assert shop.requests[0]["User-Agent"] == USER_AGENT
    assert USER_AGENT.startswith("pipeline-assets/")


def test_every_url_has_its_outcome_in_order(shop: Shop, fetcher: HttpFetcher) -> None:
    """Good and bad mixed; the same URL twice is asked for once."""
    urls = [shop.on(f"/{i}", web.Response(body=str(i).encode())) for i in range(40)]
    urls[7] = shop.url("/gone")
    urls[9] = "not a url"
    outcomes = fetcher.fetch_all([*urls, urls[0]], bytes)
    for i, outcome in enumerate(outcomes[:-1]):
        if i in (7, 9):
            assert isinstance(outcome, NotFound if i == 7 else InvalidInput)
        else:
            assert isinstance(outcome, Fetched)
            assert outcome.stored == str(i).encode()
    assert outcomes[-1] is outcomes[0]
    assert shop.hits["/0"] == 1
    assert fetcher.fetch_all([], bytes) == []


def test_store_sees_bodies_one_at_a_time_and_its_failure_ends_the_call(
    shop: Shop, fetcher: HttpFetcher
) -> None:
    """A full disk is not the URL's fault, and the fetcher can be used again."""
    urls = [shop.on(f"/{i}", web.Response(body=b"x")) for i in range(20)]
    calls: list[Body] = []

    def store(body: Body) -> int:
        calls.append(body)
        if len(calls) == 3:
            raise StorageError("disk", "full")
        return len(body)

    with pytest.raises(StorageError):
        fetcher.fetch_all(urls, store)
    assert len(calls) == 3
    assert len(fetcher.fetch_all(urls, store)) == 20


def test_it_works_where_a_loop_is_running(shop: Shop, fetcher: HttpFetcher) -> None:
    """In a notebook, for example."""
    url = shop.on("/a", web.Response(body=b"x"))

    async def inside() -> Fetched[bytes] | RowError:
        return fetch(fetcher, url)

    assert isinstance(asyncio.run(inside()), Fetched)


def test_at_most_eight_requests_go_to_a_host_at_once(shop: Shop, fetcher: HttpFetcher) -> None:
    """Though the fetcher may have more in flight; all eight are used."""
    inside, most, full = 0, 0, asyncio.Event()

    async def handle(_: web.Request) -> web.Response:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        if inside == PER_HOST:
            full.set()
        await full.wait()
        inside -= 1
        return web.Response(body=b"x")

    shop.answers = {f"/{i}": handle for i in range(30)}
    fetcher.fetch_all([shop.url(f"/{i}") for i in range(30)], bytes)
    assert most == PER_HOST


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (304, InvalidInput),
        (400, InvalidInput),
        (401, Forbidden),
        (403, Forbidden),
        (404, NotFound),
        (410, NotFound),
        (413, TooLarge),
        (429, RateLimited),
        (451, Blocked),
        (500, Overloaded),
        (502, Overloaded),
        (503, Overloaded),
    ],
)
def test_a_failure_is_asked_for_once(
    shop: Shop, fetcher: HttpFetcher, status: int, error: type[RowError]
) -> None:
    """Whatever it is, with the status in the message: whether again is the chain's affair."""
    outcome = fetch(fetcher, shop.on("/x", web.Response(status=status)))
    assert type(outcome) is error
    assert str(status) in outcome.message
    assert shop.hits["/x"] == 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7),
        (
            {
                "Retry-After": "Mon, 02 Mar 2026 06:00:30 GMT",
                "Date": "Mon, 02 Mar 2026 06:00:00 GMT",
            },
            30,
        ),
        ({"Retry-After": "soon"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_handed_on(
    shop: Shop, fetcher: HttpFetcher, headers: dict[str, str], seconds: int | None
) -> None:
    """For the chain's wait, the row's `retry_at` and the host's breaker."""
    outcome = fetch(fetcher, shop.on("/x", web.Response(status=429, headers=headers)))
    assert isinstance(outcome, RateLimited)
    assert outcome.retry_after == (None if seconds is None else timedelta(seconds=seconds))


def test_a_resource_ends_at_its_deadline() -> None:
    """A server that accepts and says nothing, and one that stops in the middle of the body."""
    for answer in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345"):
        with raw_server(answer, then="hang") as (url, seen):
            outcome = fetch_raw(url, timeout_s=2.0)
            assert isinstance(outcome, Timeout)
            assert "sent nothing for 1 s" in outcome.message
            assert len(seen) == 1


@pytest.mark.parametrize(
    ("answer", "then"),
    [
        (b"", "close"),
        (b"", "reset"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345", "close"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345", "reset"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n123", "close"),
    ],
)
def test_connections_that_break_are_network_errors(answer: bytes, then: str) -> None:
    """A truncated body is never a value; the HTTP client does not ask again on its own."""
    with raw_server(answer, then=then) as (url, seen):
        assert isinstance(fetch_raw(url), Network)
        assert len(seen) == 1


def test_a_closed_port_and_an_unknown_name_are_network_errors() -> None:
    """They can pass."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        outcome = fetch_raw(f"http://127.0.0.1:{unused.getsockname()[1]}/")
    assert isinstance(outcome, Network)

    def unknown(_: str) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with HttpFetcher(allow=(), concurrency=1, timeout_s=9, max_bytes=9, resolve=unknown) as fetcher:
        outcome = fetch(fetcher, "http://nowhere.example/")
    assert isinstance(outcome, Network)
    assert "nowhere.example" in outcome.message


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"SSH-2.0-OpenSSH\r\n\r\n", InvalidInput),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", InvalidInput),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", InvalidInput),
        (b"HTTP/1.1 204 No Content\r\n\r\n", InvalidInput),
        (
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 9\r\n\r\nnot gzip!",
            InvalidInput,
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100001\r\n\r\n", TooLarge),
        (b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", InvalidInput),
        (b"HTTP/1.1 302 Found\r\nLocation: http://[::1\r\nContent-Length: 0\r\n\r\n", InvalidInput),
        (b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n", Blocked),
        (b"HTTP/1.1 302 Found\r\nLocation: http://\xff\xfe/\r\n\r\n", InvalidInput),
    ],
)
def test_answers_that_are_no_use_are_data_errors(answer: bytes, error: type[RowError]) -> None:
    """Asked once; never an unclassified error."""
    with raw_server(answer) as (url, seen):
        outcome = fetch_raw(url)
        assert isinstance(outcome, error)
        assert not isinstance(outcome, Internal)
        assert len(seen) == 1


def test_an_endless_body_ends_at_the_limit() -> None:
    """The connection is dropped, the rest is not read."""
    with raw_server(b"HTTP/1.1 200 OK\r\n\r\n", then="endless") as (url, _):
        assert isinstance(fetch_raw(url), TooLarge)


def test_a_gzip_bomb_ends_at_the_limit(shop: Shop, fetcher: HttpFetcher) -> None:
    """Counted after decompression; a body at the limit passes, a byte more does not."""
    headers = {"Content-Encoding": "gzip"}
    for size, error in ((MAX_BYTES, None), (MAX_BYTES + 1, TooLarge), (50_000_000, TooLarge)):
        body = gzip.compress(bytes(size), 6)
        outcome = fetch(fetcher, shop.on(f"/{size}", web.Response(body=body, headers=headers)))
        if error is None:
            assert isinstance(outcome, Fetched)
            assert outcome.stored == bytes(size)
        else:
            assert isinstance(outcome, error)


def redirect(location: str) -> web.Response:
    """A redirect to `location` that also tries to set a cookie."""
    return web.Response(status=302, headers={"Location": location, "Set-Cookie": "a=b; Path=/"})


def test_redirects_are_followed_five_times(shop: Shop, fetcher: HttpFetcher) -> None:
    """The final address is the one that is kept, without user part."""
    for i in range(6):
        shop.on(f"/{i}", redirect(f"{i + 1}"))
    shop.on("/6", web.Response(body=b"x"))
    outcome = fetch(fetcher, shop.url("/1").replace("//", "//me:secret@"))
    assert isinstance(outcome, Fetched)
    assert outcome.url == shop.url("/6")
    outcome = fetch(fetcher, shop.url("/0"))
    assert isinstance(outcome, InvalidInput)
    assert "more than 5 redirects" in outcome.message


def test_cookies_live_for_the_redirects_of_one_resource(shop: Shop, fetcher: HttpFetcher) -> None:
    """A shop that looks whether they come back is answered, and nobody is recognised later."""
    shop.on("/a", redirect("b"))
    shop.on("/b", web.Response(body=b"x"))
    shop.on("/c", web.Response(body=b"x"))
    assert isinstance(fetch(fetcher, shop.url("/a")), Fetched)
    assert isinstance(fetch(fetcher, shop.url("/c")), Fetched)
    assert [headers.get("Cookie") for headers in shop.requests] == [None, "a=b", None]


@pytest.mark.parametrize(
    "cookie",
    ["s=YWJj==", "s=a%2Fb", "s=1,2", 's="q r"', "s=q r", "s=a|b.c-_~!*'()", "s={j:1}", "s="],
)
def test_a_cookie_is_sent_as_it_was_written(shop: Shop, fetcher: HttpFetcher, cookie: str) -> None:
    """Nothing is quoted: the shop looks for what it has set."""
    headers = {"Location": "b", "Set-Cookie": f"{cookie}; Path=/; HttpOnly; SameSite=Lax"}
    url = shop.on("/a", web.Response(status=302, headers=headers))
    shop.on("/b", web.Response(body=b"x"))
    assert isinstance(fetch(fetcher, url), Fetched)
    assert shop.requests[1]["Cookie"] == cookie


@pytest.mark.parametrize("cookie", ["s=\udce9", "é=1", "a b=1", "s=a\x01b", "=", ";", "path=/"])
def test_a_cookie_that_no_header_can_hold_is_no_trouble(cookie: str) -> None:
    """A stranger wrote it."""
    answer = f"HTTP/1.1 302 Found\r\nSet-Cookie: {cookie}\r\nLocation: /a\r\n\r\n"
    with raw_server(answer.encode("utf-8", "surrogateescape")) as (url, _):
        outcome = fetch_raw(url)
    assert isinstance(outcome, InvalidInput)
    assert not isinstance(outcome, Internal)


def test_a_cookie_is_for_its_host(shop: Shop) -> None:
    """A redirect to another name does not take it along."""
    shop.on("/a", redirect(f"http://other.example:{shop.port}/b"))
    shop.on("/b", web.Response(body=b"x"))
    with HttpFetcher(
        allow=["127.0.0.1"],
        concurrency=1,
        timeout_s=9,
        max_bytes=9,
        resolve={"other.example": ["127.0.0.1"]}.__getitem__,
    ) as fetcher:
        assert isinstance(fetch(fetcher, shop.url("/a")), Fetched)
    assert [headers.get("Cookie") for headers in shop.requests] == [None, None]


def test_not_modified_says_something_of_the_file_that_gave_the_validators(
    shop: Shop, fetcher: HttpFetcher
) -> None:
    """After a redirect to another one its word would keep the wrong bytes."""
    old, new = shop.url("/old.jpg"), shop.on("/new.jpg", web.Response(body=b"new"))
    url = shop.on("/picture", redirect("new.jpg"))
    (outcome,) = fetcher.fetch_all([url], bytes, {url: Validators('"v1"', None, old)})
    assert isinstance(outcome, Fetched)
    assert (outcome.stored, outcome.url) == (b"new", new)
    assert all("If-None-Match" not in headers for headers in shop.requests)
    fetcher.fetch_all([url], bytes, {url: Validators('"v1"', None, new)})
    assert [headers.get("If-None-Match") for headers in shop.requests[2:]] == [None, '"v1"']


@pytest.mark.parametrize(
    "sent",
    [
        "/a%2Fb?sig=x%2By%40z%3D",
        "/a%40b@c+d!$&'()*,;=:",
        "/%7Euser/%2e%2E/x?a=%20&b=+&c=%zz",
        "/a?q=a/b?c&empty=&&x",
    ],
)
def test_a_url_is_sent_byte_for_byte(sent: str) -> None:
    """It may be signed; over a redirect likewise. What no request line can hold is escaped."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx"
    with raw_server(answer, then="close") as (url, seen):
        assert isinstance(fetch_raw(url.rstrip("/") + sent), Fetched)
        moved = f"HTTP/1.1 302 Found\r\nLocation: {url.rstrip('/')}{sent}\r\n\r\n".encode()
        with raw_server(moved, then="close") as (before, _):
            assert isinstance(fetch_raw(before), Fetched)
        assert isinstance(fetch_raw(f"{url.rstrip('/')}/é a"), Fetched)
    lines = [request.split(b"\r\n")[0].decode() for request in seen]
    assert lines == [*[f"GET {sent} HTTP/1.1"] * 2, "GET /%C3%A9%20a HTTP/1.1"]


@pytest.mark.parametrize(
    ("location", "asked"),
    [
        (b"/caf\xe9%2F?q=\xfc", "/caf%E9%2F?q=%FC"),
        ("/é%2F".encode(), "/%C3%A9%2F"),
        (b"z%2Fy?s=%2B%40", "/d/z%2Fy?s=%2B%40"),
        (b"?s=%2B", "/d/p?s=%2B"),
        (b"../%2e%2E/x%40", "/%2e%2E/x%40"),
        (b"/go?to=http://shop.example/%2F", "/go?to=http://shop.example/%2F"),
    ],
)
def test_a_redirect_is_followed_byte_for_byte(location: bytes, asked: str) -> None:
    """Relative ones too, and those whose server writes another encoding than UTF-8."""
    seen: list[str] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append((await reader.readuntil(b"\r\n\r\n")).split()[1].decode())
        moved = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + location + b"\r\n"
        sound = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n"
        head, body = (moved, b"") if seen == ["/d/p"] else (sound, b"x")
        writer.write(head + b"Connection: close\r\n\r\n" + body)
        writer.close()

    with running_loop() as run:
        server = run(asyncio.start_server(handle, "127.0.0.1", 0))
        outcome = fetch_raw(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/d/p")
        server.close()
    assert isinstance(outcome, Fetched)
    assert seen == ["/d/p", asked]


def test_credentials_stay_with_their_host(shop: Shop) -> None:
    """A redirect to another name does not take them along."""
    shop.on("/a", redirect(f"http://other.example:{shop.port}/b"))
    shop.on("/b", web.Response(body=b"x"))
    with HttpFetcher(
        allow=["127.0.0.1"],
        concurrency=1,
        timeout_s=9,
        max_bytes=9,
        resolve={"other.example": ["127.0.0.1"]}.__getitem__,
    ) as fetcher:
        assert isinstance(fetch(fetcher, shop.url("/a").replace("//", "//me:pw@")), Fetched)
    assert ["Authorization" in headers for headers in shop.requests] == [True, False]


@contextmanager
def badly_certified(folder: Path) -> Iterator[str]:
    """An https server for whose certificate nobody vouches; gives its URL."""
    key, certificate = self_signed(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def ignored(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    with running_loop() as run:
        server = run(asyncio.start_server(ignored, "127.0.0.1", 0, ssl=context))
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/a"
        server.close()


def test_a_certificate_that_does_not_verify_is_asked_for_again_tomorrow(tmp_path: Path) -> None:
    """Its own sentence, and one try: no second look makes it good."""
    with badly_certified(tmp_path) as url:
        outcome = fetch_raw(url)
    assert isinstance(outcome, Network)
    assert "certificate does not verify" in outcome.message
    assert outcome.retry_after == timedelta(days=1)


def test_a_bad_certificate_leaves_the_rest_of_its_host_alone(shop: Shop, tmp_path: Path) -> None:
    """The host has asked for nothing, and over http it is as it was."""
    told, good = Told(), shop.on("/good", web.Response(body=b"x"))
    with (
        badly_certified(tmp_path) as bad,
        HttpFetcher(
            allow=["127.0.0.1"], concurrency=1, per_host=1, timeout_s=20, max_bytes=9, rates=told
        ) as fetcher,
    ):
        outcomes = fetcher.fetch_all([bad, good, f"{bad}/too"], bytes)
    assert [type(outcome) for outcome in outcomes] == [Network, Fetched, Network]
    assert told.told == []


def test_messages_carry_no_credentials(shop: Shop, fetcher: HttpFetcher) -> None:
    """Not even where the password holds an @ or the URL cannot be read."""
    shop.on("/r", redirect("http://u:hunter2@10.0.0.1/"))
    for url in (
        shop.url("/gone").replace("//", "//me:hun@ter2@"),
        "http://me:hunter2@127.0.0.1:1/",
        "http://me:hunter2@[::1/",
        "gopher://me:hunter2@host/",
        shop.url("/r"),
    ):
        outcome = fetch(fetcher, url)
        assert isinstance(outcome, RowError)
        assert "ter2" not in outcome.message


@pytest.fixture
def trap() -> Iterator[socket.socket]:
    """A socket that listens on loopback and must never be connected to."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener
        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every address that a socket is told to connect to; none is reached."""
    asked: list[object] = []

    def connect(_: socket.socket, address: object) -> None:
        asked.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket.socket, "connect", connect)
    return asked


HOSTILE_NAMES = {
    "localhost": ["127.0.0.1", "::1"],
    "private.example": ["10.0.0.1"],
    "metadata.example": ["169.254.169.254"],
    "two.example": ["127.0.0.1", "192.168.0.1"],
    "three.example": ["::1", "127.0.0.1", "fe80::1"],
    "mapped.example": ["::ffff:127.0.0.1"],
    "sixtofour.example": ["2002:7f00:1::"],
    "nat64.example": ["64:ff9b::7f00:1"],
    "public.example": ["8.8.8.8"],
}
HOSTILE = [
    "http://127.0.0.1/",
    "https://127.0.0.1/",
    "http://127.0.0.1:22/",
    "http://127.1/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.0.0.1/",
    "http://0177.0.0.1/",
    "http://017700000001/",
    "http://127.0.0.1./",
    "http://0/",
    "http://0.0.0.0/",
    "http://①②⑦.⓪.⓪.①/",
    "http://127。0。0。1/",
    "http://127.0.0.1%00.example/",
    "http://%31%32%37.0.0.1/",
    "http://public.example@127.0.0.1/",
    "http://public.example#@127.0.0.1:22/../x:0",
    "http://127.0.0.1\\@public.example/",
    "http://[::1]/",
    "http://[::]/",
    "http://[::127.0.0.1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[::ffff:0:7f00:1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[64:ff9b:1::7f00:1]/",
    "http://[2002:7f00:1::]/",
    "http://[2001:0:7f00:1::]/",
    "http://[fe80::1]/",
    "http://[fe80::1%25lo]/",
    "http://[fc00::1]/",
    "http://[fd00:ec2::254]/",
    "http://[ff02::1]/",
    "http://10.0.0.1/",
    "http://100.64.0.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://168.63.129.16/",
    "http://172.16.0.1/",
    "http://192.168.0.1/",
    "http://192.0.0.192/",
    "http://198.18.0.1/",
    "http://224.0.0.1/",
    "http://255.255.255.255/",
    "http://localhost/",
    "http://LOCALHOST./",
    "http://private.example/",
    "http://metadata.example/",
    "http://two.example/",
    "http://three.example/",
    "http://mapped.example/",
    "http://sixtofour.example/",
    "http://nat64.example/",
    "http://public.example:22/",
    "http://public.example:0/",
    "http://public.example:6379/",
    "http://public.example:99999/",
    "http:///etc/passwd",
    "http://",
    "//127.0.0.1/",
    "127.0.0.1/",
    "",
    "file:///etc/passwd",
    "ftp://public.example/",
    "gopher://127.0.0.1:6379/_FLUSHALL",
    "unix:///var/run/docker.sock",
    "ws://public.example/",
    "data:text/plain,x",
    "javascript:alert(1)",
    "s3://bucket/key",
    "http://ho st/",
    "http://a..b/",
    "http://" + "x" * 300 + ".example/",
    "http://\x00/",
]


@pytest.mark.parametrize("url", HOSTILE)
def test_hostile_urls_open_no_connection(url: str, connections: list[object]) -> None:
    """Whatever the spelling; the row says that we refused, or that it is no URL."""
    if "#@" in url:  # a fragment is not an authority: this one is the public host, with a path
        url = url.replace("public.example", "private.example")
    with HttpFetcher(
        allow=(), concurrency=1, timeout_s=9, max_bytes=9, resolve=HOSTILE_NAMES.__getitem__
    ) as fetcher:
        outcome = fetch(fetcher, url)
    assert type(outcome) in (Blocked, InvalidInput)
    assert connections == []


def test_the_connection_spy_sees_what_is_allowed(connections: list[object]) -> None:
    """So that the table above proves something; of several addresses only the public are tried."""
    names = {"mixed.example": ["127.0.0.1", "8.8.8.8", "64:ff9b::808:808"]}
    with HttpFetcher(
        allow=(), concurrency=1, timeout_s=9, max_bytes=9, resolve=names.__getitem__
    ) as fetcher:
        assert isinstance(fetch(fetcher, "http://mixed.example/"), RowError)
        assert isinstance(fetch(fetcher, "http://134744072/"), Network)
    assert set(connections) == {("8.8.8.8", 80)}


def test_a_listening_socket_on_loopback_sees_nothing(trap: socket.socket, shop: Shop) -> None:
    """Not directly, not by name, not by redirect, though another port is open."""
    port = trap.getsockname()[1]
    shop.on("/direct", redirect(f"http://127.0.0.1:{port}/"))
    shop.on("/name", redirect(f"//localhost:{port}/"))
    shop.on("/hex", redirect(f"http://0x7f.1:{port}/"))
    urls = [shop.url(path) for path in ("/direct", "/name", "/hex")]
    urls += [f"http://127.0.0.1:{port}/", f"http://localhost:{port}/"]
    with HttpFetcher(
        allow=[f"127.0.0.1:{shop.port}"],
        concurrency=4,
        timeout_s=9,
        max_bytes=9,
        resolve={"localhost": ["127.0.0.1"]}.__getitem__,
    ) as fetcher:
        outcomes = fetcher.fetch_all(urls, bytes)
    assert [type(outcome) for outcome in outcomes] == [Blocked] * 5
    assert shop.hits.total() == 3


def test_an_allowed_name_opens_its_address_for_itself_only(shop: Shop) -> None:
    """Another name that points to the same address stays closed, also in the same session."""
    names = {"shop.internal": ["127.0.0.1"], "evil.example": ["127.0.0.1"]}
    shop.on("/", web.Response(body=b"x"))
    shop.on("/r", redirect(f"http://evil.example:{shop.port}/"))
    with HttpFetcher(
        allow=["shop.internal"], concurrency=4, timeout_s=9, max_bytes=9, resolve=names.__getitem__
    ) as fetcher:
        outcomes = fetcher.fetch_all(
            [
                f"http://SHOP.internal.:{shop.port}/",
                f"http://evil.example:{shop.port}/",
                f"http://shop.internal:{shop.port}/r",
                f"http://127.0.0.1:{shop.port}/",
            ],
            bytes,
        )
    assert [type(outcome) for outcome in outcomes] == [Fetched, Blocked, Blocked, Blocked]


def test_proxies_of_the_environment_are_not_used(
    trap: socket.socket, shop: Shop, fetcher: HttpFetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy would connect for us, past every rule."""
    proxy = f"http://127.0.0.1:{trap.getsockname()[1]}"
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy)
    assert isinstance(fetch(fetcher, shop.on("/", web.Response(body=b"x"))), Fetched)


def test_a_bug_in_one_request_is_internal_and_costs_one_row(shop: Shop) -> None:
    """The others keep their outcome."""

    def broken(_: str) -> list[str]:
        raise KeyError("bug")

    url = shop.on("/", web.Response(body=b"x"))
    with HttpFetcher(
        allow=["127.0.0.1"], concurrency=2, timeout_s=9, max_bytes=9, resolve=broken
    ) as fetcher:
        bad, good = fetcher.fetch_all(["http://public.example/", url], bytes)
    assert isinstance(bad, Internal)
    assert "KeyError" in bad.message
    assert bad.__traceback__ is None
    assert isinstance(good, Fetched)


def test_a_bad_allow_entry_is_refused_at_once() -> None:
    """Before anything is fetched."""
    with pytest.raises(SettingsError, match="PIPELINE_FETCH_ALLOW"):
        HttpFetcher(allow=["a b"], concurrency=1, timeout_s=1, max_bytes=1)


def test_a_closed_fetcher_says_so() -> None:
    """Closing twice is fine."""
    fetcher = HttpFetcher(allow=(), concurrency=1, timeout_s=1, max_bytes=1)
    fetcher.close()
    fetcher.close()
    with pytest.raises(RuntimeError, match="closed"):
        fetcher.fetch_all([], bytes)


def test_importing_the_fetcher_does_not_import_aiohttp() -> None:
    """It costs 0.3 s, which everything that loads the definitions would pay."""
    code = "import sys, pipeline_assets.fetch.fetcher; sys.exit('aiohttp' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_is_known_is_asked_for_only_if_it_has_changed(
    shop: Shop, fetcher: HttpFetcher
) -> None:
    """304 brings the new validators; 200 brings new bytes. Without `known`, neither is sent."""
    since = "Mon, 02 Mar 2026 06:00:00 GMT"
    same = shop.on("/same", web.Response(status=304, headers={"ETag": '"v1"'}))
    new = shop.on("/new", web.Response(body=b"new", headers={"ETag": '"v2"'}))
    known = {same: Validators('"v1"', since), new: Validators('"v1"', None)}
    unchanged, fetched = fetcher.fetch_all([same, new], bytes, known)
    assert unchanged == Unchanged(same, None, Validators('"v1"', None, same))
    assert isinstance(fetched, Fetched)
    assert (fetched.stored, fetched.etag) == (b"new", '"v2"')
    sent = {
        (headers.get("If-None-Match"), headers.get("If-Modified-Since"))
        for headers in shop.requests
    }
    assert sent == {('"v1"', since), ('"v1"', None)}
    assert isinstance(fetch(fetcher, same), InvalidInput)
    assert "If-None-Match" not in shop.requests[-1]


@pytest.mark.parametrize("etag", ["", "a\r\nX-Evil: 1", "\udce9", "é"])
def test_a_validator_that_no_header_can_hold_is_not_sent(
    shop: Shop, fetcher: HttpFetcher, etag: str
) -> None:
    """A stranger wrote it."""
    url = shop.on("/x", web.Response(body=b"x"))
    (outcome,) = fetcher.fetch_all([url], bytes, {url: Validators(etag, None)})
    assert isinstance(outcome, Fetched)
    assert "If-None-Match" not in shop.requests[0]


@pytest.mark.parametrize("status", [200, 304])
def test_an_opt_out_is_blocked_and_its_bytes_are_not_kept(shop: Shop, status: int) -> None:
    """Also where the bytes are the ones that we have; unless the setting says otherwise."""
    headers = {"X-Robots-Tag": "noindex, noai"}
    url = shop.on("/x", web.Response(status=status, body=b"x", headers=headers))
    known = {url: Validators('"v1"', None)}
    for honour, expected in ((True, Blocked), (False, Unchanged if status == 304 else Fetched)):
        stored: list[object] = []
        with HttpFetcher(
            allow=["127.0.0.1"],
            concurrency=1,
            timeout_s=9,
            max_bytes=9,
            honour_opt_out=honour,
        ) as fetcher:
            (outcome,) = fetcher.fetch_all([url], stored.append, known)
        assert isinstance(outcome, expected)
        assert len(stored) == (expected is Fetched)
    shop.on("/x", web.Response(body=b"x", headers={"X-Robots-Tag": "otherbot: noai"}))
    assert isinstance(fetch_raw(url), Fetched)


@pytest.mark.parametrize("status", [302, 401, 403, 404, 410])
def test_an_opt_out_counts_on_whatever_answer_it_comes(
    shop: Shop, fetcher: HttpFetcher, status: int
) -> None:
    """On a redirect it is not followed, and a 403 that says why is no bare one."""
    headers = {"X-Robots-Tag": "noai", "Location": "/b"}
    url = shop.on("/a", web.Response(status=status, headers=headers))
    shop.on("/b", web.Response(body=b"x"))
    outcome = fetch(fetcher, url)
    assert isinstance(outcome, Blocked)
    assert "noai" in outcome.message
    assert shop.hits == {"/a": 1}


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_is_busy_is_left_alone_first(
    shop: Shop, fetcher: HttpFetcher, status: int
) -> None:
    """Whatever else it says: that is heard when it answers."""
    headers = {"X-Robots-Tag": "noai", "Retry-After": "7"}
    outcome = fetch(fetcher, shop.on("/a", web.Response(status=status, headers=headers)))
    assert isinstance(outcome, RateLimited | Overloaded)
    assert outcome.retry_after == timedelta(seconds=7)


def test_the_user_agent_says_where_we_can_be_found(shop: Shop) -> None:
    """Where the setting names a place."""
    url = shop.on("/x", web.Response(body=b"x"))
    with HttpFetcher(
        allow=["127.0.0.1"],
        concurrency=1,
        timeout_s=9,
        max_bytes=9,
        contact="https://example.org/bot",
    ) as fetcher:
        fetch(fetcher, url)
    assert shop.requests[0]["User-Agent"] == f"{USER_AGENT} (+https://example.org/bot)"


def test_a_large_body_is_handed_over_in_a_file(shop: Shop) -> None:
    """Which is closed behind `store`; a small one comes as bytes."""
    large = bytes(range(256)) * 8192
    urls = [shop.on("/l", web.Response(body=large)), shop.on("/s", web.Response(body=b"small"))]
    bodies: list[Body] = []

    def store(body: Body) -> bytes:
        bodies.append(body)
        return b"".join(chunks_of(body))

    with HttpFetcher(
        allow=["127.0.0.1"], concurrency=2, timeout_s=20, max_bytes=len(large)
    ) as fetcher:
        outcomes = fetcher.fetch_all(urls, store)
    assert [each.stored for each in outcomes if isinstance(each, Fetched)] == [large, b"small"]
    assert sorted(type(body).__name__ for body in bodies) == ["Spooled", "bytes"]
    assert all(body.file.closed for body in bodies if isinstance(body, Spooled))


def nameless_files() -> set[str]:
    """What this process has open and nobody else can find."""
    names = {str(file.readlink()) for file in Path("/proc/self/fd").iterdir() if file.is_symlink()}
    return {name for name in names if name.endswith("(deleted)")}


def test_large_bodies_that_are_given_up_leave_no_file(shop: Shop) -> None:
    """Cut off, or too large."""
    url, before = shop.on("/x", web.Response(body=bytes(3_000_000))), nameless_files()
    with HttpFetcher(
        allow=["127.0.0.1"], concurrency=2, timeout_s=20, max_bytes=2_000_000
    ) as fetcher:
        headers = b"HTTP/1.1 200 OK\r\nContent-Length: 1900000\r\n\r\n"
        with raw_server(headers + bytes(1_500_000), then="reset") as (cut, _):
            outcomes = fetcher.fetch_all([url, cut], bytes)
    assert [type(outcome) for outcome in outcomes] == [TooLarge, Network]
    assert nameless_files() == before


def test_a_drip_of_bytes_ends_at_the_deadline() -> None:
    """In the headers as in the body: no silence is long, and nothing comes to its end."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).split()[1]
        writer.write(b"HTTP/1.1 200 OK\r\nX-A: " if head == b"/h" else b"HTTP/1.1 200 OK\r\n\r\n")
        with suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.01)
        ended.set()

    ended = threading.Event()
    with running_loop() as run:
        server = run(asyncio.start_server(drip, "127.0.0.1", 0))
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for path in ("/h", "/b"):
            outcome = fetch_raw(url + path, timeout_s=2.0)
            assert isinstance(outcome, Timeout)
            assert "no complete answer within 2 s" in outcome.message
            assert ended.wait(HANG_S)
            ended.clear()
        server.close()


def test_a_connection_that_is_not_answered_ends_at_its_share_of_the_deadline() -> None:
    """A quarter: the address is not there, however patient a body would be waited for."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        place = full.getsockname()
        with ExitStack() as held:
            for _ in range(3):  # until the queue of the listener is full
                waiting = held.enter_context(socket.socket())
                waiting.setblocking(False)
                with suppress(BlockingIOError):
                    waiting.connect(place)
            outcome = fetch_raw(f"http://127.0.0.1:{place[1]}/", timeout_s=0.4)
    assert isinstance(outcome, Timeout)
    assert "no connection within 0.1 s" in outcome.message


class Told(Unlimited):
    """Notes which hosts asked to be left alone."""

    def __init__(self) -> None:
        self.told: list[tuple[str, float]] = []

    def leave_alone(self, host: str, wait: timedelta, _why: str) -> None:
        """Noted."""
        self.told.append((host, wait.total_seconds()))


def test_after_a_long_retry_after_nothing_that_has_not_begun_is_asked(shop: Shop) -> None:
    """In the same call; another host is. The rows know how long to wait, and all are told."""
    names = {"one.example": ["127.0.0.1"], "two.example": ["127.0.0.1"]}
    busy = web.Response(status=429, headers={"Retry-After": "600"})
    for n in range(40):
        shop.on(f"/{n}", busy)
        shop.on(f"/other-{n}", web.Response(body=b"x"))
    told = Told()
    with HttpFetcher(
        allow=list(names),
        concurrency=16,
        timeout_s=9,
        max_bytes=9,
        rates=told,
        resolve=names.__getitem__,
    ) as fetcher:
        outcomes = fetcher.fetch_all(
            [f"http://one.example:{shop.port}/{n}" for n in range(40)]
            + [f"http://two.example:{shop.port}/other-{n}" for n in range(40)],
            bytes,
        )
    asked = sum(count for path, count in shop.hits.items() if "other" not in path)
    assert asked <= PER_HOST
    kinds = Counter(type(outcome) for outcome in outcomes)
    assert kinds == {RateLimited: asked, CircuitOpen: 40 - asked, Fetched: 40}
    for outcome in outcomes:
        if isinstance(outcome, CircuitOpen):
            assert outcome.retry_after is not None
            assert 590 < outcome.retry_after.total_seconds() <= 600
            assert "http://one.example" in outcome.message
    assert told.told == [("one.example", 600.0)]


def test_a_short_retry_after_is_waited_for_by_those_that_have_not_begun(shop: Shop) -> None:
    """All of them have their answer, none before it is due."""
    times: list[float] = []

    async def once_busy(_: web.Request) -> web.Response:
        times.append(asyncio.get_running_loop().time())
        if len(times) == 1:
            return web.Response(status=503, headers={"Retry-After": "1"})
        return web.Response(body=b"x")

    shop.answers = {f"/{n}": once_busy for n in range(3)}
    with HttpFetcher(
        allow=["127.0.0.1"], concurrency=4, per_host=1, timeout_s=9, max_bytes=9
    ) as fetcher:
        first, *others = fetcher.fetch_all([shop.url(f"/{n}") for n in range(3)], bytes)
    assert isinstance(first, Overloaded)
    assert all(isinstance(each, Fetched) for each in others)
    assert times[1] - times[0] >= 1.0


def test_a_redirect_waits_for_its_hosts_turn_and_the_deadline_does_not(shop: Shop) -> None:
    """It goes to a host that asked to be left alone for three seconds; the resource has two."""
    names = {"cdn.example": ["127.0.0.1"]}

    class Busy(Unlimited):
        said = False

        def left_alone(self, hosts: Collection[str]) -> dict[str, float]:
            if self.said or "cdn.example" not in hosts:
                return {}
            self.said = True
            return {"cdn.example": 3.0}

    shop.on("/a", redirect(f"http://cdn.example:{shop.port}/b"))
    shop.on("/b", web.Response(body=b"x"))
    with HttpFetcher(
        allow=["127.0.0.1", "cdn.example"],
        concurrency=1,
        timeout_s=2.0,
        max_bytes=9,
        rates=Busy(),
        resolve=names.__getitem__,
    ) as fetcher:
        assert isinstance(fetch(fetcher, shop.url("/a")), Fetched)
