"""Extract text: title and main text of an item's document, and what it says of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline_assets.core.agreement import same_words
from pipeline_assets.core.contract import TIMESTAMP
from pipeline_assets.core.fingerprint import tool
from pipeline_assets.core.rows import Made, Outcome, Work
from pipeline_assets.core.stage import Rung, Stage
from pipeline_assets.core.status import Status
from pipeline_assets.errors import classify
from pipeline_assets.stages.common import blob_of, parsing_s

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pipeline_assets.documents.documents import Document
    from pipeline_assets.resources import Resources

DOCUMENT = "validated.document"
READS = (f"{DOCUMENT}.status", f"{DOCUMENT}.rung", f"{DOCUMENT}.sha256")
PACKAGES = ("trafilatura", "pypdfium2", "py3langid", "charset-normalizer")
CARRIES = (
    f"{DOCUMENT}.error",
    "fetched.document.pack",
    "fetched.document.offset",
    "fetched.document.size",
)


def structured(resources: Resources, works: Sequence[Work]) -> list[Outcome]:
    """Main text by the document's own structure: trafilatura for pages, pdfium for PDFs."""
    return [_extracted(resources, work, resources.parsers.structured) for work in works]


def plain(resources: Resources, works: Sequence[Work]) -> list[Outcome]:
    """Tags stripped, or a PDF's drawn strings."""
    return [_extracted(resources, work, resources.parsers.plain) for work in works]


def _extracted(resources: Resources, work: Work, extract: Callable[[bytes], Document]) -> Outcome:
    try:
        blob = blob_of(work, "fetched.document", work[f"{DOCUMENT}.sha256"])
        document = extract(resources.blobs.read(blob))
    except Exception as error:  # noqa: BLE001 - one bad document is one bad row
        return classify(error)
    return Made(
        (
            document.title,
            document.text,
            document.language,
            document.encoding,
            document.published,
            document.pages,
        )
    )


def _limits(resources: Resources) -> str:
    settings = resources.settings
    return f"{settings.parse_timeout_s} {settings.parse_memory_bytes}"


def _no_document(work: Work) -> str | None:
    if work[f"{DOCUMENT}.status"] == Status.OK:
        return None
    return f"there is no valid document: {work[f'{DOCUMENT}.error']}"


STAGE = Stage(
    name="extracted_text",
    description="Title and main text of each item's document, and what it says of itself.",
    values=(
        pa.field("title", pa.string()),
        pa.field("text", pa.string()),
        pa.field("language", pa.string()),
        pa.field("encoding", pa.string()),
        pa.field("published_at", TIMESTAMP),
        pa.field("pages", pa.int32()),
    ),
    meanings={
        "title": "the document's title, where it has one",
        "text": "its main text, without navigation and boilerplate",
        "language": "in ISO 639, as a page declares it, else as its words tell, where they do",
        "encoding": "how the bytes of a page or text were read",
        "published_at": "when it was published, as it says itself; of a PDF, when it was made",
        "pages": "of a PDF",
    },
    required=("text",),
    rungs=(
        Rung(
            name="structured",
            factor=1.0,
            call=structured,
            reads=READS,
            producer=lambda _resources: f"structured/2 {tool(*PACKAGES)}",
            deadline_s=parsing_s,
            requires=_no_document,
        ),
        Rung(
            name="plain",
            factor=0.9,
            call=plain,
            reads=READS,
            producer=lambda _resources: "plain/2",
            deadline_s=parsing_s,
            requires=_no_document,
        ),
    ),
    skip_factor=0.8,
    carries=CARRIES,
    applies=lambda work: work[f"{DOCUMENT}.status"] != Status.NOT_APPLICABLE,
    conditions=_limits,
    micro_batch=64,
    agrees=same_words("text"),
)
