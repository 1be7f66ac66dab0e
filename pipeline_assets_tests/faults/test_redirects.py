"""A server that sends us somewhere else: to each hostile URL, and where only a redirect can.

Nothing but the server itself is connected to, as seen at the socket.
"""

import socket
from collections import Counter
from collections.abc import Sequence
from urllib.parse import quote

import pytest

from pipeline_assets.errors import Blocked, InvalidInput, RowError
from pipeline_assets.fetch.fetcher import HttpFetcher
from pipeline_assets_tests.faults.connections import watched
from pipeline_assets_tests.faults.server import Fault, FaultServer, raw
from pipeline_assets_tests.fetch.test_fetcher import HOSTILE, HOSTILE_NAMES

STATUSES = (301, 302, 303, 307, 308)
ONLY_BY_REDIRECT = [
    "//169.254.169.254/latest/",
    "///169.254.169.254/",
    "\\\\169.254.169.254\\latest",
    "/\\169.254.169.254/",
    "http:169.254.169.254/",
    "http:/169.254.169.254/",
    "HTTP://169.254.169.254/",
    "http://169.254.169.254:80@127.0.0.1:1/",
    "http://[::ffff:a9fe:a9fe]/",
    "http://0xa9.0xfe.0xa9.0xfe/",
    "http://2852039166/",
    "http://metadata.example./",
    "https://private.example/",
    "http://public.example:25/",
    "http://private.example#@public.example/",
    "http://private.example?@public.example/",
    "\thttp://private.example/",
    "http://pri\tvate.example/",
    "http://10.0.0.1\x00.public.example/",
    "file://localhost/etc/passwd",
    "jar:http://127.0.0.1!/",
    "dict://127.0.0.1:11211/stats",
    "tftp://127.0.0.1/x",
    "ldap://127.0.0.1/",
    "about:blank",
]
"""Some of these are paths on the server itself, to who joins URLs as RFC 3986 does."""


def location(url: str) -> str:
    """The URL as a header may carry it: what would end the line is escaped."""
    return "".join(quote(c) if c in "\r\n\0" else c for c in url)


def redirects(urls: Sequence[str]) -> dict[str, Fault]:
    """A redirect to each, by number, with one status after the other."""
    return {
        str(number): Fault(
            sent=raw(
                f"HTTP/1.1 {STATUSES[number % len(STATUSES)]} Elsewhere\r\nConnection: close\r\n"
                f"Content-Length: 0\r\nLocation: {location(url)}\r\n\r\n".encode()
            )
        )
        for number, url in enumerate(urls)
    }


def unknown(name: str) -> list[str]:
    """The addresses of the hostile names; any other is unknown."""
    if name in HOSTILE_NAMES and name != "public.example":
        return HOSTILE_NAMES[name]
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def test_no_redirect_opens_a_connection() -> None:
    """Not by one status or another, whatever is in front of the address and behind it."""
    urls = [
        url.replace("public.example", "private.example") for url in (*HOSTILE, *ONLY_BY_REDIRECT)
    ]
    with (
        FaultServer(redirects(urls)) as server,
        HttpFetcher(
            allow=[server.host], concurrency=8, timeout_s=9, max_bytes=9, resolve=unknown
        ) as fetcher,
        watched() as connected,
    ):
        outcomes = fetcher.fetch_all([server.url(str(n)) for n in range(len(urls))], len)
    assert set(connected) == {("127.0.0.1", server.port)}
    assert len(connected) >= len(urls)
    for url, outcome in zip(urls, outcomes, strict=True):
        assert isinstance(outcome, RowError), url
        refused = isinstance(outcome, Blocked | InvalidInput)
        assert refused or server.url("") in outcome.message, outcome


def test_a_chain_of_redirects_is_judged_at_each_of_its_steps() -> None:
    """The last one as well."""
    chain = ["1", "2", "3", "4", "http://private.example/"]
    with (
        FaultServer(redirects(chain)) as server,
        HttpFetcher(
            allow=[server.host], concurrency=1, timeout_s=9, max_bytes=9, resolve=unknown
        ) as fetcher,
        watched() as connected,
    ):
        (outcome,) = fetcher.fetch_all([server.url("0")], len)
    assert type(outcome) is Blocked
    assert Counter(connected) == {("127.0.0.1", server.port): 5}


@pytest.mark.parametrize("rebound", ["127.0.0.1", "10.0.0.1", "::1"])
def test_a_name_that_changes_its_mind_gains_nothing(rebound: str) -> None:
    """Open when it is asked for first, private a moment later: the socket is what is looked at."""
    addresses = iter(["127.0.0.1", rebound])
    with (
        FaultServer(redirects(["http://rebound.example/"])) as server,
        HttpFetcher(
            allow=[server.host],
            concurrency=1,
            timeout_s=9,
            max_bytes=9,
            resolve=lambda _name: [next(addresses)],
        ) as fetcher,
        watched() as connected,
    ):
        url = f"http://rebound.example:{server.port}/0"
        (outcome,) = fetcher.fetch_all([url], len)
    assert type(outcome) is Blocked
    assert connected == [("127.0.0.1", server.port)]
    assert next(addresses, None) is None
