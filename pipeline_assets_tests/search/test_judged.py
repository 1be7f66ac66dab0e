"""How good the rankings are, on collections that were judged."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline_assets.search import Mode, SearchIndex
from pipeline_assets.stages.hashed_text import hashed_vector
from pipeline_assets_tests.search.judged import DOCUMENTS, JUDGED, ndcg
from pipeline_assets_tests.search.samples import HOUR, table

SPACE = "text-hash"


def hashed(texts: Sequence[str]) -> NDArray[np.float32]:
    """Vectors of hashed words: no model, but an opinion of its own."""
    return np.stack([hashed_vector(text) for text in texts])


@pytest.mark.parametrize(("mode", "bar"), [("keyword", 0.95), ("hybrid", 0.88)])
def test_what_was_meant_is_on_top(index: SearchIndex, mode: Mode, bar: float) -> None:
    """nDCG@10 over all queries; hashed words are the weakest vectors that there are."""
    rows = [
        row
        | {"space": SPACE, "modality": "text"}
        | {"embedding": hashed([f"{row['name']} {row['description']} {row['text']}"])[0].tolist()}
        for row in DOCUMENTS
    ]
    index.replace_hour(HOUR, table(*rows))
    scores = {}
    for query, relevant in JUDGED.items():
        hits = index.search(query, mode=mode, embedders={SPACE: hashed})
        scores[query] = ndcg([hit.item_id for hit in hits], relevant)
    assert sum(scores.values()) / len(scores) >= bar, scores


def test_a_perfect_ranking_has_one_and_a_useless_one_nothing() -> None:
    """The measure itself."""
    relevant = {"a": 3, "b": 1}
    assert ndcg(["a", "b"], relevant) == 1.0
    assert 0.7 < ndcg(["b", "a"], relevant) < 0.8
    assert ndcg(["c"], relevant) == ndcg([], relevant) == 0.0
    assert ndcg([*"cdefghijkl", "a"], relevant) == 0.0
