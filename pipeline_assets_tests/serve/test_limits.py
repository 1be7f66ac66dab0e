"""How much is done at once."""

import asyncio
import os
from threading import Event

import pytest

from pipeline_assets.serve.errors import Busy
from pipeline_assets.serve.limits import ServiceLimits, WorkPool


def test_who_cannot_wait_is_told_to_come_back() -> None:
    """One is worked on, one waits, the third is refused; then there is room again."""
    go = Event()

    async def all_of_them() -> list[str]:
        work = WorkPool(ServiceLimits(at_once=1, waiting=1))
        first, second = (asyncio.ensure_future(work.do(lambda: _waited(go))) for _ in range(2))
        await asyncio.sleep(0)
        with pytest.raises(Busy, match="2 requests"):
            await work.do(lambda: "third")
        go.set()
        done = [await first, await second]
        done.append(await work.do(lambda: "fourth"))
        work.close()
        return done

    assert asyncio.run(all_of_them()) == ["done", "done", "fourth"]


def test_a_call_that_nobody_waits_for_keeps_its_place() -> None:
    """Or a client that gives up could start any number of them."""
    go = Event()

    async def given_up() -> None:
        work = WorkPool(ServiceLimits(at_once=1, waiting=0))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(work.do(lambda: _waited(go)), 0.01)
        with pytest.raises(Busy):
            await work.do(lambda: "next")
        go.set()
        work.close()

    asyncio.run(given_up())


def test_what_is_cheap_does_not_wait_for_what_computes() -> None:
    """Nor the other way round."""
    go = Event()

    async def beside_each_other() -> None:
        for stuck in (False, True):
            work = WorkPool(ServiceLimits(at_once=1, beside=1, waiting=0))
            waits = asyncio.ensure_future(work.do(lambda: _waited(go), beside=stuck))
            await asyncio.sleep(0)
            with pytest.raises(Busy):
                await work.do(lambda: "no place", beside=stuck)
            assert await work.do(lambda: "at once", beside=not stuck) == "at once"
            waits.cancel()
            work.close()
        go.set()

    asyncio.run(beside_each_other())


@pytest.mark.parametrize(("cores", "at_once"), [(1, 2), (2, 2), (5, 5)])
def test_as_many_are_worked_on_as_this_process_has_cores(
    monkeypatch: pytest.MonkeyPatch, cores: int, at_once: int
) -> None:
    """Which may be fewer than the machine has, as for workers; a slow one never holds all."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(cores)))
    assert ServiceLimits().at_once == at_once


def _waited(go: Event) -> str:
    go.wait(10)
    return "done"
