"""Ranked lists in, one ranking out: a pure function.

Reciprocal rank fusion: a list gives an item `weight * confidence / (RRF_K + rank)`, where

- `weight` is the item's quality,
- `confidence` is its match score over the best score of that list. Scores of different lists
  cannot be compared (BM25 has no upper end; a text is nearer to texts than to pictures of the
  same thing), shares of the best can,
- `rank` counts from 1; equal scores share a rank.

Twins, items with the same source fields, never stand against their quality, whatever lists they
are in: a degraded item is embedded in another space, where it may be first among few.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

RRF_K = 60
"""Cormack, Clarke and Buettcher, SIGIR 2009: flat around 60 on every collection they tried."""

PENDING_WEIGHT = 0.1
"""An item whose quality is not known yet weighs less than one that fell back in every stage
(0.95 * 0.9 * 0.9 * 0.7 * 0.6 = 0.32), so that unfinished work never covers finished work."""


@dataclass(frozen=True, slots=True)
class Match:
    """An entry in a list, and how well it matches there: above 0, higher is better."""

    entry_id: int
    score: float


@dataclass(frozen=True, slots=True)
class Candidate:
    """What ranking knows about an entry beyond its matches."""

    entry_id: int
    item_id: str
    quality: float | None
    twin: bytes

    @property
    def weight(self) -> float:
        """Quality, or the weight of pending items."""
        return PENDING_WEIGHT if self.quality is None else self.quality


@dataclass(frozen=True, slots=True)
class Ranked:
    """An entry's final score, and its rank in each list that had it."""

    candidate: Candidate
    score: float
    ranks: Mapping[str, int]


def fuse(lists: Mapping[str, Sequence[Match]], candidates: Mapping[int, Candidate]) -> list[Ranked]:
    """One ranking of all lists, best first; equal scores by quality, then by `item_id`.

    `candidates` has every entry of the lists. It may have more: such an entry is ranked only
    where a twin of lower quality is, directly before it.
    """
    scores: dict[int, float] = {}
    ranks: dict[int, dict[str, int]] = {}
    for name, matches in lists.items():
        for match, rank, confidence in _placed(matches):
            weight = candidates[match.entry_id].weight
            gain = weight * confidence / (RRF_K + rank)
            scores[match.entry_id] = scores.get(match.entry_id, 0.0) + gain
            ranks.setdefault(match.entry_id, {})[name] = rank
    _lift_better_twins(scores, candidates.values())
    ranked = [Ranked(candidates[id_], score, ranks.get(id_, {})) for id_, score in scores.items()]
    return sorted(ranked, key=lambda r: (-r.score, -r.candidate.weight, r.candidate.item_id))


def _placed(matches: Sequence[Match]) -> Iterable[tuple[Match, int, float]]:
    ordered = sorted(matches, key=lambda match: -match.score)
    rank = 0
    for position, match in enumerate(ordered, start=1):
        if position == 1 or match.score < ordered[position - 2].score:
            rank = position
        yield match, rank, match.score / ordered[0].score


def _lift_better_twins(scores: dict[int, float], candidates: Iterable[Candidate]) -> None:
    def worst_first(one: Candidate) -> tuple[bytes, float, float]:
        return one.twin, one.weight, scores.get(one.entry_id, -1.0)

    for _, twins in groupby(sorted(candidates, key=worst_first), key=lambda one: one.twin):
        best: float | None = None
        for one in twins:
            own = scores.get(one.entry_id)
            best = max((score for score in (own, best) if score is not None), default=None)
            if best is not None:
                scores[one.entry_id] = best
