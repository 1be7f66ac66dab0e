"""Generations: whole indexes, one of which is current.

A generation is a folder with a database and its vector files. The hours of a generation change in
transactions of its database; a new generation is built aside and takes the place of the old one by
one rename of the file `current`, which names it. Nothing is ever built in a folder that readers
look into.
"""

import shutil
import uuid
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from pipeline_assets.store.files import locked, write_durably

POINTER = "current"
LOCK = "write.lock"
PREFIX, GONE = "generation-", "gone-"


def only_writer(root: Path) -> AbstractContextManager[None]:
    """Wait until no other thread or process writes here, and keep them waiting."""
    # SQLite's own lock gives up after a timeout and does not cover the files beside the database.
    return locked(root / LOCK)


def current(root: Path) -> Path | None:
    """The folder of the current generation; None where nothing was ever indexed."""
    try:
        return root / (root / POINTER).read_text("utf-8")
    except FileNotFoundError:
        return None


def new(root: Path) -> Path:
    """An empty folder for a generation that nobody sees before it is published."""
    folder = root / f"{PREFIX}{uuid.uuid4().hex}"
    folder.mkdir()
    return folder


def publish(root: Path, folder: Path) -> None:
    """Make the generation in `folder`, which is whole and durable, the current one."""
    write_durably(root / POINTER, folder.name.encode())


def remove_others(root: Path) -> None:
    """Remove every generation but the current one. To be called by the only writer.

    Readers that have one open keep it open. A folder is renamed before it is emptied, so that a
    reader that comes too late finds nothing there, and never a part of it.
    """
    kept = current(root)
    for folder in root.glob(f"{PREFIX}*"):
        if folder != kept:
            folder.rename(root / f"{GONE}{folder.name}")
    for folder in root.glob(f"{GONE}*"):
        with suppress(OSError):  # rubbish that stays is no reason not to write
            shutil.rmtree(folder)
