"""Measure and print: `python -m pipeline_assets_tests.benchmarks`."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_assets_tests.benchmarks import (
    analytics,
    bookkeeping,
    breakers,
    checks,
    clip_rungs,
    definitions_import,
    demo_run,
    extraction,
    feeds,
    ingest,
    night,
    search,
    sensors,
    serve,
)
from pipeline_assets_tests.benchmarks.measure import Measure, show, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

DEMO_ITEMS = 2000
NIGHT_ITEMS = 500


def main() -> None:
    """Take the measures one after the other; a bar that is missed is shown, not an error."""
    arguments = _arguments()
    parts: dict[str, Callable[[], Iterable[Measure]]] = {
        "import": definitions_import.measures,
        "demo": lambda: demo_run.measures(arguments.items),
        "bookkeeping": bookkeeping.measures,
        "breakers": breakers.measures,
        "checks": checks.measures,
        "extraction": extraction.measures,
        "sensors": sensors.measures,
        "feeds": feeds.measures,
        "night": lambda: night.measures(arguments.night_items),
        "clip": clip_rungs.measures,
        "search": search.measures,
        "analytics": analytics.measures,
        "serve": serve.measures,
        "ingest": lambda: ingest.measures(arguments.images),
    }
    found: list[Measure] = []
    for name, measures in parts.items():
        if name in arguments.only:
            print(f"measuring: {name}", file=sys.stderr, flush=True)
            found.extend(measures())
    show(found)
    if arguments.json is not None:
        write_json(arguments.json, found)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline_assets_tests.benchmarks", description=__doc__
    )
    parser.add_argument("--items", type=int, default=DEMO_ITEMS, help="items an hour in the demo")
    parser.add_argument(
        "--night-items", type=int, default=NIGHT_ITEMS, help="items an hour in the night"
    )
    parser.add_argument("--images", type=int, default=ingest.IMAGES, help="images that are fetched")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures there")
    names = [
        *(
            "import",
            "demo",
            "bookkeeping",
            "breakers",
            "checks",
            "extraction",
            "sensors",
            "feeds",
            "night",
            "clip",
            "search",
            "analytics",
            "serve",
        ),
        "ingest",
    ]
    parser.add_argument(
        "--only", nargs="+", choices=names, default=names, help="just some of the measures"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
