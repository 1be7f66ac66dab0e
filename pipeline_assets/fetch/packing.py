"""Bodies on their way into a pack: the same bytes are stored once, in whatever pack they are."""

from collections.abc import Mapping
from typing import Final

from pipeline_assets.state.copies import Copies
from pipeline_assets.store.blobs import BlobRef, Blobs, PackWriter
from pipeline_assets.store.bodies import Body, Spooled, sha256_of

ASK_AT_BYTES: Final = 8_000_000
"""So many bytes wait in memory until it is asked which are known: 160 pictures a query."""


class Packing:
    """Puts bodies into one pack, but for those that another pack has, and says where each is."""

    def __init__(self, pack: PackWriter, copies: Copies, blobs: Blobs) -> None:
        self._pack, self._copies, self._blobs = pack, copies, blobs
        self._places: dict[str, BlobRef] = {}
        self._waiting: dict[str, Body] = {}
        self._waiting_bytes = 0

    def add(self, body: Body) -> str:
        """Take a body; its sha256 is what its place is found by. A spooled one is not kept."""
        digest = sha256_of(body)
        if digest in self._places or digest in self._waiting:
            return digest
        self._waiting[digest] = body
        self._waiting_bytes += len(body)
        if isinstance(body, Spooled) or self._waiting_bytes >= ASK_AT_BYTES:
            self._settle()
        return digest

    def places(self) -> Mapping[str, BlobRef]:
        """Where the bodies are, by sha256; to be read once the pack is sealed."""
        self._settle()
        return self._places

    def _settle(self) -> None:
        known = self._copies.holding(self._waiting) if self._waiting else {}
        for digest, body in self._waiting.items():
            place = known.get(digest)
            # An index may be older than the packs: only the bytes prove themselves.
            if place is None or not self._blobs.holds(place):
                place = self._pack.add(body, digest)
            self._places[digest] = place
        self._waiting, self._waiting_bytes = {}, 0
