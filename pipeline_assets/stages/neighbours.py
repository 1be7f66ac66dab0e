"""How far the vectors of two models agree: by cosine in one space, by neighbours across spaces.

Across spaces a cosine of two vectors means nothing. What search gives out is neighbours, so the
measure is how many of a row's nearest are its nearest in the other space, too. Not a correlation of
all similarities: nearly all pairs have nothing to do with each other, and how two models order
those is noise that would outweigh the few that matter.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline_assets.core.stage import Values

NEAREST = 10
"""As many as a search gives."""
AMONG_EACH = 10
"""One neighbour for so many others, so that no more than a tenth is shared by chance."""

Vectors = npt.NDArray[np.float32]


def agreement(primary: Sequence[Values], fallback: Sequence[Values]) -> list[float | None]:
    """For each row of `embedding`, `space` and `modality`: how far both models agree on it.

    Rows are neighbours only of those that an index would hold with them. None for a row that has
    too few of those.
    """
    agreed: list[float | None] = [None] * len(primary)
    for places in _searched_together(primary, fallback):
        ours = _vectors([primary[place] for place in places])
        theirs = _vectors([fallback[place] for place in places])
        same = primary[places[0]]["space"] == fallback[places[0]]["space"]
        found = _cosines(ours, theirs) if same else _shared_nearest(ours, theirs)
        for place, value in zip(places, found, strict=True):
            agreed[place] = value
    return agreed


def _searched_together(
    primary: Sequence[Values], fallback: Sequence[Values]
) -> list[Sequence[int]]:
    """The places of the rows that lie in one index with the primary, and in one without it."""
    places: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for place, pair in enumerate(zip(primary, fallback, strict=True)):
        index = tuple(each[name] for each in pair for name in ("space", "modality"))
        places[index].append(place)
    return list(places.values())


def _vectors(rows: Sequence[Values]) -> Vectors:
    """Unit vectors, [rows, dim]."""
    vectors = np.asarray([row["embedding"] for row in rows], np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _cosines(ours: Vectors, theirs: Vectors) -> list[float | None]:
    return list(np.clip((ours * theirs).sum(axis=1), 0.0, 1.0).tolist())


def _shared_nearest(ours: Vectors, theirs: Vectors) -> list[float | None]:
    count = min(NEAREST, (len(ours) - 1) // AMONG_EACH)
    if not count:
        return [None] * len(ours)
    pairs = zip(_nearest(ours, count), _nearest(theirs, count), strict=True)
    return [len(mine & other) / count for mine, other in pairs]


def _nearest(vectors: Vectors, count: int) -> list[set[int]]:
    """The places of the nearest other vectors to each; of those equally near, the first."""
    near = vectors @ vectors.T
    np.fill_diagonal(near, -np.inf)
    order = np.argsort(-near, axis=1, kind="stable")[:, :count]
    return [set(row) for row in order.tolist()]
