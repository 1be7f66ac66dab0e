"""Embed: one vector per item, of its picture or, where it declares none, of its text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pipeline_assets.core.contract import list_of
from pipeline_assets.core.rows import Made, Outcome, Work
from pipeline_assets.core.stage import Agreement, Rung, Stage
from pipeline_assets.errors import RowError
from pipeline_assets.stages.common import (
    FALLBACK,
    PICTURE_CARRIES,
    PICTURE_FROM,
    PRIMARY,
    Model,
    picture_of,
    picture_vectors,
)
from pipeline_assets.stages.hashed_text import SPACE as TEXT_HASH_SPACE
from pipeline_assets.stages.hashed_text import hashed_vector
from pipeline_assets.stages.neighbours import agreement as neighbours_agree

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline_assets.models.features import Features, Vector
    from pipeline_assets.resources import Resources

IMAGE, TEXT = "image", "text"
LABEL_FAMILY = "image_labels.family"
MEANINGS = {
    "embedding": "a unit vector",
    "space": "the model that made it; vectors of different spaces are not compared",
    "modality": "what was embedded: image or text",
}


def clip(name: str, factor: float, model: Model, *, accelerated: bool = False) -> Rung:
    """The vector of one of the models."""
    return Rung(
        name=name,
        factor=factor,
        call=lambda resources, works: _embedded(resources, model(resources), works),
        reads=("picture", "text", LABEL_FAMILY),
        producer=lambda resources: model(resources).producer,
        family=lambda resources: model(resources).producer,
        recall=lambda resources, works: _recall(model(resources), works),
        accelerated=accelerated,
    )


def text_hash(_resources: Resources, works: Sequence[Work]) -> list[Outcome]:
    """Hashed words of name, description and text: no model at all."""
    return [Made((hashed_vector(work["all text"]), TEXT_HASH_SPACE, TEXT)) for work in works]


def _embedded(resources: Resources, features: Features, works: Sequence[Work]) -> list[Outcome]:
    with_picture = [work for work in works if work["picture"] is not None]
    found = zip(with_picture, picture_vectors(resources, features, with_picture), strict=True)
    pictures = {work["picture"]: vector for work, vector in found}
    texts = features.texts(work["text"] for work in works if work["picture"] is None)
    vectors = [
        pictures[work["picture"]] if work["picture"] else texts[work["text"]] for work in works
    ]
    return [
        vector if isinstance(vector, RowError) else _made(vector, features, work)
        for work, vector in zip(works, vectors, strict=True)
    ]


def _recall(features: Features, works: Sequence[Work]) -> list[Made | None]:
    pictures = features.kept_pictures({work["picture"] for work in works} - {None})
    texts = features.kept_texts({work["text"] for work in works} - {None})
    kept = [
        pictures.get(work["picture"]) if work["picture"] else texts.get(work["text"])
        for work in works
    ]
    return [
        None if vector is None else _made(vector, features, work)
        for work, vector in zip(works, kept, strict=True)
    ]


def _made(vector: Vector, features: Features, work: Work) -> Made:
    modality = TEXT if work["picture"] is None else IMAGE
    return Made((vector.astype(np.float32), features.producer, modality))


def _derived(fields: Mapping[str, Any]) -> dict[str, Any]:
    parts = (fields[name] for name in ("items.name", "items.description", "extracted_text.text"))
    text = "\n".join(part for part in parts if part)
    picture = picture_of(fields)
    return {"picture": picture, "text": text if picture is None else None, "all text": text}


STAGE = Stage(
    name="embeddings",
    description="One unit vector per item, and the space that it belongs to.",
    values=(
        pa.field("embedding", list_of(pa.float32())),
        pa.field("space", pa.string()),
        pa.field("modality", pa.string()),
    ),
    meanings=MEANINGS,
    required=("embedding", "space", "modality"),
    rungs=(
        clip("accelerator_clip", 1.0, PRIMARY, accelerated=True),
        clip("cpu_clip", 0.8, FALLBACK),
        Rung(
            name="text_hash",
            factor=0.6,
            call=text_hash,
            reads=("all text",),
            producer=lambda _resources: TEXT_HASH_SPACE,
        ),
    ),
    skip_factor=0.4,
    agreement=Agreement(LABEL_FAMILY, "space"),
    carries=PICTURE_CARRIES,
    derive=_derived,
    derives_from=(
        *PICTURE_FROM,
        "items.name",
        "items.description",
        "extracted_text.text",
    ),
    workers=1,
    agrees=neighbours_agree,
)
