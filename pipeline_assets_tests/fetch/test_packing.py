"""The same bytes are stored once."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipeline_assets.fetch.packing import ASK_AT_BYTES, Packing
from pipeline_assets.state.copies import Copies
from pipeline_assets.state.database import State
from pipeline_assets.store.blobs import BlobRef, Blobs, UrlCopy
from pipeline_assets.store.bodies import IN_MEMORY_BYTES, Body, Collected
from pipeline_assets_tests.conftest import HOUR_START


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    """An empty state database."""
    opened = State(f"sqlite:///{tmp_path / 'state.db'}")
    yield opened
    opened.close()


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    """No packs yet."""
    return Blobs(tmp_path / "blobs")


def packed(state: State, blobs: Blobs, *bodies: Body) -> list[BlobRef]:
    """Where bodies that were packed together are; noted for those that come later."""
    copies = Copies(state)
    with blobs.pack() as pack:
        packing = Packing(pack, copies, blobs)
        digests = [packing.add(body) for body in bodies]
        places = packing.places()
    found = [places[digest] for digest in digests]
    copies.keep({ref.sha256: UrlCopy(ref, None, HOUR_START) for ref in found})
    return found


def spooled(size: int) -> Body:
    """A body that is too large for memory."""
    collected = Collected()
    for _ in range(size // 1000):
        collected.add(b"x" * 1000)
    return collected.taken()


def files(blobs_of: Path) -> list[Path]:
    """All packs."""
    return [path for path in (blobs_of / "blobs").rglob("*.tar") if path.is_file()]


def test_each_body_has_its_place(state: State, blobs: Blobs) -> None:
    """Small and spooled, given twice or once."""
    large = spooled(IN_MEMORY_BYTES + 1_000_000)
    found = packed(state, blobs, b"a", large, b"a", b"b")
    assert found[0] == found[2]
    assert [blobs.read(ref)[:1] for ref in found] == [b"a", b"x", b"a", b"b"]
    assert found[1].size == len(large)


def test_bytes_that_another_pack_has_are_not_stored_again(
    tmp_path: Path, state: State, blobs: Blobs
) -> None:
    """A pack of nothing new leaves no file."""
    before = packed(state, blobs, b"a", b"b", spooled(2_000_000))
    assert packed(state, blobs, spooled(2_000_000), b"b", b"a") == before[::-1]
    assert len(files(tmp_path)) == 1
    again, new = packed(state, blobs, b"a", b"c")
    assert (again, blobs.read(new)) == (before[0], b"c")


@pytest.mark.parametrize("harm", ["removed", "damaged"])
def test_bytes_whose_pack_is_lost_are_stored_again(
    tmp_path: Path, state: State, blobs: Blobs, harm: str
) -> None:
    """The index is a hint: only the bytes prove themselves."""
    (before,) = packed(state, blobs, b"a")
    (pack,) = files(tmp_path)
    if harm == "removed":
        pack.unlink()
    else:
        pack.chmod(0o644)
        pack.write_bytes(bytes(pack.stat().st_size))
    (after,) = packed(state, blobs, b"a")
    assert after != before
    assert blobs.read(after) == b"a"


def test_the_index_is_asked_for_many_bodies_at_once(state: State, blobs: Blobs) -> None:
    """One query for 4 MB, whatever they are."""
    asked: list[str] = []

    def note(_c: object, _k: object, statement: str, *_: object) -> None:
        if statement.startswith("SELECT"):
            asked.append(statement)

    sa.event.listen(state.engine, "before_cursor_execute", note)
    packed(state, blobs, *[bytes([n]) * 50_000 for n in range(200)])
    assert len(asked) == 1 + 200 * 50_000 // ASK_AT_BYTES
