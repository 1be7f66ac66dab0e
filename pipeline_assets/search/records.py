"""What goes into the index, what is asked of it, and what comes out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]
Embedder = Callable[[Sequence[str]], Vector]
"""n texts in, n unit vectors out: float32, n rows, one column per dimension."""

Mode = Literal["keyword", "vector", "hybrid"]
Embedders = Mapping[str, Embedder]


@dataclass(frozen=True, slots=True)
class Sizes:
    """From which sizes on the vectors of a space and modality are kept in another way."""

    exact_up_to: int = 50_000
    """Vectors that are all compared with the query: 8 ms of a core, of 512 dimensions each."""

    tail: int = 10_000
    """New vectors beside a file, compared one by one, before they go into it."""

    dead_share: float = 0.2
    """The share of a file's vectors that may be dead before it is made anew."""


@dataclass(frozen=True, slots=True)
class HourIndexed:
    """What the index holds of one hour after it was replaced; `seconds` is what that took."""

    hour: str
    items: int
    vectors: int
    spaces: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What came of building the index anew."""

    hours: int
    items: int
    seconds: float


@dataclass(frozen=True, slots=True)
class VectorIndex:
    """How the current vectors of a space and modality are searched.

    `vectors` are in the file, `dead` of them no longer current; `tail` came since. `recall` is
    recall@10 against exact search, measured when the file was made.
    """

    space: str
    modality: str
    kind: str
    vectors: int
    dead: int
    tail: int
    ef_search: int | None
    recall: float


@dataclass(frozen=True, slots=True)
class Gain:
    """What a list gave an item: its rank there, how well it matched, and what came of it.

    `confidence` is `match` over the best match of that kind: words, names, or a space.
    """

    rank: int
    match: float
    confidence: float
    gain: float


@dataclass(frozen=True, slots=True)
class Hit:
    """One item found.

    `quality` is null while the item is pending, and the product of `factors`: stage, rung or
    status, factor, reason. `score` orders the hits of one search and means nothing beyond it: the
    sum of what each list gave. `ranks` says where the item stood in each list that had it:
    `keyword`, `name` for those that are called just so, or `vector:<space>:<modality>`; empty for
    an item found only because a worse twin was, which it is placed before. `gains` says what each
    list gave.
    """

    item_id: str
    hour: str
    kind: str | None
    name: str | None
    label: str | None
    label_confidence: float | None
    quality: float | None
    score: float
    ranks: Mapping[str, int]
    snippet: str
    gains: Mapping[str, Gain]
    weight: float
    lifted_over: str | None
    factors: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Entry:
    """One item of one hour, as the index keeps it.

    `event_us` is microseconds since 1970, UTC; `vector` is float32 in native byte order. `digest`
    changes with any field but the vector, `vector_digest` with that. `twin` is the same for items
    whose source fields are the same. `stages` holds the status of each stage, `factors` is JSON.
    `name_key` is what a query has that is the whole name.
    """

    item_id: str
    event_us: int
    digest: bytes
    twin: bytes
    quality: float | None
    status: str
    stages: str
    kind: str | None
    label: str | None
    label_confidence: float | None
    name_key: str
    space: str | None
    modality: str | None
    image_url: str | None
    document_url: str | None
    factors: str
    name: str | None
    title: str | None
    description: str | None
    text: str | None
    vector_digest: bytes | None
    vector: bytes | None
