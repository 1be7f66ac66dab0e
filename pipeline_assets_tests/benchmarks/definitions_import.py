"""What every code server and every run pays first: importing the definitions."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline_assets_tests.benchmarks.measure import Measure
from pipeline_assets_tests.benchmarks.processes import run_python

ROUNDS = 5
BAR_S = 2.0
HEAVY = ("torch", "great_expectations")
"""Two seconds and more each; only what needs them may import them."""

_LOADED = f"import sys; print(*(name for name in {HEAVY} if name in sys.modules))"


def measures() -> Iterator[Measure]:
    """Seconds of a process that imports them and nothing else, the best of some rounds."""
    ours, floor, loaded = [], [], set[str]()
    with TemporaryDirectory() as folder:
        for _ in range(ROUNDS):
            floor.append(_import("dagster", folder)[0])
            seconds, found = _import("pipeline_assets.definitions", folder)
            ours.append(seconds)
            loaded.update(found)
    what = "import pipeline_assets.definitions, fresh process"
    yield Measure(what, min(ours), "s", "bar", BAR_S)
    yield Measure(what, min(ours), "s", "floor: import dagster", min(floor), bar=None)
    yield Measure(f"{' or '.join(HEAVY)} loaded by that", len(loaded), "", "bar", 0)


def _import(module: str, folder: str) -> tuple[float, list[str]]:
    finished = run_python(["-c", f"import {module}; {_LOADED}"], Path(folder))
    return finished.seconds, finished.output.split()
