"""Other processes of this host."""

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
OF_THE_HOST = str(0xEFFFFFFC)
"""The namespace of process ids that Linux begins with; every container has another."""
CONTROL_GROUPS, MEMBERSHIP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
WORKER_BYTES = 1_000_000_000
"""What a worker process needs with the models that are shipped."""


def this_process() -> str:
    """Who this process is among all that share a data root: the place of its id, and the id."""
    return f"{_this_place()}:{os.getpid()}"


def shown(owner: str) -> str:
    """A process as people tell it: its host and its id there."""
    place, _, process = owner.rpartition(":")
    return f"{place.partition('/')[0]}:{process}"


def has_ended(owner: str) -> bool:
    """Whether the process that `this_process` named has certainly ended.

    Its id means something only here: under the same kernel since the same start of it, and in the
    same namespace of process ids. Containers may share a host's name, and hosts a container's.
    """
    place, _, process = owner.rpartition(":")
    if not process.isdecimal():
        return False
    if place == _this_place():
        return is_gone(int(process))
    return _has_restarted_since(place)


def _has_restarted_since(place: str) -> bool:
    """Whether it is this very host before it was started anew: no container, of the same name."""
    host, _, rest = place.partition("/")
    boot, _, namespace = rest.partition("/")
    here, _, rest_here = _this_place().partition("/")
    boot_here, _, namespace_here = rest_here.partition("/")
    return (
        host == here
        and namespace == namespace_here == OF_THE_HOST
        and bool(boot)
        and boot != boot_here
    )


def _this_place() -> str:
    return f"{socket.gethostname()}/{_read(BOOT_ID)}/{_namespace()}"


def _namespace() -> str:
    try:
        return str(os.stat("/proc/self/ns/pid").st_ino)  # noqa: PTH116 - as plain as it gets
    except OSError:  # no Linux: there are none
        return ""


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


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


def default_workers() -> int:
    """How many worker processes there are where nobody says it: one a core, if memory allows."""
    return max(1, min(available_cores(), available_memory_bytes() // WORKER_BYTES))


def available_cores() -> int:
    """How many cores this process may use, by its affinity and the quotas of its control groups."""
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
    else:
        allowed = os.cpu_count() or 1
    return max(1, min([allowed, *(int(cores) for cores in _quotas())]))


def available_memory_bytes() -> int:
    """How much memory the processes of this machine, or of our control groups, may use together."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = (*_words("memory", "memory.max"), *_words("memory", "memory.limit_in_bytes"))
    return min([physical, *(int(word) for [word] in limits if word.isdigit())])


def _quotas() -> Iterator[float]:
    """The cores that each control group may keep busy, of those that have a quota."""
    for quota, period in _words("cpu", "cpu.max"):
        if quota.isdigit():
            yield int(quota) / int(period)
    microseconds = [_words("cpu", f"cpu.cfs_{name}_us") for name in ("quota", "period")]
    for [quota], [period] in zip(*microseconds, strict=False):
        if quota.isdigit():
            yield int(quota) / int(period)


def _words(controller: str, file: str) -> Iterator[list[str]]:
    """What a file of the control groups says, for this process's group and those above it.

    Version 2 has one tree, which belongs to no controller; version 1 has one for each.
    """
    try:
        lines = MEMBERSHIP.read_text().splitlines()
    except OSError:  # no Linux
        return
    for line in lines:
        _number, controllers, group = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        # From inside a container the group's own path may not be there: its root then is the group.
        for each in (PurePosixPath(group), *PurePosixPath(group).parents):
            with suppress(OSError):
                yield (
                    (CONTROL_GROUPS / controllers / str(each).lstrip("/") / file)
                    .read_text()
                    .split()
                )
