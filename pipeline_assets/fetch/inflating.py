"""Undoing a body's Content-Encoding: a piece at a time, and to its end or not at all.

aiohttp's own takes a gzip body that was cut short for a whole one.
"""

import zlib
from collections.abc import Iterator
from typing import Final

from pipeline_assets.errors import InvalidInput, Network, Unsupported

ACCEPTED: Final = "gzip, deflate"
"""What is asked for."""
PIECE_BYTES: Final = 1 << 18
"""What a chunk may become at once: a bomb's becomes a thousand times as much."""

_PLAIN: Final = frozenset({"", "identity"})
_ZLIB: Final = frozenset({"gzip", "x-gzip", "deflate"})
_GZIP_OR_ZLIB: Final = 32 + zlib.MAX_WBITS
_GZIP_BEGINS: Final = 0x1F
_DEFLATED: Final = 8  # in the low bits of the first byte of a zlib stream; some servers send none


def inflater(encoding: str, what: str) -> "Inflater | None":
    """What undoes an encoding; None where there is nothing to undo. Raises `Unsupported`."""
    named = encoding.strip().lower()
    if named in _PLAIN:
        return None
    if named not in _ZLIB:
        raise Unsupported(f"{what}: the body is encoded as {encoding!r}, not as {ACCEPTED}")
    return Inflater(named, what)


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
