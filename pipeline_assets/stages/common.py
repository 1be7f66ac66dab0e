"""What the stages that look at pictures and read names share."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from pipeline_assets.core.fingerprint import tool  # noqa: F401 - earlier stages look for it here
from pipeline_assets.core.stage import CALL_DEADLINE_S
from pipeline_assets.core.status import Status
from pipeline_assets.documents.parsers import WALL_FACTOR
from pipeline_assets.documents.pictures import decode
from pipeline_assets.store.blobs import BlobRef

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from PIL.Image import Image

    from pipeline_assets.core.rows import Work
    from pipeline_assets.errors import RowError
    from pipeline_assets.models.features import Features, Vector
    from pipeline_assets.resources import Resources

IMAGE = "validated.image"
PICTURE_FROM = (f"{IMAGE}.status", f"{IMAGE}.rung", f"{IMAGE}.sha256")
PICTURE_CARRIES = (
    f"{IMAGE}.error",
    "fetched.image.pack",
    "fetched.image.offset",
    "fetched.image.size",
)
WHOLE = "full_decode"
"""The rung of `validated` after which a picture can be decoded."""


Model = Callable[["Resources"], "Features"]
PRIMARY: Model = attrgetter("primary")
FALLBACK: Model = attrgetter("fallback")
"""The two models that stages which embed have a rung of each."""


def parsing_s(resources: Resources, works: Sequence[Work]) -> float:
    """The most seconds that a call may take which has each document parsed, or given up twice."""
    each_s = resources.settings.parse_timeout_s * WALL_FACTOR
    return CALL_DEADLINE_S + 2 * each_s * len(works)


def picture_of(fields: Mapping[str, Any]) -> str | None:
    """The sha256 of an item's picture, if it is there and whole."""
    whole = fields[f"{IMAGE}.status"] == Status.OK and fields[f"{IMAGE}.rung"] == WHOLE
    return fields[f"{IMAGE}.sha256"] if whole else None


def no_picture(work: Work) -> str | None:
    """Why a rung that looks at the picture has nothing to look at."""
    if work["picture"] is not None:
        return None
    return f"there is no whole picture: {work[f'{IMAGE}.error']}"


def picture_vectors(
    resources: Resources, features: Features, works: Sequence[Work]
) -> list[Vector | RowError]:
    """The vector of each work's picture, in order; one pass for each distinct picture."""
    if not works:
        return []
    at_least = features.input_pixels
    load = {work["picture"]: _loader(resources, work, at_least) for work in works}
    vectors = features.pictures(load)
    return [vectors[work["picture"]] for work in works]


def _loader(resources: Resources, work: Work, at_least: int) -> Callable[[], Image]:
    blob = blob_of(work, "fetched.image", work["picture"])
    limit = resources.settings.max_pixels
    return lambda: decode(resources.blobs.read(blob), limit, at_least=at_least)


def blob_of(work: Work, fetched: str, sha256: str) -> BlobRef:
    """Where the bytes lie that the row `fetched` (`fetched` or `fetched.image` …) refers to."""
    return BlobRef(
        pack=work[f"{fetched}.pack"],
        offset=work[f"{fetched}.offset"],
        size=work[f"{fetched}.size"],
        sha256=sha256,
    )
