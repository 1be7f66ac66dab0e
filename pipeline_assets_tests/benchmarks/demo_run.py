"""The demo as a user runs it: how long it takes, and how much memory."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline_assets_tests.benchmarks.measure import Measure
from pipeline_assets_tests.benchmarks.processes import run_python

BAR_S = 180.0
BAR_GB = 2.5
BYTES_PER_GB = 1e9


def measures(items: int) -> Iterator[Measure]:
    """Wall time and largest memory of `pipeline-assets demo`, once."""
    with TemporaryDirectory() as folder:
        arguments = ["-m", "pipeline_assets.cli", "demo", "--items", str(items)]
        finished = run_python(arguments, Path(folder))
    what = f"demo, {items} items an hour"
    yield Measure(f"{what}: wall time", finished.seconds, "s", "bar", BAR_S)
    yield Measure(f"{what}: peak memory", finished.peak_bytes / BYTES_PER_GB, "GB", "bar", BAR_GB)
