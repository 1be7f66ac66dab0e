"""A process that builds and stops at a named point, to be killed there.

Usage: python -m pipeline_assets_tests.search.killed_writer ROOT replace_hour|rebuild POINT
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline_assets.search import SearchIndex, generations, replace, vector_files
from pipeline_assets_tests.search.samples import HOUR, pictured, table

NEW_ROWS = [pictured(f"new-{n}", "blue", name="new mug") for n in range(50)]
REBUILD_POINTS: dict[str, tuple[Any, str]] = {
    "before the entries": (replace, "replace_entries"),
    "before the vectors": (vector_files, "renew"),
    "before the swap": (generations, "publish"),
    "after the swap": (generations, "write_durably"),
}
POINTS: dict[str, tuple[Any, str]] = {
    "creating": (generations, "publish"),
    "before the vectors": (vector_files, "renew"),
    "before the commit": (vector_files, "names"),
    "after the commit": (vector_files, "remove_unnamed"),
}


def stop(*_: object, **__: object) -> None:
    """Say that the point is reached, and wait for the end."""
    sys.stdout.write("reached\n")
    sys.stdout.flush()
    sys.stdin.read()


def stop_after(function: Callable[..., None]) -> Callable[..., None]:
    """Do it, and then stop."""

    def both(*values: object) -> None:
        function(*values)
        stop()

    return both


def main(root: str, what: str, point: str) -> None:
    """Replace the hour with new rows, or make the index anew of them, up to `point`."""
    owner, name = (POINTS if what == "replace_hour" else REBUILD_POINTS)[point]
    after = point == "after the swap"
    setattr(owner, name, stop_after(getattr(owner, name)) if after else stop)
    index = SearchIndex(Path(root))
    if what == "replace_hour":
        index.replace_hour(HOUR, table(*NEW_ROWS))
    else:
        index.rebuild([(HOUR, table(*NEW_ROWS))])


if __name__ == "__main__":
    main(*sys.argv[1:])
