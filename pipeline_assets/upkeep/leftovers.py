"""Files that killed processes were writing: they hold what they were to hold, and nobody's."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

from pipeline_assets.feed.landing import LANDING
from pipeline_assets.store.files import TEMP_SUFFIX
from pipeline_assets.store.processes import is_gone
from pipeline_assets.store.queries import SPILLED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pipeline_assets.resources import Resources

FOLDERS = (f"{SPILLED}*", f"{LANDING}*", "rejects-*", "references-*")
"""What a query keeps in `work` for as long as it runs; the last two are of an earlier version."""

LONGEST_QUERY = timedelta(hours=1)


def remove_leftovers(resources: Resources) -> int:
    """Remove what is left of writers of this host that are gone; how many files and folders."""
    gone = [*_files(resources.data), *_folders(resources.work)]
    for path in gone:
        with suppress(OSError):  # whoever was faster
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return len(gone)


def _files(data: Path) -> Iterator[Path]:
    for path in data.rglob(f".*{TEMP_SUFFIX}"):
        process = path.name.removesuffix(TEMP_SUFFIX).rpartition(".")[2]
        if process.isascii() and process.isdecimal() and is_gone(int(process)):
            yield path


def _folders(work: Path) -> Iterator[Path]:
    for pattern in FOLDERS:
        for path in work.glob(pattern):
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > LONGEST_QUERY.total_seconds():
                    yield path
