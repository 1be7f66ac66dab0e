"""Ranked lists in, one ranking out: a pure function.

Reciprocal rank fusion: a list gives an item `weight * confidence / (RRF_K + rank)`, where

- `weight` is the item's quality,
- `confidence` is its match score over the best score of that kind: of keywords, of names, of the
  vectors of one space. Scores of different kinds cannot be compared (BM25 has no upper end, a
  model that is sure of little gives small similarities), shares of the best can. Pictures and texts
  of one space share its scale: what is first among a few texts need not be near,
- `rank` counts from 1; equal scores share a rank.

Twins, items with the same source fields, never stand against their quality, whatever lists they
are in: a degraded item is embedded in another space, where it may be first among few.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from pipeline_assets.search.records import Gain

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
    """An entry's final score, and what each list that had it gave.

    `lifted_over` is the item, a twin of no better quality, whose score it was given.
    """

    candidate: Candidate
    score: float
    gains: Mapping[str, Gain]
    lifted_over: str | None

    @property
    def ranks(self) -> dict[str, int]:
        """The rank in each list."""
        return {name: gain.rank for name, gain in self.gains.items()}


def fuse(lists: Mapping[str, Sequence[Match]], candidates: Mapping[int, Candidate]) -> list[Ranked]:
    """One ranking of all lists, best first; equal scores by quality, then by `item_id`.

    `candidates` has every entry of the lists. It may have more: such an entry is ranked only
    where a twin of lower quality is, directly before it.
    """
    gains: dict[int, dict[str, Gain]] = {}
    best = _best(lists)
    for name, matches in lists.items():
        best_score = best.get(_kind(name), 1.0)
        for match, rank in _placed(matches):
            confidence = match.score / best_score
            gain = candidates[match.entry_id].weight * confidence / (RRF_K + rank)
            gains.setdefault(match.entry_id, {})[name] = Gain(rank, match.score, confidence, gain)
    scores = {id_: sum(one.gain for one in own.values()) for id_, own in gains.items()}
    lifted = _lift_better_twins(scores, candidates.values())
    ranked = [
        Ranked(candidates[id_], score, gains.get(id_, {}), lifted.get(id_))
        for id_, score in scores.items()
    ]
    return sorted(ranked, key=lambda r: (-r.score, -r.candidate.weight, r.candidate.item_id))


def _best(lists: Mapping[str, Sequence[Match]]) -> dict[str, float]:
    """The best score of each kind: `keyword`, or `vector:<space>` whatever the modality."""
    best: dict[str, float] = {}
    for name, matches in lists.items():
        if matches:
            own, kind = max(match.score for match in matches), _kind(name)
            best[kind] = max(own, best.get(kind, own))
    return best


def _kind(name: str) -> str:
    return name.rsplit(":", 1)[0]


def _placed(matches: Sequence[Match]) -> Iterable[tuple[Match, int]]:
    ordered = sorted(matches, key=lambda match: -match.score)
    rank = 0
    for position, match in enumerate(ordered, start=1):
        if position == 1 or match.score < ordered[position - 2].score:
            rank = position
        yield match, rank


def _lift_better_twins(scores: dict[int, float], candidates: Iterable[Candidate]) -> dict[int, str]:
    """Give the better twin the worse one's score where that is higher; says whose it was."""

    def worst_first(one: Candidate) -> tuple[bytes, float, float, str]:
        return one.twin, one.weight, scores.get(one.entry_id, -1.0), one.item_id

    lifted: dict[int, str] = {}
    for _, twins in groupby(sorted(candidates, key=worst_first), key=lambda one: one.twin):
        best: tuple[float, str] | None = None
        for one in twins:
            own = scores.get(one.entry_id)
            if own is not None and (best is None or own >= best[0]):
                best = own, one.item_id
            elif best is not None:
                scores[one.entry_id], lifted[one.entry_id] = best
    return lifted
