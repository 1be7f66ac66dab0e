"""What a search takes over HTTP, with clients that ask all the time.

The index is the one of `search`, and so is the stand-in for the model: what is measured is the
index, the ranking and the service. `python -m pipeline_assets_tests.benchmarks.serve ask ITEMS
FOLDER` does it once, with the service in a process of its own, and prints the times.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp
import numpy as np
import uvicorn

from pipeline_assets.core.hours import hour_name
from pipeline_assets.resources import Resources, opened
from pipeline_assets.search import SearchIndex
from pipeline_assets.serve.app import application
from pipeline_assets.serve.command import one_thread_a_search
from pipeline_assets.settings import load_settings
from pipeline_assets_tests.benchmarks.measure import Measure
from pipeline_assets_tests.benchmarks.processes import run_python
from pipeline_assets_tests.benchmarks.search import (
    BUNCHES,
    EMPTY_WORDS,
    ITEMS,
    ITEMS_AN_HOUR,
    NAME_WORDS,
    SPACE,
    START,
    Shelf,
    Vectors,
)
from pipeline_assets_tests.e2e.processes import HOST, STOP_S, answers, free_port, wait_for

MODULE = "pipeline_assets_tests.benchmarks.serve"
CLIENTS, QUERIES_EACH = 8, 50
WARM_UP = 2
"""Queries of each client that are not counted."""

BAR_MS = 80.0


def measures(items: int = ITEMS) -> Iterator[Measure]:
    """Eight clients on a hundred thousand items."""
    with TemporaryDirectory() as folder:
        arguments = ["-m", MODULE, "ask", str(items), f"{folder}/served"]
        finished = run_python(arguments, Path(folder))
    took_ms = json.loads(finished.output)["took_ms"]
    what = f"search over HTTP, {items:,} items, {CLIENTS} clients"
    p95, median = float(np.percentile(took_ms, 95)), float(np.percentile(took_ms, 50))
    yield Measure(f"{what}: hybrid, p95", p95, "ms", "bar", BAR_MS)
    yield Measure(f"{what}: hybrid, median", median, "ms", "", 0.0, bar=None)


@dataclass(frozen=True, slots=True)
class StandIn:
    """A model that knows at once what is meant."""

    producer: str
    shelf: Shelf

    def query_vectors(self, texts: Sequence[str]) -> Vectors:
        """A vector near one of the bunches, for each text."""
        return self.shelf.near([hash(text) % BUNCHES for text in texts])


def ask(items: int, data: Path) -> None:
    """Build the index, start the service, and ask it."""
    shelf = Shelf()
    hours = [hour_name(START + timedelta(hours=n)) for n in range(items // ITEMS_AN_HOUR)]
    SearchIndex(data / "search").rebuild(
        (hour, shelf.hour(hour, n * ITEMS_AN_HOUR, ITEMS_AN_HOUR)) for n, hour in enumerate(hours)
    )
    queries = [
        [shelf.words(NAME_WORDS, EMPTY_WORDS) for _ in range(WARM_UP + QUERIES_EACH)]
        for _ in range(CLIENTS)
    ]
    port = free_port()
    command = [sys.executable, "-m", MODULE, "answer", str(data), str(port)]
    with subprocess.Popen(command) as service:
        try:
            wait_for(lambda: _answers(service, port), "the first answer")
            took_ms = asyncio.run(_asked(f"http://{HOST}:{port}/api/search", queries))
        finally:
            service.terminate()
            service.wait(STOP_S)
    print(json.dumps({"took_ms": took_ms}))


def _answers(service: subprocess.Popen[bytes], port: int) -> bool:
    if service.poll() is not None:
        raise RuntimeError(f"the service ended with {service.returncode}")
    return answers(f"http://{HOST}:{port}/healthz")


async def _asked(url: str, queries: Sequence[Sequence[str]]) -> list[float]:
    async with aiohttp.ClientSession() as session:
        clients = [_client(session, url, each) for each in queries]
        return [took for client in await asyncio.gather(*clients) for took in client]


async def _client(session: aiohttp.ClientSession, url: str, queries: Sequence[str]) -> list[float]:
    """The milliseconds of each query, one after the other."""
    took_ms = []
    for query in queries:
        started = time.perf_counter()
        async with session.get(url, params={"q": query}) as reply:
            hits = (await reply.json())["hits"]
        took_ms.append(1e3 * (time.perf_counter() - started))
        if len(hits) != 10:
            raise RuntimeError(f"{query!r} found {len(hits)} items")
    return took_ms[WARM_UP:]


def answer(data: Path, port: int) -> None:
    """Serve until stopped."""
    one_thread_a_search()
    with opened(load_settings(data=data, accelerator="cpu")) as resources:
        _stand_in(resources)
        uvicorn.run(application(resources), host=HOST, port=port, log_config=None)


def _stand_in(resources: Resources) -> None:
    resources.__dict__["primary"] = StandIn(SPACE, Shelf())
    resources.__dict__["fallback"] = StandIn("none", Shelf())


def main() -> None:
    """Ask, or answer."""
    if sys.argv[1] == "ask":
        ask(int(sys.argv[2]), Path(sys.argv[3]))
    else:
        answer(Path(sys.argv[2]), int(sys.argv[3]))


if __name__ == "__main__":
    main()
