"""A process that replaces an hour and stops at a named point, to be killed there.

Usage: python -m pipeline_assets_tests.search.killed_writer ROOT POINT
"""

import sys
from pathlib import Path
from typing import Any

from pipeline_assets.search import SearchIndex, store, vector, vector_files
from pipeline_assets_tests.search.samples import HOUR, pictured, table

NEW_ROWS = [pictured(f"new-{n}", "blue", name="new mug") for n in range(50)]
POINTS: dict[str, tuple[Any, str]] = {
    "creating": (store, "_connect"),
    "before the vectors": (vector, "build"),
    "before the commit": (vector_files, "names"),
    "after the commit": (vector_files, "remove_unnamed"),
}


def stop(*_: object, **__: object) -> None:
    """Say that the point is reached, and wait for the end."""
    sys.stdout.write("reached\n")
    sys.stdout.flush()
    sys.stdin.read()


def main(root: str, point: str) -> None:
    """Replace the hour with new rows, up to `point`."""
    owner, name = POINTS[point]
    setattr(owner, name, stop)
    SearchIndex(Path(root)).replace_hour(HOUR, table(*NEW_ROWS))


if __name__ == "__main__":
    main(*sys.argv[1:])
