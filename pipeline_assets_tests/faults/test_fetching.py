"""Each fault ends, at its deadline at the latest, with the right reason, in bounded memory."""

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TypeAlias

import pytest

from pipeline_assets.errors import ErrorKind, RowError
from pipeline_assets.fetch.fetcher import PER_HOST, Fetched, HttpFetcher, Unchanged
from pipeline_assets.store.bodies import Body, chunks_of
from pipeline_assets_tests.faults import memory
from pipeline_assets_tests.faults.hostile import (
    ASKS_FOR_TIME,
    BODY,
    FAULTS,
    HARMLESS,
    MAX_BYTES,
    SLOW,
    SMUGGLED,
    SOON_S,
    TABLE,
    at_once,
    deadline_s,
)
from pipeline_assets_tests.faults.server import (
    Fault,
    FaultServer,
    Then,
    answer,
    never_accepting,
    sound,
)
from pipeline_assets_tests.lengths import HANG_S

AT_ONCE = 16
TO_WORK_WITH_BYTES = 50_000_000


Outcome: TypeAlias = Fetched[bytes] | RowError


def kind_of(outcome: Outcome | Unchanged) -> ErrorKind | None:
    """Why there is no value."""
    return outcome.kind if isinstance(outcome, RowError) else None


def whole(body: Body) -> bytes:
    """A body as it is."""
    return b"".join(chunks_of(body))


def fetched(url: str, timeout_s: float) -> Outcome:
    """One resource, by a fetcher of its own, to which loopback is open."""
    with HttpFetcher(
        allow=["127.0.0.0/8"], concurrency=1, timeout_s=timeout_s, max_bytes=MAX_BYTES
    ) as fetcher:
        (outcome,) = fetcher.fetch_all([url], whole)
        assert not isinstance(outcome, Unchanged)
        return outcome


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    """One server with everything that can go wrong."""
    with FaultServer(FAULTS) as server:
        yield server


@pytest.fixture(scope="module")
def ended(server: FaultServer) -> dict[str, Outcome]:
    """How each fault ended; many of them wait, and so they wait together."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = pool.map(fetched, map(server.url, FAULTS), map(deadline_s, FAULTS))
        return dict(zip(FAULTS, outcomes, strict=True))


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_ends_with_its_reason(name: str, ended: dict[str, Outcome]) -> None:
    """What is harmless is no fault, and what came is complete."""
    outcome = ended[name]
    assert kind_of(outcome) == TABLE[name].kind, outcome
    if isinstance(outcome, Fetched):
        assert outcome.stored == BODY


def test_each_is_asked_for_once_and_redirects_six_times(
    server: FaultServer, ended: dict[str, Outcome]
) -> None:
    """Whether again is the chain's affair; five redirects may be followed."""
    assert set(ended) == set(server.asked)
    again = {name: asked for name, asked in server.asked.items() if asked != 1}
    assert again == {"redirect-to-itself": 6, "redirects-in-a-ring": 6}


@pytest.mark.parametrize("name", ASKS_FOR_TIME)
def test_who_asks_for_time_is_heard(name: str, ended: dict[str, Outcome]) -> None:
    """In the outcome, for the chain."""
    outcome = ended[name]
    assert isinstance(outcome, RowError)
    assert outcome.retry_after == timedelta(seconds=3)


@pytest.mark.parametrize("full", [False, True])
def test_who_accepts_nobody_is_given_up_at_the_deadline(*, full: bool) -> None:
    """Connected and unheard, or not even connected."""
    with never_accepting(full=full) as url:
        assert kind_of(fetched(url, SOON_S)) == ErrorKind.TIMEOUT


def test_bytes_behind_an_answer_are_not_the_next_one() -> None:
    """A connection on which more came than was declared is not used again."""
    faults = {
        "long": at_once(answer([b"1st", SMUGGLED], length=3), then=Then.HANG),
        "next": Fault(sent=sound(BODY), then=Then.KEEP),
    }
    with (
        FaultServer(faults) as server,
        HttpFetcher(
            allow=[server.host], concurrency=1, timeout_s=HANG_S, max_bytes=MAX_BYTES
        ) as fetcher,
    ):
        for _ in range(3):
            first, second = fetcher.fetch_all([server.url("long"), server.url("next")], whole)
            assert isinstance(first, Fetched)
            assert first.stored == b"1st"
            assert isinstance(second, Fetched)
            assert second.stored == BODY


def test_a_server_that_closes_without_a_word_loses_no_request(server: FaultServer) -> None:
    """A connection that it kept open a moment ago may be gone when the next request is made."""
    urls = [server.url(f"closes-without-a-word?{number}") for number in range(100)]
    with HttpFetcher(
        allow=[server.host], concurrency=AT_ONCE, timeout_s=HANG_S, max_bytes=MAX_BYTES
    ) as fetcher:
        outcomes = fetcher.fetch_all(urls, whole)
    assert [outcome for outcome in outcomes if isinstance(outcome, RowError)] == []


def test_a_fault_does_not_disturb_its_neighbours(server: FaultServer) -> None:
    """All that come to an end, through one fetcher, with sound resources between."""
    names = [name for name in FAULTS if name not in (*HARMLESS, *SLOW, *ASKS_FOR_TIME)]
    urls = [url for name in names for url in (server.url(name), server.url(f"sound?{name}"))]
    with HttpFetcher(
        allow=[server.host], concurrency=AT_ONCE, timeout_s=HANG_S, max_bytes=MAX_BYTES
    ) as fetcher:
        outcomes = fetcher.fetch_all(urls, whole)
    assert all(isinstance(outcome, Fetched) for outcome in outcomes[1::2])
    kinds = {
        name: outcome.kind
        for name, outcome in zip(names, outcomes[::2], strict=True)
        if isinstance(outcome, RowError)
    }
    assert kinds == {name: TABLE[name].kind for name in names}


def test_memory_is_bounded_whatever_is_sent(server: FaultServer) -> None:
    """By the limit of a body for each request in flight to the host, and some to work with."""
    names = [
        *("ten-gb", "ten-gb-undeclared", "gzip-bomb", "endless-chunks"),
        *("endless-headers", "error-page-without-end"),
    ]
    urls = [server.url(f"{name}?{number}") for number in range(4) for name in names]
    max_bytes = 20_000_000
    command = [
        sys.executable,
        "-m",
        memory.__name__,
        str(max_bytes),
        str(HANG_S),
        server.url("sound"),
    ]
    ran = subprocess.run(
        [*command, *urls], capture_output=True, text=True, check=True, timeout=HANG_S
    )
    found = json.loads(ran.stdout)
    assert found["kinds"] == [None, *(TABLE[name].kind for name in names * 4)]
    assert found["grown_bytes"] < PER_HOST * max_bytes + TO_WORK_WITH_BYTES
