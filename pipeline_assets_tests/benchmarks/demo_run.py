"""The demo as a user runs it: how long it takes, and how much memory."""

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline_assets_tests.benchmarks.measure import Measure
from pipeline_assets_tests.benchmarks.processes import run_python

BAR_S = 180.0
BAR_GB = 2.5
BYTES_PER_GB = 1e9
COMMAND_LINE = "from pipeline_assets.cli import main; main()"


def measures(items: int) -> Iterator[Measure]:
    """Wall time and largest memory of `pipeline-assets demo`, once."""
    with TemporaryDirectory() as folder:
        arguments = ["-c", COMMAND_LINE, "demo", "--items", str(items), "--format", "json"]
        finished = run_python(arguments, Path(folder))
    acts = json.loads(finished.output)["acts"]
    if not acts or any(act["items"] != items for act in acts):
        raise RuntimeError(f"the demo processed other items than {items} an hour: {acts}")
    what = f"demo, {items} items an hour"
    yield Measure(f"{what}: wall time", finished.seconds, "s", "bar", BAR_S)
    yield Measure(f"{what}: peak memory", finished.peak_bytes / BYTES_PER_GB, "GB", "bar", BAR_GB)
