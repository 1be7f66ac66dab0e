"""Fetching that is killed: what was sealed is not asked for again."""

from pathlib import Path

import pytest

from pipeline_assets.stages import fetch
from pipeline_assets_tests.crash.run import HOUR, STAGE_NAME
from pipeline_assets_tests.crash.scene import Scene, until
from pipeline_assets_tests.faults.server import Fault, FaultServer, Then, sound
from pipeline_assets_tests.lengths import LONG

RESOURCES, KILLED_AT = 10_000, 6_000
UNSEALED = fetch.STAGE.micro_batch
"""Resources that a worker has in hand, in flight or in the pack that it seals before the next."""


def picture(number: int) -> bytes:
    """No two are alike."""
    return f"picture {number}".encode() * 50


def shop() -> FaultServer:
    """A server with nothing wrong about it, and a log of its own."""
    return FaultServer(
        {str(n): Fault(sent=sound(picture(n)), then=Then.KEEP) for n in range(RESOURCES)}
    )


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=LONG)])
def test_a_killed_fetch_asks_again_for_no_more_than_it_had_in_hand(
    tmp_path: Path, workers: int
) -> None:
    """By the server's own log: an unsealed pack of each worker, and what was in flight for it."""
    with shop() as server:
        scene = Scene(tmp_path, RESOURCES, workers, shop=server.url(""))
        scene.write_items()
        settings = {STAGE_NAME: fetch.STAGE.name, "PIPELINE_FETCH_ALLOW": server.host}
        run = scene.start(**settings)
        until(lambda: server.requests >= KILLED_AT, "requests", run)
        run.kill()
        asked = server.requests
        assert KILLED_AT <= asked < RESOURCES
        scene.finish(**settings)
    assert set(server.asked) == {str(n) for n in range(RESOURCES)}
    assert 0 < server.requests - RESOURCES <= workers * UNSEALED
    assert max(server.asked.values()) == 2
    table = scene.tables.read(fetch.STAGE.name, HOUR).to_pylist()
    sizes = [row["size"] for row in table if row["role"] == "image"]
    assert sizes == [len(picture(n)) for n in range(RESOURCES)]
