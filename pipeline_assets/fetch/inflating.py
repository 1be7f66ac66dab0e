"""Undoing a body's Content-Encoding: a piece at a time, and to its end or not at all.

aiohttp's own takes a gzip body that was cut short for a whole one.
"""

import zlib
from collections.abc import Iterator, Sequence
from typing import Final

from pipeline_assets.errors import InvalidInput, Network, Unsupported

ACCEPTED: Final = "gzip, deflate"
"""What is asked for."""
PIECE_BYTES: Final = 1 << 18
"""What a chunk may become at once: a bomb's becomes a thousand times as much."""

MOST_ENCODINGS: Final = 4
"""Nobody means more."""

_OTHERS: Final = frozenset({"br", "compress", "x-compress", "zstd", "dcb", "dcz", "exi"})
_ZLIB: Final = frozenset({"gzip", "x-gzip", "deflate"})
_GZIP_OR_ZLIB: Final = 32 + zlib.MAX_WBITS
_GZIP_BEGINS: Final = 0x1F
_DEFLATED: Final = 8  # in the low bits of the first byte of a zlib stream; some servers send none


def inflaters(encoding: str, what: str) -> list["Inflater"]:
    """What undoes a Content-Encoding, in the order in which to do it. Raises `Unsupported`.

    It is a list of what was done, first to last. What is no encoding at all (servers write a
    charset there, or `none`) means nothing.
    """
    named = [name.strip().lower() for name in encoding.split(",")]
    ours = [name for name in named if name in _ZLIB]
    if not _OTHERS.isdisjoint(named) or len(ours) > MOST_ENCODINGS:
        raise Unsupported(f"{what}: the body is encoded as {encoding!r}, not as {ACCEPTED}")
    return [Inflater(name, what) for name in reversed(ours)]


def undone(chunk: bytes, inflating: Sequence["Inflater"]) -> Iterator[bytes]:
    """What a chunk becomes when each has undone its own. Raises `InvalidInput`."""
    if not inflating:
        yield chunk
        return
    for piece in inflating[0].pieces(chunk):
        yield from undone(piece, inflating[1:])


class Inflater:
    """One body, whose chunks are given in order, and then its end."""

    def __init__(self, encoding: str, what: str) -> None:
        self._encoding, self._what = encoding, what
        self._stream: zlib._Decompress | None = None

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        """What a chunk becomes. Raises `InvalidInput` where it is not so encoded."""
        try:
            yield from self._pieces(chunk)
        except zlib.error:
            raise InvalidInput(
                f"{self._what}: the body is not in the encoding that its header names"
            ) from None

    def end(self) -> None:
        """There is no more. Raises `Network` where there should be."""
        if self._stream is not None and not self._stream.eof:
            raise Network(f"{self._what}: the body ends before its {self._encoding} stream does")

    def _pieces(self, chunk: bytes) -> Iterator[bytes]:
        while chunk:
            if self._stream is None:
                self._stream = zlib.decompressobj(self._window(chunk))
            elif self._stream.eof:
                if chunk[0] != _GZIP_BEGINS:
                    return  # padding, which everybody ignores
                self._stream = zlib.decompressobj(_GZIP_OR_ZLIB)
            piece = self._stream.decompress(chunk, PIECE_BYTES)
            if piece:
                yield piece
            chunk = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail

    def _window(self, chunk: bytes) -> int:
        raw = self._encoding == "deflate" and chunk[0] & 0xF != _DEFLATED
        return -zlib.MAX_WBITS if raw else _GZIP_OR_ZLIB
