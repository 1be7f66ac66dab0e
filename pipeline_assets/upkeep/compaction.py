"""Packs without what nobody refers to: what is used moves into a new pack, and the old one goes.

Durable first, referred to second: the new pack, the copies by URL, the rows, and last the removal.
A fetch that finds bytes by their copy makes a reference to an old pack for as long as it runs, so
nothing is moved or removed under one. Killed at any time, what is left is done by the next one.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from pipeline_assets.errors import RowError
from pipeline_assets.store.blobs import BlobRef
from pipeline_assets.upkeep.references import FETCHED, references
from pipeline_assets.upkeep.rewriting import rewrite

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from datetime import datetime

    from pipeline_assets.resources import Resources
    from pipeline_assets.store.blobs import Blobs
    from pipeline_assets.store.storage import Stored
    from pipeline_assets.upkeep.references import References, Worn

    Moved = Mapping[BlobRef, BlobRef]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Compacted:
    """What became of copies that are too old, and of packs with unused bytes.

    A pack that was `rewritten` has been replaced by another; `unreadable` ones are damaged, and
    stay as they are. `freed_bytes` are those of the packs that are removed.
    """

    copies: int = 0
    removed: tuple[str, ...] = ()
    rewritten: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    freed_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Rules:
    """What goes: copies that no row refers to from before a time, and packs.

    A pack is rewritten when at least a share of it is unused. The old one goes the next time, when
    nobody reads from it any more, or `at_once`: then whoever is about to fails, and heals.
    """

    copies_before: datetime | None = None
    least_unused: float = 0.0
    at_once: bool = False


def look(resources: Resources, rules: Rules) -> Compacted:
    """What `compact` would do."""
    packs = resources.blobs.packs()
    with references(resources) as found:
        outlived, worn, used = _to_go(found, packs, rules)
    unused = sorted(worn.keys() - used.keys())
    freed = sum(each.bytes - each.used_bytes for each in worn.values())
    return Compacted(len(outlived), tuple(unused), tuple(sorted(used)), (), freed)


def compact(resources: Resources, rules: Rules) -> Compacted:
    """Remove the packs that nothing refers to, and rewrite those of which a share is unused.

    Raises `LeaseHeld` while a fetch runs, `StorageError`.
    """
    packs = resources.blobs.packs()
    resources.leases.check_free(FETCHED)
    with references(resources) as found:
        outlived, worn, used = _to_go(found, packs, rules)
        resources.copies.drop_keys(outlived)
        gone = worn.keys() - used.keys()
        if outlived:
            gone = _still_unused(resources, gone)
        resources.blobs.remove(gone)
        moved, unreadable = _moved(resources.blobs, used)
        rewritten = {ref.pack for ref in moved}
        _refer_to(resources, moved, found, rewritten)
    if rules.at_once and rewritten:
        with references(resources) as now:
            free = rewritten - now.used(list(rewritten)).keys()
        resources.blobs.remove(free)
        gone |= free
    freed = sum(worn[pack].bytes - worn[pack].used_bytes for pack in gone)
    return Compacted(
        len(outlived), tuple(sorted(gone)), tuple(sorted(rewritten)), tuple(unreadable), freed
    )


def _still_unused(resources: Resources, packs: Collection[str]) -> set[str]:
    """Those that no fetch has found by a copy before it was dropped. Raises `LeaseHeld`."""
    # From here on no fetch finds them so. One that began meanwhile may have, and may be done.
    resources.leases.check_free(FETCHED)
    with references(resources) as now:
        return set(packs) - now.used(list(packs)).keys()


def _to_go(
    found: References, packs: Mapping[str, Stored], rules: Rules
) -> tuple[list[str], dict[str, Worn], dict[str, list[BlobRef]]]:
    """Copies that are too old, packs with unused bytes, and what of these is used."""
    outlived = []
    if rules.copies_before is not None:
        outlived = found.outlived(rules.copies_before.timestamp())
        found.drop(outlived)
    worn = {
        pack: each
        for pack, each in found.worn(packs).items()
        if not each.used_bytes or each.unused_share >= rules.least_unused
    }
    return outlived, worn, found.used(list(worn))


def _moved(
    blobs: Blobs, used: Mapping[str, list[BlobRef]]
) -> tuple[dict[BlobRef, BlobRef], list[str]]:
    """Where each reference is to go from now on, and the packs that cannot be read."""
    moved: dict[BlobRef, BlobRef] = {}
    unreadable = []
    for name, refs in used.items():
        try:
            with blobs.pack() as pack:
                new = {ref: pack.add(blobs.read(ref), ref.sha256) for ref in refs}
        except RowError as error:
            log.warning("the pack %s stays as it is: %s", name, error)
            unreadable.append(name)
        else:
            moved.update(new)
    return moved, unreadable


def _refer_to(resources: Resources, moved: Moved, found: References, old: set[str]) -> None:
    if not moved:
        return
    resources.copies.move(moved)
    # From here on no fetch learns of an old pack. One that began meanwhile may have.
    resources.leases.check_free(FETCHED)
    for place in found.places(list(old)):
        rewrite(resources, place, lambda rows: relocated(rows, moved))


def relocated(rows: pa.Table, moved: Moved) -> pa.Table:
    """The rows with the new places of their bytes; the same rows where none has moved."""
    packs = pa.array(sorted({ref.pack for ref in moved}), pa.string())
    if not pc.any(pc.is_in(rows["pack"], packs)).as_py():
        return rows
    places = _places(rows.select(["pack", "offset", "size", "sha256"]).to_pylist())
    new = [moved.get(place, place) if place else None for place in places]
    for name in ("pack", "offset"):
        at = rows.schema.get_field_index(name)
        field = rows.schema.field(at)
        values = [None if place is None else getattr(place, name) for place in new]
        rows = rows.set_column(at, field, pa.array(values, field.type))
    return rows


def _places(rows: Iterable[Mapping[str, object]]) -> list[BlobRef | None]:
    return [BlobRef(**row) if row["pack"] is not None else None for row in rows]  # type: ignore[arg-type]
