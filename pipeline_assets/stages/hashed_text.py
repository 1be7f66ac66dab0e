"""Hashed bag of words: a vector for any text without a model (the hashing trick, signed)."""

import re
from collections import Counter
from zlib import crc32

import numpy as np
import numpy.typing as npt

DIMENSIONS = 256
SPACE = f"text-hash-{DIMENSIONS}/1"

_WORD = re.compile(r"\w+")


def hashed_vector(text: str) -> npt.NDArray[np.float32]:
    """A unit vector of `DIMENSIONS` numbers; texts with words in common point alike.

    Each word adds the root of its count, so that a repeated word does not drown the others. A text
    without a word gives the first axis, since a vector of length 0 has no direction.
    """
    vector = np.zeros(DIMENSIONS, np.float32)
    for word, count in Counter(_WORD.findall(text.lower())).items():
        hashed = crc32(word.encode())
        sign = 1.0 if hashed & 1 else -1.0
        vector[(hashed >> 1) % DIMENSIONS] += sign * np.sqrt(count)
    length = float(np.linalg.norm(vector))
    if length == 0:
        vector[0] = length = 1.0
    return vector / np.float32(length)
