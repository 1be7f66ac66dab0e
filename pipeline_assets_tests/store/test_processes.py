"""Who a process is, and what it may use of its machine."""

import os
import socket
from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline_assets.store import processes
from pipeline_assets.store.processes import OF_THE_HOST

CORES, GB = 64, 1_000_000_000
PLENTY = 512 * GB


@pytest.fixture(autouse=True)
def _large_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """64 cores and 512 GB, and no control groups but those that a test writes."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _process: set(range(CORES)), raising=False)
    monkeypatch.setattr("os.sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": PLENTY // 4096}.get)
    monkeypatch.setattr(processes, "CONTROL_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(processes, "MEMBERSHIP", tmp_path / "cgroup")


HOST, BOOT = "box", "c0ffee"
CONTAINER, OTHER_CONTAINER = "4026532001", "4026532002"
LIVING, DEAD = 1, 2**22 + 1


@pytest.mark.parametrize(
    ("owner", "namespace", "ended"),
    [
        (f"{HOST}/{BOOT}/{CONTAINER}:{DEAD}", CONTAINER, True),
        (f"{HOST}/{BOOT}/{CONTAINER}:{LIVING}", CONTAINER, False),
        (f"{HOST}/{BOOT}/{OTHER_CONTAINER}:{DEAD}", CONTAINER, False),
        (f"{HOST}/another/{CONTAINER}:{DEAD}", CONTAINER, False),
        (f"elsewhere/{BOOT}/{CONTAINER}:{DEAD}", CONTAINER, False),
        (f"{HOST}/another/{OF_THE_HOST}:{LIVING}", OF_THE_HOST, True),
        (f"{HOST}/another/{OF_THE_HOST}:{LIVING}", CONTAINER, False),
        (f"elsewhere/another/{OF_THE_HOST}:{LIVING}", OF_THE_HOST, False),
        (f"{HOST}:{DEAD}", OF_THE_HOST, False),
        ("", OF_THE_HOST, False),
    ],
)
def test_a_process_has_ended_only_where_that_is_certain(
    owner: str, namespace: str, ended: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its id is that of another one in another container, or after a start of the machine."""
    boot = tmp_path / "boot"
    boot.write_text(BOOT + "\n")
    monkeypatch.setattr("socket.gethostname", lambda: HOST)
    monkeypatch.setattr(processes, "BOOT_ID", boot)
    monkeypatch.setattr(processes, "_namespace", lambda: namespace)
    assert processes.has_ended(owner) is ended


def test_a_process_knows_itself() -> None:
    """And is told to people by host and id."""
    assert not processes.has_ended(processes.this_process())
    assert processes.shown(processes.this_process()) == f"{socket.gethostname()}:{os.getpid()}"


def write(folder: Path, membership: str, files: Mapping[str, str]) -> None:
    """Which groups the process is in, and what their files say."""
    (folder / "cgroup").write_text(membership)
    for name, text in files.items():
        path = folder / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


V1 = "4:memory:/a/b\n3:cpuset:/\n2:cpu,cpuacct:/a/b\n"


@pytest.mark.parametrize(
    ("membership", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "max 100000"}, CORES),
        ("0::/\n", {"cpu.max": "200000 100000"}, 2),
        ("0::/\n", {"cpu.max": "250000 100000"}, 2),
        ("0::/\n", {"cpu.max": "50000 100000"}, 1),
        ("0::/a/b\n", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "max 100000"}, 3),
        ("0::/not/seen/from/here\n", {"cpu.max": "400000 100000"}, 4),
        (V1, {"cpu,cpuacct/a/b/cpu.cfs_quota_us": "-1"}, CORES),
        (
            V1,
            {
                "cpu,cpuacct/a/b/cpu.cfs_quota_us": "150000",
                "cpu,cpuacct/a/b/cpu.cfs_period_us": "50000",
            },
            3,
        ),
        ("0::/\n", {}, CORES),
    ],
)
def test_a_quota_counts(
    membership: str, files: Mapping[str, str], cores: int, tmp_path: Path
) -> None:
    """That of the group, or of one above it; less than a core is one."""
    write(tmp_path, membership, files)
    assert processes.available_cores() == processes.default_workers() == cores


@pytest.mark.parametrize(
    ("membership", "files", "workers"),
    [
        ("0::/\n", {"memory.max": str(4 * GB)}, 4),
        ("0::/a\n", {"memory.max": "max", "a/memory.max": str(3 * GB)}, 3),
        ("0::/\n", {"memory.max": str(GB // 2)}, 1),
        (V1, {"memory/a/b/memory.limit_in_bytes": str(5 * GB)}, 5),
        (V1, {"memory/memory.limit_in_bytes": str(2**63 - 4096)}, CORES),
    ],
)
def test_there_are_no_more_workers_than_fit_into_memory(
    membership: str, files: Mapping[str, str], workers: int, tmp_path: Path
) -> None:
    """One at the least."""
    write(tmp_path, membership, files)
    assert processes.default_workers() == workers


def test_a_system_without_control_groups_and_affinity_counts_its_cores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As macOS is."""
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert processes.available_cores() == 8
