"""Other processes of this host."""

import os
from pathlib import Path


def is_gone(process: int) -> bool:
    """Whether a process has ended, even if its parent has not waited for it yet."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):  # somebody else's, or no process id at all
        return False
    return _is_zombie(process)


def _is_zombie(process: int) -> bool:
    try:
        stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:  # gone meanwhile, or a system without /proc
        return False
    return stat.rpartition(")")[2].split()[0] == "Z"


def available_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))
