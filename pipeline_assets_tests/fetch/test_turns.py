"""Whose turn it is."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import timedelta

from pipeline_assets.errors import CircuitOpen
from pipeline_assets.fetch.gcra import Rate
from pipeline_assets.fetch.turns import LOOK_EVERY_S, Turns


class Time:
    """Time passes where somebody sleeps, and nowhere else."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        """The time."""
        return self.at

    async def sleep(self, seconds: float) -> None:
        """Be later, and let the others have their turn."""
        self.at += seconds
        await asyncio.sleep(0)


@dataclass
class Told:
    """Rates that a test sets by hand; it notes what it is asked and told."""

    per_s: float | None = None
    waits: list[float] = field(default_factory=list)
    held: dict[str, float] = field(default_factory=dict)
    leases: list[int] = field(default_factory=list)
    told: list[tuple[str, float]] = field(default_factory=list)

    def rate(self, _host: str) -> Rate | None:
        """One for all hosts."""
        return None if self.per_s is None else Rate(self.per_s)

    def lease(self, _host: str, wanted: int) -> list[float]:
        """The waits in turn."""
        self.leases.append(wanted)
        return [self.waits.pop(0) if self.waits else 0.0 for _ in range(wanted)]

    def leave_alone(self, host: str, wait: timedelta, _why: str) -> None:
        """Noted."""
        self.told.append((host, wait.total_seconds()))

    def left_alone(self, hosts: Collection[str]) -> dict[str, float]:
        """Those that are held."""
        return {host: self.held[host] for host in hosts if host in self.held}


def waited(told: Told, *hosts: str, queued: int = 1) -> tuple[list[float | CircuitOpen], float]:
    """What a turn of each host came to, one after the other in one call, and the time it took."""
    time = Time()
    began = time()

    async def wait() -> list[float | CircuitOpen]:
        turns = Turns(told, now=time, sleep=time.sleep)
        await turns.begin(set(hosts))
        return [await turns.wait(host, queued) for host in hosts]

    return asyncio.run(wait()), time() - began


def test_nobody_waits_without_a_rate_or_a_word() -> None:
    """And nothing is reserved."""
    told = Told()
    assert waited(told, "a", "b", "a") == ([1000.0] * 3, 0.0)
    assert told.leases == []


def test_requests_are_reserved_in_batches_and_made_when_they_are_due() -> None:
    """As many as wait here, but no more than the burst."""
    told = Told(per_s=8.0, waits=[0.0, 0.5, 0.25, 0.5])
    turns, seconds = waited(told, "a", "a", "a", "a", queued=9)
    assert turns == [1000.0, 1000.5, 1000.75, 1001.0]
    assert seconds == 1.0
    assert told.leases == [2, 2]
    assert waited(Told(per_s=100.0), "a", "a", "a", queued=3)[0] == [1000.0] * 3


def test_what_was_reserved_lapses() -> None:
    """A stall is not followed by a storm: neither here nor in a request that has not begun."""
    told, time = Told(per_s=8.0), Time()

    async def stall() -> float | CircuitOpen:
        turns = Turns(told, now=time, sleep=time.sleep)
        await turns.begin({"a"})
        turn = await turns.wait("a", 2)
        assert isinstance(turn, float)
        assert turns.has("a", turn)
        time.at += 60
        assert not turns.has("a", turn)
        return await turns.wait("a", 2)

    assert asyncio.run(stall()) == 1060.0
    assert told.leases == [2, 2]


def test_a_moment_is_waited_for_and_longer_is_not() -> None:
    """Who is not waited for has no call made, and knows when the next is due."""
    assert waited(Told(held={"a": 7.0}), "b", "a") == ([1000.0, 1007.0], 7.0)
    (refusal,), seconds = waited(Told(held={"a": 60.0}), "a")
    assert isinstance(refusal, CircuitOpen)
    assert refusal.retry_after == timedelta(seconds=60)
    assert "60 s" in refusal.message
    assert seconds == 0.0


def test_a_word_holds_at_once_and_is_passed_on() -> None:
    """A turn that was given before is good no longer; other hosts are asked."""
    told, time = Told(), Time()

    async def asked() -> tuple[float | CircuitOpen, float | CircuitOpen]:
        turns = Turns(told, now=time, sleep=time.sleep)
        await turns.begin({"a", "b"})
        turn = await turns.wait("a", 1)
        assert isinstance(turn, float)
        await turns.leave_alone("a", timedelta(seconds=5), "429")
        await turns.leave_alone("a", timedelta(seconds=1), "429")
        assert not turns.has("a", turn)
        assert turns.has("b", turn)
        return await turns.wait("b", 1), await turns.wait("a", 1)

    assert asyncio.run(asked()) == (1000.0, 1005.0)
    assert told.told == [("a", 5.0)]


def test_one_call_waits_for_a_host_for_a_moment_in_all() -> None:
    """However often it asks: the other hosts' rows wait behind. The next call begins anew."""
    time = Time()

    async def asked() -> list[bool]:
        turns = Turns(Told(), now=time, sleep=time.sleep)
        waits = []
        for _ in range(2):
            await turns.begin({"a"})
            for _ in range(3):
                await turns.leave_alone("a", timedelta(seconds=4), "429")
                waits.append(isinstance(await turns.wait("a", 1), float))
        return waits

    assert asyncio.run(asked()) == [True, True, False] * 2


def test_a_word_to_another_process_is_heard_while_a_call_lasts() -> None:
    """Soon after; and one about a host that only a redirect leads to before it is asked."""
    told, time = Told(held={"elsewhere": 60.0}), Time()

    async def asked() -> tuple[float | CircuitOpen, ...]:
        turns = Turns(told, now=time, sleep=time.sleep)
        await turns.begin({"a"})
        first = await turns.wait("a", 1)
        told.held["a"] = 60.0
        looking = asyncio.create_task(turns.keep_looking())
        for _ in range(1000):
            if isinstance(await turns.wait("a", 1), CircuitOpen):
                break
            await asyncio.sleep(0.001)
        looking.cancel()
        return first, await turns.wait("a", 1), await turns.wait("elsewhere", 1)

    first, then, elsewhere = asyncio.run(asked())
    assert first == 1000.0
    assert isinstance(then, CircuitOpen)
    assert isinstance(elsewhere, CircuitOpen)
    assert time() >= 1000.0 + LOOK_EVERY_S
