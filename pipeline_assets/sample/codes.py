"""Ten-letter codes in the shop's addresses, which alone settle what an address serves."""

import re
from dataclasses import dataclass
from typing import Final, TypeAlias

from pipeline_assets.sample.drawing import COLOURS, SAMPLE_LABELS, Subject
from pipeline_assets.sample.guides import TOPICS

_LETTERS: Final = "abcdefghijkl"
_GUIDE: Final = "z"
_CODE: Final = re.compile(rf"(?:^|-)([{_LETTERS}{_GUIDE}])([{_LETTERS}])([0-9a-f]{{8}})$")


@dataclass(frozen=True, slots=True)
class Guide:
    """A document of the shop that is about no single product; `seed` has 32 bits."""

    topic: str
    seed: int


Content: TypeAlias = Subject | Guide


def encode(content: Content) -> str:
    """Give the code of a product or guide, such as "ab0012cdef"."""
    if isinstance(content, Guide):
        first, second = _GUIDE, _LETTERS[tuple(TOPICS).index(content.topic)]
    else:
        first = _LETTERS[SAMPLE_LABELS.index(content.category)]
        second = _LETTERS[tuple(COLOURS).index(content.colour)]
    return f"{first}{second}{content.seed:08x}"


def decode(name: str) -> Content | None:
    """Read the code at the end of a file name without suffix; None where there is none."""
    match = _CODE.search(name)
    if match is None:
        return None
    first, second, seed = match[1], _LETTERS.index(match[2]), int(match[3], 16)
    if first == _GUIDE:
        return Guide(tuple(TOPICS)[second], seed)
    return Subject(SAMPLE_LABELS[_LETTERS.index(first)], tuple(COLOURS)[second], seed)
