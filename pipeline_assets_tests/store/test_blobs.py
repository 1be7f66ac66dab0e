"""Packs: whole and durable, or not there; what went in comes out, or is known to be damaged."""

import errno
import hashlib
import os
import subprocess
import tarfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline_assets.errors import InvalidInput, StorageError, Unavailable
from pipeline_assets.store.blobs import BlobRef, Blobs
from pipeline_assets.store.storage import Storage


def of_one_day(root: Path | Storage) -> Blobs:
    """Packs of one day."""
    return Blobs(root, now=lambda: datetime(2026, 3, 2, 6, 30, tzinfo=UTC))


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    """Packs on a disk."""
    return of_one_day(tmp_path / "blobs")


@pytest.fixture
def anywhere(storage: Storage) -> Blobs:
    """Packs on a disk and in a bucket."""
    return of_one_day(storage)


def all_files(root: Path) -> list[str]:
    """Every file below `root`, hidden ones too."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.binary(max_size=2000), max_size=8))
def test_what_goes_in_comes_out(
    tmp_path_factory: pytest.TempPathFactory, bodies: list[bytes]
) -> None:
    """Any bytes, in any number; the same bytes are one member; tar agrees with the references."""
    root = tmp_path_factory.mktemp("blobs")
    blobs = Blobs(root)
    with blobs.pack() as pack:
        refs = [pack.add(body) for body in bodies]
    assert [blobs.read(ref) for ref in refs] == bodies
    assert all_files(root) == ([pack.name] if bodies else [])
    if bodies:
        with tarfile.open(root / pack.name) as tar:
            assert {(m.name, m.offset_data, m.size) for m in tar.getmembers()} == {
                (ref.sha256, ref.offset, ref.size) for ref in refs
            }
            assert len(tar.getmembers()) == len(set(bodies))


def test_plain_tar_lists_a_pack(blobs: Blobs, tmp_path: Path) -> None:
    """Without a warning, members named by sha256."""
    with blobs.pack() as pack:
        refs = [pack.add(b"one"), pack.add(b"two" * 1000)]
    listed = subprocess.run(
        ["tar", "tf", str(tmp_path / "blobs" / pack.name)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert listed.stdout.split() == [ref.sha256 for ref in refs]
    assert listed.stderr == ""


def test_a_reference_says_pack_place_size_and_digest(anywhere: Blobs) -> None:
    """The pack's final name is known at once, dated and relative."""
    blobs = anywhere
    with blobs.pack() as pack:
        ref = pack.add(b"hello")
        assert ref == BlobRef(pack.name, 512, 5, hashlib.sha256(b"hello").hexdigest())
        assert ref.pack.startswith("2026/03/02/063000-")
        assert pack.add(b"hello") == ref
        assert pack.add(b"more").offset == 3 * 512


def test_names_are_unique(blobs: Blobs) -> None:
    """Two packs begun at the same instant, in whatever process, differ."""
    assert len({blobs.pack().name for _ in range(100)}) == 100


def test_nothing_is_visible_before_seal(storage: Storage, tmp_path: Path) -> None:
    """And everything after it; the temporary file is gone."""
    blobs = Blobs(storage)
    pack = blobs.pack()
    ref = pack.add(b"data")
    assert not storage.names("", "*/*/*/*.tar")
    with pytest.raises(Unavailable):
        blobs.read(ref)
    pack.seal()
    assert storage.names("", "*/*/*/*.tar") == [pack.name]
    assert blobs.read(ref) == b"data"
    assert not [path for path in tmp_path.rglob("*") if path.suffix == ".tmp"]


def test_a_large_pack_is_whole(storage: Storage) -> None:
    """Also where it goes up in pieces."""
    bodies = [bytes([n]) * 4_000_000 for n in range(3)]
    blobs = Blobs(storage)
    with blobs.pack() as pack:
        refs = [pack.add(body) for body in bodies]
    assert [blobs.read(ref) for ref in refs] == bodies


def test_seal_syncs_the_file_and_every_folder(
    blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file before the rename, then the folders up from it, since all of them may be new."""
    synced: list[str] = []

    def spy(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))

    monkeypatch.setattr(os, "fsync", spy)
    with blobs.pack() as pack:
        pack.add(b"data")
    root = tmp_path / "blobs"
    assert synced[0].endswith(".tmp")
    assert synced[1:] == [
        str(folder)
        for folder in (root / "2026/03/02", root / "2026/03", root / "2026", root, tmp_path)
    ]


@pytest.mark.parametrize("end", ["seal", "discard"])
def test_an_empty_pack_leaves_no_file(blobs: Blobs, tmp_path: Path, end: str) -> None:
    """Whichever way it ends."""
    getattr(blobs.pack(), end)()
    assert list(tmp_path.iterdir()) == []


def test_an_exception_discards(storage: Storage, tmp_path: Path) -> None:
    """A `with` block that fails never publishes."""

    def fail() -> None:
        with Blobs(storage).pack() as pack:
            pack.add(b"data")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert all_files(tmp_path) == []
    assert storage.names("", "*/*/*/*.tar") == []


@pytest.mark.parametrize("end", ["seal", "discard"])
def test_an_ended_pack_takes_nothing_more(anywhere: Blobs, end: str) -> None:
    """Sealed packs are immutable."""
    blobs = anywhere
    pack = blobs.pack()
    ref = pack.add(b"data")
    getattr(pack, end)()
    with pytest.raises(RuntimeError, match="already sealed or discarded"):
        pack.add(b"more")
    with pytest.raises(RuntimeError, match="already sealed or discarded"):
        pack.seal()
    pack.discard()
    if end == "seal":
        assert blobs.read(ref) == b"data"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_refusing_disk_is_a_storage_error_and_leaves_nothing(
    blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """On sealing; the pack is given up."""

    def refuse(_: int) -> None:
        raise OSError(code, os.strerror(code))

    pack = blobs.pack()
    pack.add(b"data")
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError, match=os.strerror(code)):
        pack.seal()
    assert all_files(tmp_path) == []


def test_a_full_disk_while_adding_is_a_storage_error(blobs: Blobs) -> None:
    """The real thing: a device that is always full."""
    pack = blobs.pack()
    pack.add(b"first")
    assert pack._file is not None
    pack._file.close()
    with Path("/dev/full").open("wb", buffering=0) as full:
        pack._file = full
        with pytest.raises(StorageError, match="No space left"):
            pack.add(b"second")
    with pytest.raises(RuntimeError):
        pack.seal()


def test_a_file_in_the_way_of_the_folder_is_a_storage_error(tmp_path: Path) -> None:
    """The message names the path."""
    (tmp_path / "blobs").write_text("not a folder")
    with pytest.raises(StorageError, match="blobs"):
        Blobs(tmp_path / "blobs").pack().add(b"data")


def test_a_missing_pack_is_unavailable_by_name(anywhere: Blobs) -> None:
    """The storage may come back; then there is something to read."""
    with pytest.raises(Unavailable, match=r"2026/gone\.tar is missing"):
        anywhere.read(BlobRef("2026/gone.tar", 512, 1, "0" * 64))


def test_a_flipped_bit_and_a_cut_pack_are_damage_by_name(storage: Storage) -> None:
    """Trying again cannot help: only fetching again can."""
    blobs = Blobs(storage)
    with blobs.pack() as pack:
        ref = pack.add(b"data" * 100)
    whole = storage.whole(pack.name).to_pybytes()
    for bad in (whole[:600] + b"!" + whole[601:], whole[:700], b""):
        storage.put(pack.name, bad)
        with pytest.raises(InvalidInput, match=pack.name):
            blobs.read(ref)
    with pytest.raises(InvalidInput, match="not a place"):
        blobs.read(replace(ref, offset=-1))


@pytest.mark.parametrize("name", ["/etc/passwd", "../secret", "a/../../b", "a\0b"])
def test_a_reference_cannot_leave_the_folder(anywhere: Blobs, name: str) -> None:
    """References come from tables, and tables from disks."""
    with pytest.raises(InvalidInput, match="below the folder of packs"):
        anywhere.read(BlobRef(name, 0, 1, ""))
