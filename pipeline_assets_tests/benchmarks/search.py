"""What a search costs and how much it finds: an index of items that nobody has to enrich first.

Words come as often as in any language (Zipf), names are of words that say something, and vectors
come in bunches, as those of pictures of the same kind do.
`python -m pipeline_assets_tests.benchmarks.search ITEMS FOLDER` does it once, in this process, and
prints what it took.
"""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline_assets.core.contract import TIMESTAMP, list_of
from pipeline_assets.core.hours import hour_name
from pipeline_assets.search import Embedder, SearchIndex
from pipeline_assets.stages.store import FACTOR_TYPE
from pipeline_assets_tests.benchmarks.measure import Measure, Wanted
from pipeline_assets_tests.benchmarks.processes import run_python

ITEMS, LARGE = 100_000, 200_000
ITEMS_AN_HOUR = 10_000
QUERIES = 200
BAR_MS, BAR_RECALL = 50.0, 0.95
DIMENSIONS, BUNCHES, SPREAD = 512, 500, 0.9
WORDS, NAME_WORDS, TEXT_WORDS = 30_000, 3, 77
EMPTY_WORDS = 100
"""The most frequent words, which no name is made of."""

SPACE, QUALITIES = "clip", (1.0, 1.0, 1.0, 0.72, 0.4)
START = datetime(2026, 3, 2, tzinfo=UTC)
SEED = 29

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Taken:
    """What an index of `items` items took to build and to search."""

    items: int
    build_s: float
    replace_s: float
    index_bytes: int
    p50_ms: float
    p95_ms: float
    kind: str
    ef_search: int | None
    recall: float


def measures(items: int = ITEMS, large: int = LARGE) -> Iterator[Measure]:
    """An index whose vectors are all compared, and one that is a graph."""
    for count in (items, large):
        taken, peak_bytes = _measured(count)
        what = f"search, {count:,} items ({taken.kind})"
        bar = BAR_MS if count == items else None
        yield _held(f"{what}: hybrid, p95", taken.p95_ms, "ms", bar)
        yield _held(f"{what}: hybrid, median", taken.p50_ms, "ms")
        yield Measure(f"{what}: recall@10", taken.recall, "", "bar", BAR_RECALL, Wanted.AT_LEAST)
        yield _held(f"{what}: items built a second", count / taken.build_s, "/s")
        yield _held(f"{what}: an hour of {ITEMS_AN_HOUR:,} replaced", taken.replace_s, "s")
        yield _held(f"{what}: on disk", taken.index_bytes / 1e6, "MB")
        yield _held(f"{what}: peak memory", peak_bytes / 1e6, "MB")


def _held(what: str, ours: float, unit: str, bar: float | None = None) -> Measure:
    """A figure, held against a bar where there is one."""
    if bar is None:
        return Measure(what, ours, unit, "", 0.0, bar=None)
    return Measure(what, ours, unit, "bar", bar)


def _measured(items: int) -> tuple[Taken, int]:
    """What it took in a fresh process, and the peak memory of that."""
    with TemporaryDirectory() as folder:
        finished = run_python(["-m", __name__, str(items), f"{folder}/search"], Path(folder))
    return Taken(**json.loads(finished.output)), finished.peak_bytes


class Shelf:
    """Items without end, the same ones each time."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(SEED)
        shares = 1 / np.arange(1, WORDS + 1)
        self._until = np.cumsum(shares / shares.sum())
        self._bunches = _unit(self._normal(BUNCHES))

    def hour(self, hour: str, first: int, count: int) -> pa.Table:
        """The enriched items of an hour, numbered from `first` on."""
        bunches = self._random.integers(BUNCHES, size=count)
        flat = pa.array(self.near(bunches).ravel(), pa.float32())
        offsets = np.arange(0, (count + 1) * DIMENSIONS, DIMENSIONS, dtype=np.int32)
        event_time = datetime.strptime(hour, "%Y-%m-%d-%H").replace(tzinfo=UTC)
        factor = {"stage": "embeddings", "rung_or_status": "cpu_clip", "factor": 0.8}
        qualities = [QUALITIES[number % len(QUALITIES)] for number in range(count)]
        columns = {
            "item_id": pa.array(f"item-{first + number:07}" for number in range(count)),
            "name": pa.array(self.words(NAME_WORDS, EMPTY_WORDS) for _ in range(count)),
            "text": pa.array(self.words(TEXT_WORDS) for _ in range(count)),
            "label": pa.array(f"kind{bunch}" for bunch in bunches),
            "label_confidence": pa.array([0.9] * count, pa.float32()),
            "kind": pa.array(["product"] * count),
            "status": pa.array(["ok"] * count),
            "quality": pa.array(qualities, pa.float32()),
            "quality_factors": pa.array([[factor]] * count, list_of(FACTOR_TYPE)),
            "event_time": pa.array([event_time] * count, TIMESTAMP),
            "space": pa.array([SPACE] * count),
            "modality": pa.array(["image"] * count),
            "embedding": pa.ListArray.from_arrays(pa.array(offsets), flat),
        }
        empty = ("description", "title", "image_url", "document_url")
        return pa.table(columns | {name: pa.nulls(count, pa.string()) for name in empty})

    def words(self, count: int, but: int = 0) -> str:
        """So many words, none of them among the `but` most frequent ones."""
        least = self._until[but - 1] if but else 0.0
        places = np.searchsorted(self._until, self._random.uniform(least, 1.0, count))
        return " ".join(f"w{place}" for place in places)

    def near(self, bunches: Sequence[int] | NDArray[np.int64]) -> Vectors:
        """A vector near each of these bunches."""
        spread = self._normal(len(bunches)) * SPREAD / np.sqrt(DIMENSIONS)
        return _unit(self._bunches[bunches] + spread.astype(np.float32))

    def _normal(self, count: int) -> Vectors:
        return self._random.normal(size=(count, DIMENSIONS)).astype(np.float32)


def _unit(vectors: Vectors) -> Vectors:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def main() -> None:
    """Build, replace an hour, search: once."""
    items, root = int(sys.argv[1]), Path(sys.argv[2])
    index, shelf = SearchIndex(root), Shelf()
    hours = [hour_name(START + timedelta(hours=n)) for n in range(items // ITEMS_AN_HOUR)]
    tables = [
        (hour, shelf.hour(hour, n * ITEMS_AN_HOUR, ITEMS_AN_HOUR)) for n, hour in enumerate(hours)
    ]
    build_s = index.rebuild(tables).seconds
    replace_s = index.replace_hour(hours[0], shelf.hour(hours[0], 0, ITEMS_AN_HOUR)).seconds
    durations_ms = _searched(index, shelf)
    (found,) = index.vector_indexes()
    taken = Taken(
        items=items,
        build_s=build_s,
        replace_s=replace_s,
        index_bytes=sum(file.stat().st_size for file in root.rglob("*")),
        p50_ms=float(np.percentile(durations_ms, 50)),
        p95_ms=float(np.percentile(durations_ms, 95)),
        kind=found.kind,
        ef_search=found.ef_search,
        recall=found.recall,
    )
    print(json.dumps(asdict(taken)))


def _always(vectors: Vectors) -> Embedder:
    return lambda _texts: vectors


def _searched(index: SearchIndex, shelf: Shelf) -> list[float]:
    """The milliseconds of each query: three words of a name, one of any kind, and a vector."""
    durations_ms = []
    for number in range(QUERIES):
        query = f"{shelf.words(NAME_WORDS, EMPTY_WORDS)} {shelf.words(1)}"
        vector = shelf.near([number])
        started = time.perf_counter()
        hits = index.search(query, embedders={SPACE: _always(vector)})
        durations_ms.append(1e3 * (time.perf_counter() - started))
        if len(hits) != 10:
            raise RuntimeError(f"{query!r} found {len(hits)} items")
    return durations_ms[1:]  # the first opens the files


if __name__ == "__main__":
    main()
