"""Validate: are the bytes what they should be? Content is sniffed, never believed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline_assets.core.agreement import same
from pipeline_assets.core.rows import Made, Outcome, Work
from pipeline_assets.core.stage import Rung, Stage
from pipeline_assets.core.status import Role, Status
from pipeline_assets.documents import documents
from pipeline_assets.documents.pictures import decode, open_picture
from pipeline_assets.errors import classify
from pipeline_assets.stages.common import blob_of, parsing_s

if TYPE_CHECKING:
    from pipeline_assets.resources import Resources

CARRIES = ("fetched.pack", "fetched.offset", "fetched.size", "fetched.error")
READS = ("fetched.status", "fetched.rung", "fetched.sha256")

Look = Callable[[bytes, "Resources"], tuple[str, int | None, int | None, int | None]]
"""bytes → (media type, width, height, pages)."""


def full_decode(resources: Resources, works: Sequence[Work]) -> list[Outcome]:
    """Decode every pixel, open every page."""
    return [_looked_at(resources, work, _full_picture, _full_document) for work in works]


def header_only(resources: Resources, works: Sequence[Work]) -> list[Outcome]:
    """Read the header alone: type and size are known, the rest may be damaged."""
    return [_looked_at(resources, work, _picture_header, _document_header) for work in works]


def _looked_at(resources: Resources, work: Work, picture: Look, document: Look) -> Outcome:
    try:
        data = resources.blobs.read(blob_of(work, "fetched", work["fetched.sha256"]))
        look = picture if work["role"] == Role.IMAGE else document
        return Made((*look(data, resources), work["fetched.sha256"]))
    except Exception as error:  # noqa: BLE001 - one bad resource is one bad row
        return classify(error)


def _full_picture(
    data: bytes, resources: Resources
) -> tuple[str, int | None, int | None, int | None]:
    header = _picture_header(data, resources)  # first: what is no picture is not too large
    # Every byte is read at an eighth of the size too, for a fraction of the work.
    decode(data, resources.settings.max_pixels, at_least=1)
    return header


def _picture_header(
    data: bytes, _resources: Resources
) -> tuple[str, int | None, int | None, int | None]:
    picture = open_picture(data, None)
    return f"image/{(picture.format or '').lower()}", picture.width, picture.height, None


def _full_document(
    data: bytes, resources: Resources
) -> tuple[str, int | None, int | None, int | None]:
    media_type = documents.sniff(data)
    pages = resources.parsers.count_pages(data) if media_type == documents.PDF else None
    return media_type, None, None, pages


def _document_header(
    data: bytes, _resources: Resources
) -> tuple[str, int | None, int | None, int | None]:
    return documents.sniff(data), None, None, None


def _not_fetched(work: Work) -> str | None:
    if work["fetched.status"] == Status.OK:
        return None
    return f"the {work['role']} was not fetched: {work['fetched.error']}"


STAGE = Stage(
    name="validated",
    description="What each resource really is: sniffed type, picture size, number of pages.",
    values=(
        pa.field("media_type", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("pages", pa.int32()),
        pa.field("sha256", pa.string()),
    ),
    meanings={
        "media_type": "what the bytes are, whatever the server says",
        "width": "of a picture, in pixels",
        "height": "of a picture, in pixels",
        "pages": "of a document that has pages",
        "sha256": "the hash of the bytes that were looked at",
    },
    required=("media_type", "sha256"),
    rungs=tuple(
        Rung(
            name=name,
            factor=factor,
            call=call,
            reads=READS,
            producer=lambda resources: f"validate/2 max_pixels={resources.settings.max_pixels}",
            deadline_s=parsing_s,
            requires=_not_fetched,
        )
        for name, factor, call in (
            ("full_decode", 1.0, full_decode),
            ("header_only", 0.9, header_only),
        )
    ),
    skip_factor=0.5,
    carries=CARRIES,
    applies=lambda work: work["fetched.status"] != Status.NOT_APPLICABLE,
    per_resource=True,
    agrees=same("media_type", "width", "height"),
    group="ingest",
)
