"""Whether people find an item: its own name, given to the search as they would give it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline_assets.core.fingerprint import digest
from pipeline_assets.core.names import ENRICHED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pipeline_assets.resources import Resources
    from pipeline_assets.search import SearchIndex

TOP = 10
"""As many hits as `pipeline-assets search` shows."""

SAMPLE = 100
PATIENCE_S = 3.0
"""So many items are searched for, within so much time: a search took 37 ms over an index of 60,000
items, and takes longer the more there are. An hour of 10,000 items would take minutes."""


@dataclass(frozen=True, slots=True)
class Findable:
    """How many items were searched for and found; None of both where there is nothing to search."""

    attempted: int | None
    succeeded: int | None
    note: str


def findable(
    resources: Resources, hour: str, timer: Callable[[], float] = time.monotonic
) -> Findable:
    """Search for a sample of an hour's items by their names: the same ones, as time allows."""
    from pipeline_assets.search import IndexDamaged  # noqa: PLC0415 - loads FAISS

    table = resources.tables.read(ENRICHED, hour, ["item_id", "name"])
    rows = zip(table["item_id"].to_pylist(), table["name"].to_pylist(), strict=True)
    named = {item: name for item, name in rows if name}
    sample = dict(sorted(named.items(), key=lambda each: digest(each[0]))[:SAMPLE])
    try:
        index = resources.search
        if sample and not index.count():
            return Findable(None, None, "not measured: there is no search index, or it is empty")
        answers = list(_answers(index, hour, sample, timer))
    except IndexDamaged as error:
        return Findable(None, None, f"not measured: {error}")
    note = f"in the first {TOP} hits; {len(answers)} of {len(named)} items asked"
    return Findable(len(answers), sum(answers), note)


def _answers(
    index: SearchIndex, hour: str, sample: Mapping[str, str], timer: Callable[[], float]
) -> Iterator[bool]:
    """Whether each item is found, but those that another hour has a newer self of."""
    current = index.current_hours(sample)
    until = timer() + PATIENCE_S
    for item, name in sample.items():
        if current.get(item, hour) == hour:
            yield item in current and _leads_there(index, name)
        if timer() >= until:
            return


def _leads_there(index: SearchIndex, name: str) -> bool:
    """Whether the name leads to an item that is called so: words cannot tell namesakes apart."""
    hits = index.search(name, mode="keyword", top=TOP, embedders={})
    return any(hit.name == name for hit in hits)
