"""What ingest costs, beside img2dataset and Daft: one nginx on loopback, the same JPEGs for all.

Fetching is from a table of items to packs that are durable and to the published table of their
rows. To the model's input is that, the published table of what each picture is (all of its bytes
decoded), and a stage that decodes each once more as far as a model of 224 pixels needs it, scales
and crops it. Our pixels go to the model and are not kept; img2dataset's, 256 pixels on the short
side, are encoded and stored, which is what it is for.

Neither side's seconds include the start of its processes: our workers have fetched something
before, and img2dataset's are from the beginning of its first shard to the end of its last, by its
own account. The CPU is that of all processes, nginx aside.
`python -m pipeline_assets_tests.benchmarks.ingest PART URLS` does one part of ours, on the data
root of PIPELINE_DATA, and prints what it took.
"""

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc

from pipeline_assets.core.names import ITEMS
from pipeline_assets.core.rows import Row, to_table
from pipeline_assets.core.stage import Stage
from pipeline_assets.core.status import Status
from pipeline_assets.engine.engine import materialize
from pipeline_assets.engine.orders import Order
from pipeline_assets.ingest import items
from pipeline_assets.resources import Resources, opened
from pipeline_assets.settings import load_settings
from pipeline_assets.stages import fetch, validate
from pipeline_assets.store.tables import ROW_GROUP_ROWS
from pipeline_assets_tests.benchmarks import resized
from pipeline_assets_tests.benchmarks.measure import Measure, Wanted
from pipeline_assets_tests.benchmarks.nginx import NoServerError, served
from pipeline_assets_tests.benchmarks.peers import Took, daft_took, img2dataset_took
from pipeline_assets_tests.benchmarks.processes import cpu_seconds, run_python

IMAGES = 20_000
BYTES, WIDTH, HEIGHT = 50_000, 640, 480
FEW, MANY, SMALL_BYTES, SMALL_SIDE = 5_000, 50_000, 4_000, 128
IN_FLIGHT = 32
"""Requests to the one host: what img2dataset's two processes with 16 threads make."""
SHARE_OF_SOME = 4
"""One in so many images: from there on, the CPU grows with the images alone."""
FASTER = 1.5
CPU_BAR_MS = 0.35
FLAT = 1.15
HOUR, WARM_UP_HOUR = "2026-03-02-06", "2026-03-02-05"
WARMING_UP = 4 * fetch.STAGE.micro_batch
EVENT_TIME = datetime(2026, 3, 2, 6, tzinfo=UTC)
FETCH, TO_MODEL = "fetch", "to-model"
PARTS: Mapping[str, Sequence[Stage]] = {
    FETCH: (fetch.STAGE,),
    TO_MODEL: (fetch.STAGE, validate.STAGE, resized.STAGE),
}


def measures(images: int) -> Iterator[Measure]:
    """Images a second beside the peers', CPU of an image, and memory as images become many."""
    try:
        with served(images, BYTES, WIDTH, HEIGHT) as urls:
            yield from _fetched(urls)
            yield from _to_the_model(urls)
        with served(MANY, SMALL_BYTES, SMALL_SIDE, SMALL_SIDE) as urls:
            few, many = (_measured(FETCH, urls[:count])[1] / 1e6 for count in (FEW, MANY))
            what = f"peak memory, {MANY:,} images fetched"
            yield Measure(what, many, "MB", f"{FEW:,}", few, bar=FLAT)
    except NoServerError as error:
        print(f"ingest: left out: {error}", file=sys.stderr)


def _fetched(urls: Sequence[str]) -> Iterator[Measure]:
    what, some = f"fetch, {len(urls):,} images of 50 KB", urls[: len(urls) // SHARE_OF_SOME]
    ours = _measured(FETCH, urls)[0]
    cpu_ms = _of_one_more(_measured(FETCH, some)[0], ours)
    yield Measure(f"{what}: CPU of one more", cpu_ms, "ms", "bar", CPU_BAR_MS)
    theirs, theirs_of_some = (img2dataset_took(each, resize=False) for each in (urls, some))
    if isinstance(theirs, str) or isinstance(theirs_of_some, str):
        print(f"img2dataset: {theirs}", file=sys.stderr)
    else:
        yield _beside(what, ours, "img2dataset", theirs, FASTER)
        their_ms = _of_one_more(theirs_of_some, theirs)
        yield Measure(f"{what}: CPU of one more", cpu_ms, "ms", "img2dataset", their_ms, bar=None)
    other = daft_took(urls)
    if isinstance(other, str):
        print(f"daft: {other}", file=sys.stderr)
    else:
        yield _beside(what, ours, "daft", other, None)


def _to_the_model(urls: Sequence[str]) -> Iterator[Measure]:
    ours, _ = _measured(TO_MODEL, urls)
    theirs = img2dataset_took(urls, resize=True)
    if isinstance(theirs, str):
        print(f"img2dataset: {theirs}", file=sys.stderr)
    else:
        what = f"fetch, validate, resize, {len(urls):,} images"
        yield _beside(what, ours, "img2dataset", theirs, FASTER)


def _beside(what: str, ours: Took, peer: str, theirs: Took, bar: float | None) -> Measure:
    return Measure(what, ours.per_s, "images/s", peer, theirs.per_s, Wanted.AT_LEAST, bar)


def _of_one_more(some: Took, all_of_them: Took) -> float:
    """Milliseconds of CPU: what starting costs is the same for few as for many."""
    return 1e3 * (all_of_them.cpu_s - some.cpu_s) / (all_of_them.rows - some.rows)


def _measured(part: str, urls: Sequence[str]) -> tuple[Took, int]:
    """What ours took in a fresh process, and the peak memory of that and its workers."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "urls").write_text("\n".join(urls))
        finished = run_python(["-m", __name__, part, str(folder / "urls")], folder)
    return Took(**json.loads(finished.output)), finished.peak_bytes


def main() -> None:
    """Do one part once, from items that are there to tables that are published, by warm workers."""
    part, path = sys.argv[1:]
    urls = Path(path).read_text().split()
    allowed = urlsplit(urls[0]).netloc
    settings = load_settings(
        fetch_allow=(allowed,), fetch_per_host=IN_FLIGHT, stages=resized.__name__
    )
    with opened(settings) as resources:
        _write_items(resources, WARM_UP_HOUR, [f"{urls[0]}?{n}" for n in range(WARMING_UP)])
        materialize(Order(fetch.STAGE.name, WARM_UP_HOUR, "run"), resources)
        _write_items(resources, HOUR, urls)
        cpu_before, started = cpu_seconds(os.getpid()), time.perf_counter()
        for stage in PARTS[part]:
            materialize(Order(stage.name, HOUR, "run"), resources)
        seconds = time.perf_counter() - started
        took = Took(len(urls), seconds, cpu_seconds(os.getpid()) - cpu_before)
        _check(resources, PARTS[part], len(urls))
    print(json.dumps(asdict(took)))


def _check(resources: Resources, stages: Sequence[Stage], rows: int) -> None:
    for stage in stages:
        table = resources.tables.read(stage.name, HOUR)
        primary = pc.sum(pc.equal(table["rung"], stage.rungs[0].name)).as_py()
        if primary != rows:
            raise RuntimeError(
                f"{stage.name}: {rows} images, of which {primary} were as they should"
            )


def _write_items(resources: Resources, hour: str, urls: Sequence[str]) -> None:
    with resources.tables.writer(ITEMS, hour, items.SCHEMA, _unchecked) as writer:
        for start in range(0, len(urls), ROW_GROUP_ROWS):
            rows = [
                _item(start + offset, url)
                for offset, url in enumerate(urls[start : start + ROW_GROUP_ROWS])
            ]
            writer.write(to_table(rows, items.SCHEMA))
        writer.publish()


def _item(number: int, url: str) -> Row:
    values = (f"name {number}", "product", None, None, url, EVENT_TIME, "batch", number)
    return Row(
        (f"i{number:08d}",), values, Status.OK, rung="feed", quality=1.0, key=f"{number}.feed"
    )


def _unchecked(_table: pa.Table) -> None:
    return None


if __name__ == "__main__":
    main()
