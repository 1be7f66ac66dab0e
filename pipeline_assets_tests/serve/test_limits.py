"""How much is done at once."""

import asyncio
from threading import Event

import pytest

from pipeline_assets.serve.errors import Busy
from pipeline_assets.serve.limits import Limits, Work


def test_who_cannot_wait_is_told_to_come_back() -> None:
    """One is worked on, one waits, the third is refused; then there is room again."""
    go = Event()

    async def all_of_them() -> list[str]:
        work = Work(Limits(at_once=1, waiting=1))
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
        work = Work(Limits(at_once=1, waiting=0))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(work.do(lambda: _waited(go)), 0.01)
        with pytest.raises(Busy):
            await work.do(lambda: "next")
        go.set()
        work.close()

    asyncio.run(given_up())


def _waited(go: Event) -> str:
    go.wait(10)
    return "done"
