"""The faults themselves, seen from a bare socket: a test server that lies proves nothing."""

import socket
import time
from collections.abc import Iterator
from itertools import islice

import pytest

from pipeline_assets_tests.faults.server import (
    Fault,
    FaultServer,
    Repeated,
    Then,
    answer,
    never_accepting,
    raw,
    sound,
)
from pipeline_assets_tests.lengths import HANG_S

SOUND = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody"

FAULTS = {
    "sound": Fault(sent=sound(b"body")),
    "kept": Fault(sent=sound(b"body"), then=Then.KEEP),
    "late": Fault(sent=sound(b"body"), latency_s=0.1),
    "slow": Fault(sent=sound(b"body"), bytes_per_s=len(SOUND) / 0.1),
    "cut": Fault(sent=sound(b"body"), limit_bytes=len(SOUND) - 1),
    "reset": Fault(sent=sound(b"body"), limit_bytes=len(SOUND) - 1, then=Then.RESET),
    "hang": Fault(sent=sound(b"body"), then=Then.HANG),
    "endless": Fault(sent=answer(Repeated(b"x" * 1000))),
}


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    """One server for the module."""
    with FaultServer(FAULTS) as server:
        yield server


def connected(server: FaultServer, name: str) -> socket.socket:
    """A connection on which one request was made."""
    client = socket.create_connection(("127.0.0.1", server.port), timeout=HANG_S)
    client.sendall(f"GET /{name}?a=b HTTP/1.1\r\n\r\n".encode())
    return client


def read(client: socket.socket, at_most: int = 1_000_000) -> bytes:
    """All that comes, to the end of the connection or to a limit."""
    got = b""
    while len(got) < at_most and (piece := client.recv(65536)):
        got += piece
    return got


@pytest.mark.parametrize(
    ("name", "got", "at_least_s"),
    [
        ("sound", SOUND, 0.0),
        ("late", SOUND, 0.1),
        ("slow", SOUND, 0.09),
        ("cut", SOUND[:-1], 0.0),
        ("unknown", b"", 0.0),
    ],
)
def test_what_is_sent_and_how_long_it_takes_at_least(
    server: FaultServer, name: str, got: bytes, at_least_s: float
) -> None:
    """To the byte, and then the connection is closed."""
    started = time.monotonic()
    with connected(server, name) as client:
        assert read(client) == got
    assert at_least_s <= time.monotonic() - started


def test_a_reset_is_one(server: FaultServer) -> None:
    """Not an orderly end."""
    with connected(server, "reset") as client, pytest.raises(ConnectionResetError):
        read(client)


def test_a_connection_that_hangs_stays_open(server: FaultServer) -> None:
    """Behind a complete answer."""
    with connected(server, "hang") as client:
        assert read(client, len(SOUND)) == SOUND
        client.settimeout(0.05)
        with pytest.raises(TimeoutError):
            client.recv(1)


def test_a_connection_that_is_kept_serves_the_next_request(server: FaultServer) -> None:
    """And the one behind it."""
    with connected(server, "kept") as client:
        for _ in range(2):
            assert read(client, len(SOUND)) == SOUND
            client.sendall(b"GET /sound HTTP/1.1\r\n\r\n")


def test_an_endless_body_has_no_end(server: FaultServer) -> None:
    """And whoever leaves does not disturb the next."""
    with connected(server, "endless") as client:
        assert len(read(client, 3_000_000)) >= 3_000_000
    with connected(server, "sound") as client:
        assert read(client) == SOUND


def test_requests_are_counted_by_name() -> None:
    """Without their query."""
    with FaultServer(FAULTS) as server:
        for _ in range(3):
            with connected(server, "sound") as client:
                read(client)
        assert server.asked == {"sound": 3}


def test_nobody_is_accepted() -> None:
    """A client is connected and has no answer; behind a full queue it is not even connected."""
    with never_accepting(full=False) as url:
        port = int(url.rpartition(":")[2].rstrip("/"))
        with (
            socket.create_connection(("127.0.0.1", port), timeout=0.1) as client,
            pytest.raises(TimeoutError),
        ):
            client.recv(1)
    with never_accepting(full=True) as url:
        port = int(url.rpartition(":")[2].rstrip("/"))
        with pytest.raises(TimeoutError):
            socket.create_connection(("127.0.0.1", port), timeout=0.1)


def test_pieces_are_made_anew() -> None:
    """For each request, as many as were asked for."""
    assert b"".join(Repeated(b"x", 2, first=b"y")) == b"yxx"
    assert len(list(islice(Repeated(b"x"), 10))) == 10
    pieces = Fault(sent=raw(b"a", b"b"))
    assert list(pieces.sent()) == list(pieces.sent()) == [b"a", b"b"]
