"""Files that killed processes were writing: they hold what they were to hold, and nobody's."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

from pipeline_assets.feed.landing import LANDING
from pipeline_assets.store.files import TEMP_SUFFIX, remove_if_abandoned
from pipeline_assets.store.queries import SPILLED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pipeline_assets.resources import Resources

FOLDERS = (f"{SPILLED}*", f"{LANDING}*", "rejects-*", "references-*")
"""What a query keeps in `work` for as long as it runs; the last two are of an earlier version."""

LONGEST_QUERY = timedelta(hours=1)


def remove_leftovers(resources: Resources) -> int:
    """Remove what is left of writers that are gone; how many files and folders."""
    folders = list(_folders(resources.work))
    for folder in folders:
        with suppress(OSError):  # whoever was faster
            shutil.rmtree(folder)
    return len(folders) + sum(map(remove_if_abandoned, resources.data.rglob(f".*{TEMP_SUFFIX}")))


def _folders(work: Path) -> Iterator[Path]:
    for pattern in FOLDERS:
        for path in work.glob(pattern):
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > LONGEST_QUERY.total_seconds():
                    yield path
