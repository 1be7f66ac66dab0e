"""What goes into the index and what comes out of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Embedder = Callable[[Sequence[str]], NDArray[np.float32]]
"""n texts in, n unit vectors out: float32, n rows, one column per dimension."""

Mode = Literal["keyword", "vector", "hybrid"]
Embedders = Mapping[str, Embedder]


@dataclass(frozen=True, slots=True)
class HourIndexed:
    """What the index holds of one hour after it was replaced; `seconds` is what that took."""

    hour: str
    items: int
    vectors: int
    spaces: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Hit:
    """One item found.

    `quality` is null while the item is pending. `score` orders the hits of one search and means
    nothing beyond it. `ranks` says where the item stood in each list that had it: `keyword`, or
    `vector:<space>:<modality>`; empty for an item found only because a worse twin was.
    """

    item_id: str
    hour: str
    name: str | None
    label: str | None
    label_confidence: float | None
    quality: float | None
    score: float
    ranks: Mapping[str, int]
    snippet: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One item of one hour, as the index keeps it.

    `event_us` is microseconds since 1970, UTC; `vector` is float32 in native byte order. `digest`
    changes with any other field. `twin` is the same for items whose source fields are the same.
    """

    item_id: str
    event_us: int
    digest: bytes
    twin: bytes
    quality: float | None
    status: str
    kind: str | None
    label: str | None
    label_confidence: float | None
    space: str | None
    modality: str | None
    image_url: str | None
    document_url: str | None
    name: str | None
    title: str | None
    description: str | None
    text: str | None
    vector: bytes | None
