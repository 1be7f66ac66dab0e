"""Durable writes on the local disk."""

import errno
import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline_assets.errors import StorageError
from pipeline_assets.store import files
from pipeline_assets.store.files import (
    Temporary,
    hash_file,
    remove_if_abandoned,
    storage_errors,
    write_durably,
)


def test_a_file_is_written_whole_with_its_folders(tmp_path: Path) -> None:
    """Nothing else is left beside it."""
    path = tmp_path / "a" / "b" / "file"
    write_durably(path, b"one")
    write_durably(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


def test_the_hash_is_the_sha256(tmp_path: Path) -> None:
    """As every other tool computes it."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 1_000_000)
    assert hash_file(path) == hashlib.sha256(b"x" * 1_000_000).hexdigest()


@pytest.mark.parametrize("step", ["sync_file", "sync_folder"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_refuses_is_a_storage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, number: int
) -> None:
    """Before the rename the old file stays; no temp file is left in any case."""
    path = tmp_path / "file"
    write_durably(path, b"old")

    def refuse(_path: Path) -> None:
        raise OSError(number, "refused")

    monkeypatch.setattr(files, step, refuse)
    with pytest.raises(StorageError, match="run again"):
        write_durably(path, b"new")
    assert path.read_bytes() == (b"old" if step == "sync_file" else b"new")
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_in_the_place_of_a_file_is_said_so(tmp_path: Path) -> None:
    """The message names the path."""
    (tmp_path / "name").mkdir()
    with pytest.raises(StorageError, match="name"):
        write_durably(tmp_path / "name", b"")


def test_only_the_disks_refusals_are_translated(tmp_path: Path) -> None:
    """A bug stays a bug."""
    with pytest.raises(ValueError, match="bug"), storage_errors(tmp_path):
        raise ValueError("bug")


def test_a_temporary_file_is_hidden_and_beside_its_own(tmp_path: Path) -> None:
    """A rename never leaves the file system, and no glob for the final name finds it."""
    temp = Temporary(tmp_path / "part.parquet").path
    assert temp.parent == tmp_path
    assert temp.name.startswith(".part.parquet.")
    assert temp.suffix == files.TEMP_SUFFIX


WRITING = """
import sys
from pathlib import Path
from pipeline_assets.store.files import Temporary

temp = Temporary(Path(sys.argv[1]))
file = temp.open()
file.write(b"half")
file.close()  # as a table is before it is verified and renamed
print(temp.path, flush=True)
sys.stdin.read()
"""


def test_what_somebody_writes_is_abandoned_when_that_process_has_ended(tmp_path: Path) -> None:
    """Whatever its id is there; and not before."""
    command = [sys.executable, "-c", WRITING, str(tmp_path / "file")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        temp = Path(writer.stdout.readline().strip())
        assert not remove_if_abandoned(temp)
        assert temp.exists()
        writer.kill()
    assert remove_if_abandoned(temp)
    assert not temp.exists()
    assert not remove_if_abandoned(temp)
