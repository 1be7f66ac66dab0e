"""Retention: what is old enough goes, by the settings PIPELINE_KEEP_….

Rows of items that have a newer row in a later hour, finished micro-batches that no run came back
for, copies of URLs that no row refers to, and the bytes that are left over by all that.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from pipeline_assets.core.names import DECISIONS, ENRICHED, ITEMS
from pipeline_assets.errors import LeaseHeld
from pipeline_assets.state.leases import FORGETTING
from pipeline_assets.store.checkpoints import Checkpoints, shard_tables
from pipeline_assets.store.queries import queries
from pipeline_assets.store.tables import WHOLE
from pipeline_assets.upkeep.compaction import Compacted, Rules, compact, look
from pipeline_assets.upkeep.forgetting import count_rows, erase_rows, everywhere
from pipeline_assets.upkeep.leftovers import remove_leftovers
from pipeline_assets.upkeep.rewriting import (
    Place,
    place_of,
    shard_names,
)
from pipeline_assets.upkeep.traces import Traces

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime, timedelta

    from pipeline_assets.resources import Resources

LEAST_UNUSED: Final = 0.2
"""Of a pack, before it is rewritten: with less, a catalogue of which one picture in a hundred
changes in an hour would be written anew every day."""

SUPERSEDED = """
    SELECT hour, item_id FROM (
        SELECT hour, item_id, lead(event_time) OVER (
            PARTITION BY item_id ORDER BY event_time, hour
        ) AS superseded_at
        FROM read_parquet($files, hive_partitioning = true, hive_types_autocast = false)
    )
    WHERE superseded_at < $before ORDER BY hour
"""


@dataclass(slots=True)
class Retained:
    """What went, or would go: superseded rows by table, rows of work, copies, packs, leftovers.

    `waits` says what is left for the next time, since a run is at it.
    """

    superseded: Counter[str] = field(default_factory=Counter)
    work_rows: int = 0
    work_bytes: int = 0
    packs: Compacted = field(default_factory=Compacted)
    leftovers: int = 0
    waits: list[str] = field(default_factory=list)


def retain(resources: Resources, *, dry_run: bool = False) -> Retained:
    """Let go what is old enough, or only look. What a run is at waits for the next time.

    Raises `LeaseHeld` while another one is at it, or something is being forgotten.
    """
    done = Retained()
    if dry_run:
        _superseded(resources, done, dry_run=True)
        _work(resources, done, dry_run=True)
        done.packs = look(resources, _rules(resources))
        return done
    with resources.leases.acquire(f"{FORGETTING}/{WHOLE}"):
        _superseded(resources, done)
        _work(resources, done)
        try:
            done.packs = compact(resources, _rules(resources))
        except LeaseHeld as held:
            done.waits.append(str(held))
        done.leftovers = remove_leftovers(resources)
    return done


def figures(done: Retained) -> dict[str, Any]:
    """What a retention came to, in numbers."""
    return {
        "superseded_rows": dict(done.superseded),
        "work_rows": done.work_rows,
        "work_bytes": done.work_bytes,
        "copies": done.packs.copies,
        "packs_removed": len(done.packs.removed),
        "packs_rewritten": len(done.packs.rewritten),
        "packs_unreadable": list(done.packs.unreadable),
        "pack_bytes": done.packs.freed_bytes,
        "leftovers": done.leftovers,
        "waits": done.waits,
    }


def _rules(resources: Resources) -> Rules:
    return Rules(_before(resources, resources.settings.keep_copies), LEAST_UNUSED)


def _before(resources: Resources, keep: timedelta) -> datetime:
    return resources.clock() - keep


def _superseded(resources: Resources, done: Retained, *, dry_run: bool = False) -> None:
    keep = resources.settings.keep_superseded
    if keep is None:
        return
    there_are = everywhere(resources)
    for hour, items in superseded(resources, _before(resources, keep)).items():
        traces = Traces(items)
        places = [each for each in there_are if _goes(each, hour)]
        if dry_run:
            done.superseded.update(count_rows(resources, places, traces))
            continue
        try:
            for place, rows in erase_rows(resources, places, traces).items():
                done.superseded[place.asset] += rows
        except LeaseHeld as held:
            done.waits.append(str(held))
        if resources.tables.exists(ENRICHED, hour) and resources.search.exists():
            resources.search.replace_hour(hour, resources.tables.read(ENRICHED, hour))


def _goes(place: Place, hour: str) -> bool:
    """What people decided stays in the database, and so beside the tables."""
    return place.hour == hour and place.asset != DECISIONS


def superseded(resources: Resources, before: datetime) -> Mapping[str, frozenset[str]]:
    """The items of each hour that got a newer row, in a later hour, before a time."""
    tables = resources.tables
    files = [tables.url(ITEMS, hour) for hour in tables.hours(ITEMS)]
    found: dict[str, set[str]] = defaultdict(set)
    if not files:
        return {}
    with queries(resources.storage, resources.work) as connection:
        rows = connection.execute(SUPERSEDED, {"files": files, "before": before})
        for hour, item in rows.fetchall():
            found[hour].add(item)
    return {hour: frozenset(items) for hour, items in found.items()}


def _work(resources: Resources, done: Retained, *, dry_run: bool = False) -> None:
    """Where no shard is younger: a run may be going on from the older ones."""
    before = _before(resources, resources.settings.keep_work)
    for place, (modified_at, size) in _ages(resources):
        if modified_at >= before:
            continue
        rows = sum(
            table.num_rows for table in shard_tables(resources.shards, place.asset, place.hour)
        )
        try:
            if not dry_run:
                _remove_work(resources, place)
        except LeaseHeld as held:
            done.waits.append(str(held))
        else:
            done.work_rows += rows
            done.work_bytes += size


def _ages(resources: Resources) -> Iterator[tuple[Place, tuple[datetime, int]]]:
    """When the last shard of each place was written, and how many bytes there are."""
    found = sorted(shard_names(resources).items(), key=lambda each: place_of(each[0]))
    for place, group in groupby(found, key=lambda each: place_of(each[0])):
        of_place = [stored for _name, stored in group]
        yield (
            place,
            (max(each.modified_at for each in of_place), sum(each.bytes for each in of_place)),
        )


def _remove_work(resources: Resources, place: Place) -> None:
    with (
        resources.leases.acquire(f"{place.asset}/{place.hour}") as lease,
        lease.publishing(),
    ):
        base = resources.tables.version(place.asset, place.hour)
        Checkpoints(resources.shards, place.asset, place.hour, base=base).clear()
