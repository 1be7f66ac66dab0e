"""How well each way of searching answers queries whose answers are known."""

import math
import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, get_args

from pipeline_assets.analytics.data import Data
from pipeline_assets.commands.search import search
from pipeline_assets.search import Mode

if TYPE_CHECKING:
    import pandas as pd

TOP = 10


def compare_modes(data: Data, answers: Mapping[str, Collection[str]]) -> "pd.DataFrame":
    """Each query by words alone, by vectors alone and by both, held against its items.

    `found` are those of its items among the first ten, `first` the rank of the first of them,
    `ndcg` the gain of the ten, discounted by rank, as a share of the best that was possible.
    """
    import pandas as pd  # noqa: PLC0415 - a third of a second that imports need not cost

    rows = [
        {"query": query, "mode": mode, **_judged(_found(data, query, mode), items)}
        for query, items in answers.items()
        for mode in get_args(Mode)
    ]
    return pd.DataFrame(rows).astype({"first": "Int64"})


def _found(data: Data, query: str, mode: Mode) -> list[str]:
    with warnings.catch_warnings():
        # Of a library that would show a progress bar while a model loads.
        warnings.filterwarnings("ignore", message="IProgress not found")
        hits = search(data.resources, query, mode=mode, top=TOP)
    return [hit["item_id"] for hit in hits]


def _judged(found: Sequence[str], items: Collection[str]) -> dict[str, float | None]:
    right = [item in items for item in found]
    return {
        "found": sum(right),
        "first": right.index(True) + 1 if any(right) else None,
        "ndcg": _gain(right) / _gain([True] * min(TOP, len(items))),
    }


def _gain(right: Sequence[bool]) -> float:
    return sum(1 / math.log2(rank + 1) for rank, hit in enumerate(right, start=1) if hit)
