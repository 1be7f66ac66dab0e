"""Ranking: a pure function of lists and what is known about their entries."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.search.ranking import RRF_K, Candidate, Match, fuse

QUALITY = st.one_of(st.none(), st.floats(0, 1))
SCORES = st.dictionaries(
    st.sampled_from(["keyword", "vector:a:image", "vector:b:text"]),
    st.sampled_from([0.05, 0.3, 0.30001, 1.0, 17.5]),
)
GOOD, BAD = 1_000, 1_001


def candidate(entry_id: int, quality: float | None = 1.0, twin: bytes = b"") -> Candidate:
    """An entry; without `twin` it has none."""
    return Candidate(entry_id, f"item-{entry_id:04}", quality, twin or str(entry_id).encode())


@st.composite
def catalogues(draw: st.DrawFn) -> tuple[dict[int, Candidate], dict[int, dict[str, float]]]:
    """Entries with any qualities, and their match score in each list that has them."""
    count = draw(st.integers(0, 8))
    twins = st.sampled_from([b"t", b"u", b""])
    entries = {n: candidate(n, draw(QUALITY), draw(twins)) for n in range(count)}
    return entries, {n: draw(SCORES) for n in entries}


def lists_of(scores: dict[int, dict[str, float]]) -> dict[str, list[Match]]:
    """The same scores, by list."""
    lists: dict[str, list[Match]] = {}
    for entry_id, by_list in scores.items():
        for name, score in by_list.items():
            lists.setdefault(name, []).append(Match(entry_id, score))
    return lists


@given(catalogues(), SCORES.filter(bool), QUALITY, QUALITY)
def test_of_equal_matches_the_better_quality_is_first(
    catalogue: tuple[dict[int, Candidate], dict[int, dict[str, float]]],
    own: dict[str, float],
    one: float | None,
    other: float | None,
) -> None:
    """Whatever else is in the lists; equal qualities go by id."""
    entries, scores = catalogue
    pair = {GOOD: candidate(GOOD, one), BAD: candidate(BAD, other)}
    order = [r.candidate for r in fuse(lists_of(scores | {GOOD: own, BAD: own}), entries | pair)]
    first, second = (c for c in order if c.entry_id in pair)
    assert (first.weight, second.item_id) >= (second.weight, first.item_id)


@given(catalogues(), SCORES, SCORES.filter(bool), QUALITY, QUALITY)
def test_of_twins_the_better_is_first_whatever_lists_they_are_in(
    catalogue: tuple[dict[int, Candidate], dict[int, dict[str, float]]],
    good_scores: dict[str, float],
    bad_scores: dict[str, float],
    one: float | None,
    other: float | None,
) -> None:
    """A degraded item is in other lists than its twin, perhaps with few others."""
    entries, scores = catalogue
    pair = {GOOD: candidate(GOOD, one, b"pair"), BAD: candidate(BAD, other, b"pair")}
    if pair[GOOD].weight <= pair[BAD].weight:
        return
    lists = lists_of(scores | {GOOD: good_scores, BAD: bad_scores})
    order = [r.candidate.entry_id for r in fuse(lists, entries | pair)]
    assert order.index(GOOD) < order.index(BAD)


@given(catalogues(), st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(
    catalogue: tuple[dict[int, Candidate], dict[int, dict[str, float]]], random: object
) -> None:
    """Scores decide, never who came first."""
    entries, scores = catalogue
    lists = lists_of(scores)
    once = fuse(lists, entries)
    for matches in lists.values():
        random.shuffle(matches)  # type: ignore[attr-defined]
    assert fuse(lists, dict(reversed(entries.items()))) == once


@given(catalogues())
def test_everything_matched_is_ranked_once_and_best_first(
    catalogue: tuple[dict[int, Candidate], dict[int, dict[str, float]]],
) -> None:
    """Nothing is lost, nothing is doubled."""
    entries, scores = catalogue
    ranked = fuse(lists_of(scores), entries)
    ids = [r.candidate.entry_id for r in ranked]
    assert len(ids) == len(set(ids))
    assert {n for n, by_list in scores.items() if by_list} <= set(ids)
    assert [r.score for r in ranked] == sorted((r.score for r in ranked), reverse=True)


@pytest.mark.parametrize(
    ("quality", "expected"),
    [(1.0, 1.0 / (RRF_K + 1)), (0.72, 0.72 / (RRF_K + 1)), (0.0, 0.0), (None, 0.1 / (RRF_K + 1))],
)
def test_a_first_place_is_worth_its_quality(quality: float | None, expected: float) -> None:
    """Pending is little, zero is zero."""
    (ranked,) = fuse({"keyword": [Match(1, 8.0)]}, {1: candidate(1, quality)})
    assert ranked.score == pytest.approx(expected)


def test_a_match_counts_by_its_share_of_the_best() -> None:
    """Equal scores share a rank."""
    matches = [Match(1, 8.0), Match(2, 2.0), Match(3, 2.0), Match(4, 1.0)]
    ranked = fuse({"keyword": matches}, {n: candidate(n) for n in range(1, 5)})
    assert [r.ranks["keyword"] for r in ranked] == [1, 2, 2, 4]
    assert ranked[1].score == ranked[2].score == pytest.approx(0.25 / (RRF_K + 2))


def test_lists_add_up() -> None:
    """Found twice is better than found once."""
    lists = {"keyword": [Match(1, 9.0), Match(2, 9.0)], "vector:a:image": [Match(2, 0.4)]}
    first, second = fuse(lists, {1: candidate(1), 2: candidate(2)})
    assert [first.candidate.entry_id, second.candidate.entry_id] == [2, 1]
    assert first.score == pytest.approx(2 * second.score)


def test_a_better_twin_that_nothing_matched_is_placed_before_the_worse() -> None:
    """A worse one that nothing matched is not."""
    known = {n: candidate(n, quality, b"t") for n, quality in ((1, 0.5), (2, 1.0), (3, 0.2))}
    ranked = fuse({"vector:b:image": [Match(1, 0.9)]}, known)
    assert [r.candidate.entry_id for r in ranked] == [2, 1]
    assert (ranked[0].score, ranked[0].ranks) == (ranked[1].score, {})


def test_nothing_gives_nothing() -> None:
    """No error, no hit."""
    assert fuse({}, {}) == fuse({"keyword": []}, {}) == []


def test_the_first_of_a_few_texts_is_no_better_than_it_is_near() -> None:
    """Pictures and texts of one space are held against the same best; another space is not."""
    lists = {
        "vector:a:image": [Match(1, 0.8)],
        "vector:a:text": [Match(2, 0.2)],
        "vector:b:text": [Match(3, 0.2)],
    }
    ranked = fuse(lists, {n: candidate(n) for n in (1, 2, 3)})
    shares = [
        (one.candidate.entry_id, gain.confidence) for one in ranked for gain in one.gains.values()
    ]
    assert shares == [(1, 1.0), (3, 1.0), (2, pytest.approx(0.25))]
