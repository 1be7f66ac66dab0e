"""Bodies as they come."""

import hashlib

import pytest

from pipeline_assets.errors import StorageError
from pipeline_assets.store.bodies import (
    IN_MEMORY_BYTES,
    Collected,
    Spooled,
    chunks_of,
    sha256_of,
)


@pytest.mark.parametrize("chunks", [[b"abc"], [b"a", b"b"], [b"x" * IN_MEMORY_BYTES]])
def test_a_small_body_stays_in_memory(chunks: list[bytes]) -> None:
    """Up to the limit."""
    collected = Collected()
    for chunk in chunks:
        collected.add(chunk)
    body = collected.taken()
    assert body == b"".join(chunks)
    assert sha256_of(body) == hashlib.sha256(b"".join(chunks)).hexdigest()
    assert list(chunks_of(body)) == [body]


def test_a_large_one_goes_to_a_file_as_it_comes() -> None:
    """Nothing of it is held twice; it can be read more than once, and is gone when closed."""
    collected = Collected()
    for _ in range(30):
        collected.add(b"y" * 100_000)
        assert sum(map(len, collected._chunks)) <= IN_MEMORY_BYTES
    body = collected.taken()
    collected.drop()
    assert isinstance(body, Spooled)
    assert len(body) == 3_000_000
    assert sha256_of(body) == hashlib.sha256(b"y" * 3_000_000).hexdigest()
    for _ in range(2):
        assert b"".join(chunks_of(body)) == b"y" * 3_000_000
    body.close()
    assert body.file.closed


def test_a_body_that_nobody_takes_is_dropped() -> None:
    """With its file."""
    collected = Collected()
    collected.add(bytes(IN_MEMORY_BYTES + 1))
    spooled = collected._file
    assert spooled is not None
    collected.drop()
    assert spooled.file.closed


def test_a_full_disk_is_no_fault_of_the_bodys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run ends, and says which disk."""

    def full(**_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.raises(StorageError, match="No space left"):
        Collected().add(bytes(IN_MEMORY_BYTES + 1))
