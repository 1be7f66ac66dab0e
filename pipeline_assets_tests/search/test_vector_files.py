"""When a vector file is made, grows, and is made anew; and that nobody notices who searches."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline_assets.search import Filters, SearchIndex, Sizes, VectorIndex, calibration
from pipeline_assets_tests.search.samples import HOUR, NEXT_HOUR, item, table
from pipeline_assets_tests.search.test_vector import unit

SIZE = 16
SIZES = Sizes(exact_up_to=300, tail=50, dead_share=0.2)
MANY = 400
KIND_EVERY = 8
SPACE = "clip-a"


@pytest.fixture
def index(root: Path) -> SearchIndex:
    """An index that is small when others would be large."""
    return SearchIndex(root, SIZES)


def rows(first: int, last: int, seed: int = 3) -> pa.Table:
    """Items numbered from `first` to before `last`, with the vectors of that seed."""
    vectors = unit(last, SIZE, seed)
    return table(
        *(
            item(
                f"i{n:04}", "mug", space=SPACE, modality="image", embedding=vectors[n].tolist(),
                kind="rare" if n % KIND_EVERY == 0 else "product",
            )
            for n in range(first, last)
        )
    )  # fmt: skip


def state(index: SearchIndex) -> VectorIndex:
    """How the vectors are kept."""
    (found,) = index.vector_indexes()
    return found


def nearest(index: SearchIndex, place: int, seed: int = 3, filters: Filters | None = None) -> str:
    """The item nearest to the vector of an item."""
    query = {SPACE: unit(place + 1, SIZE, seed)[place]}
    return index.nearest(query, filters=filters or Filters())[0].item_id


def test_few_vectors_are_all_compared(index: SearchIndex) -> None:
    """Whose recall is one."""
    index.replace_hour(HOUR, rows(0, 300))
    found = state(index)
    assert (found.kind, found.vectors, found.tail, found.dead) == ("exact", 300, 0, 0)
    assert (found.recall, found.ef_search) == (1.0, None)


def test_many_vectors_are_a_graph_that_finds_enough_of_them(index: SearchIndex) -> None:
    """And says how well it does."""
    index.replace_hour(HOUR, rows(0, MANY))
    found = state(index)
    assert (found.kind, found.vectors) == ("hnsw", MANY)
    assert found.recall >= calibration.WANTED_RECALL
    assert found.ef_search is not None
    assert nearest(index, 17) == "i0017"


def test_a_graph_that_does_not_find_enough_is_not_used(
    index: SearchIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slow and right is better than fast and wrong."""
    monkeypatch.setattr(calibration, "_recall", lambda *_: 0.9)
    index.replace_hour(HOUR, rows(0, MANY))
    assert state(index).kind == "exact"


def test_the_search_is_widened_until_it_finds_enough(
    index: SearchIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no further."""
    recalls = iter([0.8, 0.94, 0.96])
    monkeypatch.setattr(calibration, "_recall", lambda *_: next(recalls))
    index.replace_hour(HOUR, rows(0, MANY))
    assert (state(index).ef_search, state(index).recall) == (4 * calibration.EF_SEARCH, 0.96)


@pytest.mark.parametrize("many", [100, MANY])
def test_what_is_new_is_found_at_once_and_the_file_stays(
    index: SearchIndex, root: Path, many: int
) -> None:
    """As a tail, which goes into the file when it is long."""
    index.replace_hour(HOUR, rows(0, many))
    files = set(root.glob("*/*.faiss"))
    index.replace_hour(NEXT_HOUR, rows(many, many + 50))
    assert (state(index).vectors, state(index).tail) == (many, 50)
    assert set(root.glob("*/*.faiss")) == files
    assert nearest(index, many + 49) == f"i{many + 49:04}"
    index.replace_hour(NEXT_HOUR, rows(many, many + 51))
    assert (state(index).vectors, state(index).tail) == (many + 51, 0)
    assert not set(root.glob("*/*.faiss")) & files
    assert nearest(index, many + 50) == f"i{many + 50:04}"
    assert state(index).recall >= calibration.WANTED_RECALL


@pytest.mark.parametrize("many", [100, MANY])
def test_what_is_dead_is_not_found_though_the_file_has_it(index: SearchIndex, many: int) -> None:
    """Until a fifth of the file is dead: then it is made anew."""
    gone = many // 5
    index.replace_hour(HOUR, rows(0, many))
    index.replace_hour(HOUR, rows(gone, many))
    assert (state(index).vectors, state(index).dead) == (many, gone)
    assert nearest(index, 0) != "i0000"
    index.replace_hour(HOUR, rows(gone + 1, many))
    assert (state(index).vectors, state(index).dead) == (many - gone - 1, 0)
    assert nearest(index, many - 1) == f"i{many - 1:04}"


def test_a_healed_item_is_found_where_it_is_now_and_not_where_it_was(index: SearchIndex) -> None:
    """One item is replaced, and no other."""
    index.replace_hour(HOUR, rows(0, MANY))
    healed = rows(7, 8, seed=9).to_pylist()
    others = [row for row in rows(0, MANY).to_pylist() if row["item_id"] != "i0007"]
    index.replace_hour(HOUR, table(*others, *healed))
    assert (state(index).vectors, state(index).dead, state(index).tail) == (MANY, 1, 1)
    assert nearest(index, 7, seed=9) == "i0007"
    assert nearest(index, 7) != "i0007"


def test_an_item_that_comes_back_is_found_again(index: SearchIndex) -> None:
    """Though its old place in the file is dead."""
    index.replace_hour(HOUR, rows(0, MANY))
    newer = rows(5, 6, seed=9).to_pylist()[0]
    index.replace_hour(
        NEXT_HOUR, table(newer | {"event_time": newer["event_time"].replace(hour=7)})
    )
    assert nearest(index, 5) != "i0005"
    index.replace_hour(NEXT_HOUR, table())
    assert nearest(index, 5) == "i0005"
    assert nearest(index, 5, seed=9) != "i0005"


@pytest.mark.parametrize("compared", [10, 10_000])
def test_a_filter_hides_no_neighbour_from_a_graph(
    index: SearchIndex, monkeypatch: pytest.MonkeyPatch, compared: int
) -> None:
    """Whether what it leaves is compared one by one, or the graph looks further."""
    monkeypatch.setattr("pipeline_assets.search.nearest.COMPARED", compared)
    index.replace_hour(HOUR, rows(0, MANY))
    index.replace_hour(NEXT_HOUR, rows(MANY, MANY + 9))
    vectors = unit(MANY + 9, SIZE)
    rare = np.arange(0, MANY + 9, KIND_EVERY)
    for place in range(20):
        best = rare[np.argmax(vectors[rare] @ unit(20, SIZE, seed=5)[place])]
        assert nearest(index, place, 5, Filters(kind="rare")) == f"i{best:04}"
