"""One item: the rows of each stage, and its picture, small and made anew."""

import io
import threading
from collections import OrderedDict
from typing import Any

from pipeline_assets.commands.show import show
from pipeline_assets.core.names import ENRICHED
from pipeline_assets.core.status import Role, Status
from pipeline_assets.errors import RowError
from pipeline_assets.resources import Resources
from pipeline_assets.search import IndexDamaged
from pipeline_assets.serve.answers import FactorOut, Item
from pipeline_assets.serve.errors import NoItem
from pipeline_assets.stages import stage_tables
from pipeline_assets.stages.common import WHOLE
from pipeline_assets.store.blobs import BlobRef

KEPT_PICTURES = 4096
"""Of some 5 KB each."""

SMALL, LARGE = 160, 480
"""Pixels of the longer side: beside a hit, and on the item's page."""

JPEG_QUALITY = 80


def item(resources: Resources, item_id: str) -> Item:
    """What is known of an item in the hour that it is current in. Raises `NoItem`."""
    hour = _current_hour(resources, item_id)
    if hour is None:
        found = show(resources, item_id)
        if found is None:
            raise NoItem(item_id)
        hour = str(found["hour"])
    stages = {
        name: _rows(resources, name, hour, item_id)
        for name in stage_tables(resources.settings)
        if resources.tables.exists(name, hour)
    }
    whole = (stages.get(ENRICHED) or [{}])[0]
    factors = [FactorOut(**factor) for factor in whole.get("quality_factors") or ()]
    return Item(
        item_id=item_id,
        hour=hour,
        quality=whole.get("quality"),
        quality_factors=factors,
        stages=stages,
    )


def _current_hour(resources: Resources, item_id: str) -> str | None:
    """Known to the index; without one every hour is looked through."""
    try:
        return resources.search.current_hours([item_id]).get(item_id)
    except IndexDamaged:
        return None


def _rows(resources: Resources, stage: str, hour: str, item_id: str) -> list[dict[str, Any]]:
    found = resources.tables.read(stage, hour, items=(item_id, item_id)).to_pylist()
    return [
        row | {"embedding": f"{len(row['embedding'])} numbers"} if row.get("embedding") else row
        for row in found
    ]


class Thumbnails:
    """Small JPEGs by the hash of the picture; never a stranger's bytes. For any number of threads.

    Decoded by us and encoded anew, a picture carries neither metadata nor what another decoder
    might stumble over.
    """

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, int], bytes] = OrderedDict()

    def find(self, item_id: str, hour: str) -> BlobRef | None:
        """Where the whole picture of an item lies; None where there is none."""
        tables, items = self._resources.tables, (item_id, item_id)
        try:
            validated = tables.read("validated", hour, ["role", "status", "rung", "sha256"], items)
            fetched = tables.read(
                "fetched", hour, ["role", "sha256", "pack", "offset", "size"], items
            )
        except FileNotFoundError:
            return None
        whole = [
            row["sha256"]
            for row in validated.to_pylist()
            if (row["role"], row["status"], row["rung"]) == (Role.IMAGE, Status.OK, WHOLE)
        ]
        places = (row for row in fetched.to_pylist() if row["sha256"] in whole and row["pack"])
        return next(
            (
                BlobRef(row["pack"], row["offset"], row["size"], row["sha256"])
                for row in places
                if row["role"] == Role.IMAGE
            ),
            None,
        )

    def jpeg(self, blob: BlobRef, pixels: int) -> bytes | None:
        """The picture with no side over `pixels`; None where it cannot be read any more."""
        key = blob.sha256, pixels
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        try:
            made = self._made(blob, pixels)
        except RowError:
            return None
        with self._lock:
            self._kept[key] = made
            while len(self._kept) > KEPT_PICTURES:
                self._kept.popitem(last=False)
        return made

    def _made(self, blob: BlobRef, pixels: int) -> bytes:
        from pipeline_assets.documents.pictures import decode  # noqa: PLC0415 - loads Pillow

        data = self._resources.blobs.read(blob)
        picture = decode(data, self._resources.settings.max_pixels, at_least=pixels)
        picture.thumbnail((pixels, pixels))
        encoded = io.BytesIO()
        picture.save(encoded, "JPEG", quality=JPEG_QUALITY, optimize=True)
        return encoded.getvalue()
