"""A catalogue of any size drawn from a seed, and the feed file that a shop would publish."""

import csv
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Final

from pipeline_assets.sample.codes import Guide
from pipeline_assets.sample.documents import summary, title
from pipeline_assets.sample.drafts import Source, draft
from pipeline_assets.sample.faults import parse_fault

FEED_COLUMNS: Final = (
    "item_id",
    "name",
    "kind",
    "description",
    "document_url",
    "image_url",
    "event_time",
    "priority",
)
DEFAULT_URL: Final = "http://127.0.0.1:8700"
_NO_DESCRIPTION_SHARE: Final = 0.05
_PRIORITY_WEIGHTS: Final = {"interactive": 5, "batch": 80, "background": 15}


@dataclass(frozen=True, slots=True)
class CatalogueItem:
    """One feed row, and the truth about it that no feed tells: category, colour, fault.

    Absent addresses are None. `category` and `colour` are None for a guide, `fault` where the
    shop behaves.
    """

    item_id: str
    name: str
    kind: str
    description: str
    document_url: str | None
    image_url: str | None
    event_time: datetime
    priority: str
    category: str | None
    colour: str | None
    fault: str | None

    def row(self) -> dict[str, str]:
        """Give the feed's columns as text; absent values are empty."""
        return {
            "item_id": self.item_id,
            "name": self.name,
            "kind": self.kind,
            "description": self.description,
            "document_url": self.document_url or "",
            "image_url": self.image_url or "",
            "event_time": self.event_time.isoformat().replace("+00:00", "Z"),
            "priority": self.priority,
        }


def catalogue(
    count: int,
    seed: int,
    hour: datetime,
    *,
    base_url: str = DEFAULT_URL,
    faults: Mapping[str, float] | None = None,
) -> Iterator[CatalogueItem]:
    """Draw `count` items of one hour; the same arguments give the same items.

    `hour` is an aware datetime on the full hour. `faults` maps names such as "404" or "503x3"
    (see faults.py) to shares of the items; a share above zero gives at least one item, so that a
    test can ask for each. Raises ValueError where an argument is wrong, before the first item.
    """
    if count < 0:
        raise ValueError(f"count: {count} is out of range: give 0 or more items")
    if hour.tzinfo is None or hour != hour.replace(minute=0, second=0, microsecond=0):
        raise ValueError(f"hour: {hour} must be a full hour with a time zone, such as 06:00 UTC")
    source = Source(seed, hour.astimezone(UTC))
    plan = _planned_faults(count, source.rng("faults"), faults or {})
    return (_item(index, source, base_url.rstrip("/"), plan.get(index)) for index in range(count))


def write_feed(path: Path, rows: Iterable[CatalogueItem]) -> int:
    """Write items as a CSV feed in UTF-8 and give their number."""
    written = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, FEED_COLUMNS)
        writer.writeheader()
        for item in rows:
            writer.writerow(item.row())
            written += 1
    return written


def _planned_faults(count: int, rng: Random, shares: Mapping[str, float]) -> dict[int, str]:
    """Deal faults to indices; raises ValueError where a name or a share is wrong."""
    names = []
    for name, share in sorted(shares.items()):
        parse_fault(name)
        if not 0 <= share <= 1:
            raise ValueError(f"faults: the share of {name!r} is {share}: give 0 to 1")
        names += [name] * math.ceil(share * count)
    if len(names) > count:
        raise ValueError(f"faults: {len(names)} faulty items do not fit into {count}: ask for less")
    return dict(zip(rng.sample(range(count), len(names)), names, strict=True))


def _item(index: int, source: Source, base_url: str, fault: str | None) -> CatalogueItem:
    rng = source.rng(f"item/{index}")
    drafted = draft(index, source, fault)
    content = drafted.content
    is_guide = isinstance(content, Guide)
    return CatalogueItem(
        item_id=f"{'D' if is_guide else 'P'}-{source.hour:%Y%m%d-%H}-{index:05d}",
        name=title(content),
        kind="document" if is_guide else "product",
        description="" if rng.random() < _NO_DESCRIPTION_SHARE else summary(content),
        document_url=None if drafted.document is None else base_url + drafted.document,
        image_url=None if drafted.image is None else base_url + drafted.image,
        event_time=source.hour + timedelta(seconds=rng.randrange(3600)),
        priority=rng.choices(*zip(*_PRIORITY_WEIGHTS.items(), strict=True))[0],
        category=None if isinstance(content, Guide) else content.category,
        colour=None if isinstance(content, Guide) else content.colour,
        fault=fault,
    )
