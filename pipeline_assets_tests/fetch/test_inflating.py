"""Bodies that are encoded, cut anywhere; bombs; and what is not what it says."""

import gzip
import zlib
from collections.abc import Iterable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.errors import InvalidInput, Network, RowError, Unsupported
from pipeline_assets.fetch.inflating import PIECE_BYTES, Inflater, inflaters, undone

WHAT = "http://shop.example/a"
BODY = b"a body " * 1000


def raw_deflate(data: bytes) -> bytes:
    """As some servers send it: without zlib's head."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def inflated(encoding: str, chunks: Iterable[bytes]) -> bytes:
    """All of a body."""
    inflating = inflaters(encoding, WHAT)
    body = b"".join(piece for chunk in chunks for piece in undone(chunk, inflating))
    for each in inflating:
        each.end()
    return body


def cut(data: bytes, size: int) -> list[bytes]:
    """Chunks of one size."""
    return [data[start : start + size] for start in range(0, len(data), size)]


ENCODED = {
    "gzip": gzip.compress(BODY),
    "x-gzip": gzip.compress(BODY),
    " GZIP ": gzip.compress(BODY),
    "deflate": zlib.compress(BODY),
}


@pytest.mark.parametrize("size", [1, 7, 1000, 100_000])
@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        *ENCODED.items(),
        ("deflate", raw_deflate(BODY)),
        ("gzip", gzip.compress(BODY[:100]) + gzip.compress(BODY[100:])),
        ("gzip", gzip.compress(BODY) + bytes(512)),
    ],
    ids=[*ENCODED, "raw deflate", "two members", "padding"],
)
def test_a_body_is_what_it_was(encoding: str, data: bytes, size: int) -> None:
    """Wherever it is cut; of several members, and with padding behind them."""
    assert inflated(encoding, cut(data, size)) == BODY


@pytest.mark.parametrize("encoding", ["", "identity", " Identity", "UTF-8", "none", "made up", ","])
def test_nothing_to_undo(encoding: str) -> None:
    """Most pictures, and what servers write there that is no encoding."""
    assert inflated(encoding, [BODY]) == BODY


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("gzip, gzip", gzip.compress(gzip.compress(BODY))),
        ("deflate,gzip", gzip.compress(zlib.compress(BODY))),
        ("gzip, deflate", zlib.compress(gzip.compress(BODY))),
        ("identity, gzip", gzip.compress(BODY)),
        ("gzip, UTF-8", gzip.compress(BODY)),
        ("identity, none, UTF-8, binary, gzip", gzip.compress(BODY)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("size", [1, 100, 100_000])
def test_a_list_is_undone_from_its_end(encoding: str, data: bytes, size: int) -> None:
    """It says what was done, in order; what is no encoding is nothing to undo."""
    assert inflated(encoding, cut(data, size)) == BODY


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip,br", "gzip" + ",gzip" * 9])
def test_an_encoding_that_was_not_asked_for_is_unsupported(encoding: str) -> None:
    """And named."""
    with pytest.raises(Unsupported, match=encoding):
        inflaters(encoding, WHAT)


@pytest.mark.parametrize("encoding", ENCODED)
@pytest.mark.parametrize("missing", [1, 4, 8, 20])
def test_a_body_that_ends_early_is_no_body(encoding: str, missing: int) -> None:
    """However little of it is missing: the connection may have been better than the server."""
    with pytest.raises(Network, match="ends before its"):
        inflated(encoding, [ENCODED[encoding][:-missing]])


@pytest.mark.parametrize(("encoding", "sum_bytes"), [("gzip", 8), ("deflate", 4)])
def test_other_bytes_are_bad_data(encoding: str, sum_bytes: int) -> None:
    """Plain text, and a sum that is wrong."""
    damaged = ENCODED[encoding][:-sum_bytes] + bytes(sum_bytes)
    for data in (b"<html>plain</html>" * 9, damaged):
        with pytest.raises(InvalidInput, match="not in the encoding"):
            inflated(encoding, [data])


def test_a_bomb_comes_in_pieces() -> None:
    """So that whoever counts them can stop."""
    pieces = Inflater("gzip", WHAT).pieces(gzip.compress(bytes(50_000_000), 9))
    assert max(len(next(pieces)) for _ in range(20)) <= PIECE_BYTES


@given(st.sampled_from(["gzip", "deflate"]), st.binary(max_size=300), st.integers(1, 50))
def test_any_bytes_are_a_body_or_an_error(encoding: str, data: bytes, size: int) -> None:
    """Never another error."""
    with suppress(RowError):
        inflated(encoding, cut(data, size))
