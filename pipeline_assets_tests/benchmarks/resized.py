"""A stage that brings pictures to a model's input, as the CLIP rungs do before they call theirs."""

import zlib
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from PIL import Image, ImageOps

from pipeline_assets.core.rows import Made, Outcome, Work
from pipeline_assets.core.stage import Rung, Stage
from pipeline_assets.documents.pictures import decode
from pipeline_assets.stages.common import (
    PICTURE_CARRIES,
    PICTURE_FROM,
    blob_of,
    no_picture,
    picture_of,
)

SIDE = 224
"""What nearly all CLIP models look at."""


def resized(resources: Any, works: Sequence[Work]) -> list[Outcome]:
    """Decode what is needed of the pixels, scale the short side and crop the long one."""
    return [Made((zlib.crc32(_pixels(resources, work)),)) for work in works]


def _pixels(resources: Any, work: Work) -> bytes:
    data = resources.blobs.read(blob_of(work, "fetched.image", work["picture"]))
    picture = decode(data, resources.settings.max_pixels, at_least=SIDE)
    return ImageOps.fit(picture, (SIDE, SIDE), Image.Resampling.BICUBIC).tobytes()


STAGE = Stage(
    name="resized",
    description="Pictures at a model's size.",
    values=(pa.field("crc32", pa.int64()),),
    required=("crc32",),
    rungs=(
        Rung(
            name="resized",
            factor=1.0,
            call=resized,
            reads=("picture",),
            producer=lambda _resources: f"resized/1 side={SIDE}",
            requires=no_picture,
        ),
    ),
    skip_factor=0.5,
    derive=lambda fields: {"picture": picture_of(fields)},
    derives_from=PICTURE_FROM,
    carries=PICTURE_CARRIES,
)
