"""Forgetting items and URLs: out of the tables, the index, the caches, and the packs; and kept out.

First a note of what is to be found, then the list, so that nothing comes back, then each place,
its own rows and no others, and last the bytes. Killed at any time, it is finished by the next one,
by the note. Then everything is read again: what is left is counted.

The feed and its copies, backups, earlier versions of objects in a bucket, what logs and alerts have
said, and Dagster's own database, whose materializations show sample rows, are not ours to change.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from pipeline_assets.core.forgotten import ITEM, URL, mark
from pipeline_assets.core.names import ENRICHED, ITEMS
from pipeline_assets.state.leases import FORGETTING
from pipeline_assets.store.checkpoints import shard_tables
from pipeline_assets.store.tables import WHOLE
from pipeline_assets.upkeep.compaction import Rules, compact
from pipeline_assets.upkeep.leftovers import remove_leftovers
from pipeline_assets.upkeep.references import references
from pipeline_assets.upkeep.rewriting import (
    Place,
    rewrite,
    shards_there_are,
    tables_there_are,
)
from pipeline_assets.upkeep.traces import (
    ITEM_ID,
    Traces,
    is_telling,
    named_urls,
    without,
    without_urls,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pyarrow as pa

    from pipeline_assets.resources import Resources

NOTE = f"{FORGETTING}.json"
"""Beside the shards, while it is under way: what is to be found. It names names, and goes last."""

URLS = ("http://", "https://", "s3://")


@dataclass(frozen=True, slots=True)
class Erased:
    """How many rows, entries and copies each place had, and how many it has now that all is done.

    `hours` are those that have rows to be made again, or figures.
    """

    removed: dict[str, int]
    left: dict[str, int]
    hours: list[str]


def wanted(names: Iterable[str]) -> Traces:
    """What is to be forgotten. A name that is a URL is both: an item may be called so."""
    items = frozenset(names)
    return Traces(items, frozenset(name for name in items if name.startswith(URLS)))


def found(resources: Resources, traces: Traces) -> dict[str, int]:
    """How many rows tell of it now, by table."""
    return +count_rows(resources, everywhere(resources), _traced(resources, traces))


def forget(resources: Resources, traces: Traces) -> Erased:
    """Forget it, keep it out, and say what is left, which is nothing.

    Raises `LeaseHeld` where a run is at work on the rows, or fetches: what was done until then
    stays done, and the next one goes on from there.
    """
    with resources.leases.acquire(f"{FORGETTING}/{WHOLE}"):
        noted = _noted(resources)
        traces = traces if noted is None else traces | noted
        resources.shards.put(NOTE, _stored(traces))
        marks = {mark(ITEM, item) for item in traces.items} | {mark(URL, u) for u in traces.urls}
        resources.forgotten.add(marks, resources.clock())
        # After the list: what is landed from now on is without it.
        resources.feed.clear()
        traces = _traced(resources, traces)
        resources.shards.put(NOTE, _stored(traces))
        erased = erase_rows(resources, everywhere(resources), traces)
        hours = {place.hour for place in erased} | {each[0] for each in traces.resources}
        removed = Counter[str]()
        for place, count in erased.items():
            removed[place.asset] += count
        removed["decisions (state)"] = resources.state.drop_items(traces.items)
        if removed.total() or noted is not None or _mentioned(resources, traces):
            removed["search index"] = _erased_from_index(resources, traces)
        removed["copies by URL"] = resources.copies.drop(_ours(resources, traces))
        removed["kept results"] = resources.cache.clear()
        compacted = compact(resources, Rules(at_once=True))
        removed["packs"] = len(compacted.removed)
        removed["leftovers"] = remove_leftovers(resources)
        left = _left(resources, traces)
        left["log of the state database"] = 0 if resources.state.scrub() else 1
        left = +left
        if not left:
            resources.shards.remove([NOTE])
    return Erased(dict(+removed), dict(left), sorted(hours - {WHOLE}))


def _noted(resources: Resources) -> Traces | None:
    """What one that was killed had still to find."""
    if not resources.shards.exists(NOTE):
        return None
    stored = json.loads(resources.shards.whole(NOTE).to_pybytes())
    resources_ = frozenset(tuple(each) for each in stored.pop("resources"))
    return Traces(**{name: frozenset(stored[name]) for name in stored}, resources=resources_)


def _stored(traces: Traces) -> bytes:
    values = {each.name: sorted(getattr(traces, each.name)) for each in fields(Traces)}
    return json.dumps(values).encode()


def _traced(resources: Resources, traces: Traces) -> Traces:
    """With the hours and resources in which the URLs are named, and the URLs of the items."""
    for place in everywhere(resources):
        for rows in _telling(resources, place, traces):
            traces |= traces.of(place.hour, rows)
    return traces


def everywhere(resources: Resources) -> list[Place]:
    """Items first: whoever begins to work on an hour once they are done does not see it."""
    places = {*tables_there_are(resources), *shards_there_are(resources)}
    return sorted(places, key=lambda each: (each.asset != ITEMS, each))


def _telling(resources: Resources, place: Place, traces: Traces) -> Iterator[pa.Table]:
    """The columns of a place that may tell of it; where no URL is looked for, of rows near it."""
    tables = resources.tables
    if tables.exists(place.asset, place.hour):
        names = tables.schema(place.asset, place.hour).names
        columns = [name for name in names if is_telling(name)]
        near = (min(traces.items), max(traces.items)) if not traces.urls else None
        if columns:
            items = near if ITEM_ID in columns else None
            yield tables.read(place.asset, place.hour, columns, items)
    yield from shard_tables(resources.shards, place.asset, place.hour)


def _tells(place: Place, rows: pa.Table, traces: Traces) -> pa.ChunkedArray:
    """Which rows do; an item's own row is not made of what it names."""
    looked_for = replace(traces, resources=frozenset()) if place.asset == ITEMS else traces
    return looked_for.found_in(place.hour, rows)


def _count(resources: Resources, place: Place, traces: Traces) -> int:
    masks = (
        _tells(place, rows, traces) for rows in _telling(resources, place, traces) if len(rows)
    )
    return sum(pc.sum(mask).as_py() for mask in masks)


def count_rows(resources: Resources, places: Iterable[Place], traces: Traces) -> Counter[str]:
    """How many rows of some places tell of it, by table."""
    counts: Counter[str] = Counter()
    for place in places:
        counts[place.asset] += _count(resources, place, traces)
    return counts


def erase_rows(resources: Resources, places: Iterable[Place], traces: Traces) -> Counter[Place]:
    """Take the rows that tell of it out of some places; how many each had.

    Raises `LeaseHeld` while a run writes one of them.
    """
    removed: Counter[Place] = Counter()
    for place in places:
        count = _count(resources, place, traces)
        if count:
            rewrite(resources, place, partial(_erased, place, traces))
            removed[place] = count
    return removed


def _erased(place: Place, traces: Traces, rows: pa.Table) -> pa.Table:
    if place.asset == ITEMS:  # an item that names a forgotten URL stays, without it
        named = replace(traces, urls=frozenset(), resources=frozenset())
        return without_urls(without(rows, named.found_in(place.hour, rows)), traces.urls)
    return without(rows, _tells(place, rows, traces))


def _mentioned(resources: Resources, traces: Traces) -> int:
    """How many entries of the index do."""
    return resources.search.mentions(traces.items, traces.urls)


def _erased_from_index(resources: Resources, traces: Traces) -> int:
    """Made anew from the tables: of what is only deleted, traces stay in its files."""
    count = _mentioned(resources, traces)
    if resources.search.exists():
        hours = resources.tables.hours(ENRICHED)
        resources.search.rebuild((hour, resources.tables.read(ENRICHED, hour)) for hour in hours)
    return count


def _ours(resources: Resources, traces: Traces) -> frozenset[str]:
    """The URLs whose copies go: what is forgotten, and what no other item names."""
    named = Traces(urls=traces.sources - traces.urls)
    shared = set()
    if named.urls:
        for place in everywhere(resources):
            for rows in _telling(resources, place, named):
                shared |= named_urls(rows, named.urls)
    return traces.urls | (traces.sources - shared)


def _left(resources: Resources, traces: Traces) -> Counter[str]:
    """What there is of it, everything being read anew."""
    left = count_rows(resources, everywhere(resources), traces)
    with references(resources) as now:
        left["packs with unused bytes"] = len(now.worn(resources.blobs.packs()))
    left["decisions (state)"] = resources.state.count_items(traces.items)
    left["search index"] = _mentioned(resources, traces)
    left["copies by URL"] = len(resources.copies.find(sorted(_ours(resources, traces))))
    return left
