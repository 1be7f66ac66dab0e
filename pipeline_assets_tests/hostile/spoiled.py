"""Sound files, spoilt: cut at many points, with bits turned over, by a seed."""

from collections.abc import Iterator, Mapping
from random import Random
from typing import Final

from pipeline_assets_tests.lengths import IS_LONG

MANY: Final = 8 if IS_LONG else 1
"""Times as much of everything in the long tests."""
CUTS: Final = 6 * MANY
FLIPS: Final = 6 * MANY
MOST_FLIPPED: Final = 12


def spoiled(sound: Mapping[str, bytes], seed: int) -> Iterator[tuple[str, bytes]]:
    """Each file as it is, cut off at points spread over it, and with some of its bits flipped."""
    for name, data in sound.items():
        draw = Random(f"{seed}/{name}")
        yield name, data
        for number in range(CUTS):
            kept = int(len(data) * (number + draw.random()) / CUTS)
            yield f"{name} cut at {kept}", data[:kept]
        for number in range(FLIPS):
            yield f"{name} flip {number}", _flipped(data, draw)


def _flipped(data: bytes, draw: Random) -> bytes:
    flipped = bytearray(data)
    for _ in range(draw.randint(1, MOST_FLIPPED)):
        flipped[draw.randrange(len(flipped))] ^= 1 << draw.randrange(8)
    return bytes(flipped)
