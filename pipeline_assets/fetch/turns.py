"""Whose turn it is: requests of one process wait here until their host may be asked."""

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from pipeline_assets.errors import CircuitOpen
from pipeline_assets.fetch.rates import A_MOMENT, Rates

GOOD_FOR_S: Final = 1.0
"""A reserved request that is not made so soon lapses, or a stall would be followed by a storm."""
LOOK_EVERY_S: Final = 1.0
"""How soon another process's word about a host is heard while a call lasts."""


@dataclass(slots=True)
class _Host:
    """What is known of a host. `patience` is until when this call waits for the host at most."""

    held_until: float = 0.0
    patience: float | None = None
    reserved: deque[float] = field(default_factory=deque)
    reserving: asyncio.Lock = field(default_factory=asyncio.Lock)


class Turns:
    """The turns of one event loop, within what all processes keep to together."""

    def __init__(
        self,
        rates: Rates,
        *,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._rates, self._now, self._sleep = rates, now, sleep
        self._hosts: defaultdict[str, _Host] = defaultdict(_Host)
        self._looked_up: set[str] = set()

    async def begin(self, hosts: Collection[str]) -> None:
        """A call begins that asks these hosts: what was known of their waits is looked up anew."""
        for host in hosts:
            self._hosts[host].held_until, self._hosts[host].patience = 0.0, None
        self._looked_up = set(hosts)
        await self._look_up(hosts)

    async def keep_looking(self) -> None:
        """Hear of waits that other processes are asked for, until cancelled."""
        while True:
            await self._sleep(LOOK_EVERY_S)
            await self._look_up(tuple(self._looked_up))

    async def wait(self, host: str, queued: int) -> float | CircuitOpen:
        """Wait until the host may be asked, and give that time; or why it is not waited for.

        `queued` requests to it wait here: so many are reserved at a time, up to the burst.
        """
        if host not in self._looked_up:
            self._looked_up.add(host)
            await self._look_up([host])
        known = self._hosts[host]
        while True:
            held_s = known.held_until - self._now()
            if held_s > 0:
                if not self._is_patient(known):
                    return _left_alone(host, held_s)
                await self._sleep(held_s)
                continue
            due = await self._reserved(host, known, queued)
            if due > self._now():
                await self._sleep(due - self._now())
            if known.held_until <= due:
                return due

    def has(self, host: str, turn: float) -> bool:
        """Whether a turn that `wait` gave is still good."""
        if self._hosts[host].held_until > turn:
            return False
        return self._rates.rate(host) is None or self._now() - turn <= GOOD_FOR_S

    async def leave_alone(self, host: str, wait: timedelta, why: str) -> None:
        """A host asked for it; here it holds at once, and then for all."""
        known = self._hosts[host]
        until = self._now() + wait.total_seconds()
        news = until - known.held_until > LOOK_EVERY_S  # many are told the same at the same time
        known.held_until = max(known.held_until, until)
        if news:
            await asyncio.to_thread(self._rates.leave_alone, host, wait, why)

    async def _look_up(self, hosts: Collection[str]) -> None:
        found = await asyncio.to_thread(self._rates.left_alone, hosts)
        for host, seconds in found.items():
            known = self._hosts[host]
            known.held_until = max(known.held_until, self._now() + seconds)

    async def _reserved(self, host: str, known: _Host, queued: int) -> float:
        """When the next request to a host may be made; now, where it has no rate."""
        rate = self._rates.rate(host)
        if rate is None:
            return self._now()
        async with known.reserving:
            while known.reserved and known.reserved[0] < self._now() - GOOD_FOR_S:
                known.reserved.popleft()
            if not known.reserved:
                wanted = min(max(queued, 1), rate.burst)
                waits = await asyncio.to_thread(self._rates.lease, host, wanted)
                known.reserved.extend(self._now() + wait for wait in waits)
            return known.reserved.popleft()

    def _is_patient(self, known: _Host) -> bool:
        """A call waits for a host for a moment in all, however often it is asked for."""
        if known.patience is None:
            known.patience = self._now() + A_MOMENT.total_seconds()
        return known.held_until <= known.patience


def _left_alone(host: str, seconds: float) -> CircuitOpen:
    return CircuitOpen(
        f"{host} asked to be left alone; no call was made, the next is due in {seconds:.0f} s",
        retry_after=timedelta(seconds=seconds),
    )
