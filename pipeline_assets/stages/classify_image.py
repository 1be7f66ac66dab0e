"""Classify image: which of the configured labels an item's picture shows."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pyarrow as pa

from pipeline_assets.core.agreement import same
from pipeline_assets.core.fingerprint import digest
from pipeline_assets.core.rows import Made, Outcome, Work
from pipeline_assets.core.stage import Rung, Stage
from pipeline_assets.errors import RowError, UpstreamMissing
from pipeline_assets.stages.common import (
    FALLBACK,
    PICTURE_CARRIES,
    PICTURE_FROM,
    PRIMARY,
    Model,
    no_picture,
    picture_of,
    picture_vectors,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline_assets.models.features import Features, Vector
    from pipeline_assets.resources import Resources

PROMPT = "a picture of a {label}"
RULE_WEIGHTS = {"file name": 3, "name": 3, "description": 2, "text": 1}
RULE_CONFIDENCE = 0.6
"""At best: a word in a name is a hint, not a look at the picture."""
TEXT_CHARS = 2000

_WORD = re.compile(r"[^\W\d_]+")


def clip(name: str, factor: float, model: Model, *, accelerated: bool = False) -> Rung:
    """Zero-shot with one of the models."""
    return Rung(
        name=name,
        factor=factor,
        call=lambda resources, works: _zero_shot(resources, model(resources), works),
        reads=("picture",),
        producer=lambda resources: _with_labels(model(resources).producer, resources),
        requires=no_picture,
        recall=lambda resources, works: _recall(resources, model(resources), works),
        accelerated=accelerated,
    )


def rules(resources: Resources, works: Sequence[Work]) -> list[Outcome]:
    """The label that file name, name, description and text name most."""
    return [_by_words(work, resources.settings.labels) for work in works]


def _zero_shot(resources: Resources, features: Features, works: Sequence[Work]) -> list[Outcome]:
    answers = picture_vectors(resources, features, works)
    vectors = [answer for answer in answers if not isinstance(answer, RowError)]
    labelled = iter(_labelled(resources, features, vectors))
    return [answer if isinstance(answer, RowError) else next(labelled) for answer in answers]


def _recall(resources: Resources, features: Features, works: Sequence[Work]) -> list[Made | None]:
    kept = features.kept_pictures(work["picture"] for work in works)
    made = dict(zip(kept, _labelled(resources, features, list(kept.values())), strict=True))
    return [made.get(work["picture"]) for work in works]


def _labelled(resources: Resources, features: Features, vectors: Sequence[Vector]) -> list[Made]:
    """The most likely label of each picture's vector, with its share."""
    if not vectors:
        return []
    labels = resources.settings.labels
    prompts = features.query_vectors([PROMPT.format(label=label) for label in labels])
    shares = features.probabilities(np.stack(vectors), prompts)
    best = shares.argmax(axis=1)
    return [
        Made((labels[label], features.producer), confidence=float(share[label]))
        for share, label in zip(shares, best, strict=True)
    ]


def _by_words(work: Work, labels: Sequence[str]) -> Outcome:
    weights = {label: _weight(label, work) for label in labels}
    best = max(labels, key=lambda label: weights[label])
    if not weights[best]:
        return UpstreamMissing("no label is named in the file name, name, description or text")
    confidence = RULE_CONFIDENCE * weights[best] / sum(weights.values())
    return Made((best, None), confidence=confidence)


def _weight(label: str, work: Work) -> int:
    wanted = _words(label)
    return sum(
        weight
        for source, weight in RULE_WEIGHTS.items()
        if wanted and wanted <= _words(work[source] or "")
    )


def _words(text: str) -> set[str]:
    """Lower-case words without a plural s, so that "Shirts" names the label "shirt"."""
    found = (word.lower() for word in _WORD.findall(text))
    return {word[:-1] if word.endswith("s") and len(word) > 3 else word for word in found}


def _file_name(url: str) -> str:
    """The last part of a URL's path without its ending; nothing where the URL is none."""
    try:
        return PurePosixPath(unquote(urlsplit(url).path)).stem
    except ValueError:
        return ""


def _derived(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "picture": picture_of(fields),
        "file name": _file_name(fields["items.image_url"] or ""),
        "name": fields["items.name"],
        "description": fields["items.description"],
        "text": (fields["extracted_text.text"] or "")[:TEXT_CHARS] or None,
    }


def _with_labels(producer: str, resources: Resources) -> str:
    return f"{producer} labels={digest(resources.settings.labels)}"


STAGE = Stage(
    name="image_labels",
    description="The label of each item's picture, zero-shot, with its confidence.",
    values=(pa.field("label", pa.string()), pa.field("family", pa.string())),
    meanings={
        "label": "what the picture shows: the likeliest of PIPELINE_LABELS",
        "family": "the model that gave the label and must give the embedding; null: any may",
    },
    required=("label",),
    rungs=(
        clip("accelerator_clip", 1.0, PRIMARY, accelerated=True),
        clip("cpu_clip", 0.9, FALLBACK),
        Rung(
            name="rules",
            factor=0.7,
            call=rules,
            reads=tuple(RULE_WEIGHTS),
            producer=lambda resources: _with_labels("rules/1", resources),
        ),
    ),
    skip_factor=0.5,
    workers=1,
    agrees=same("label"),
    carries=PICTURE_CARRIES,
    derive=_derived,
    derives_from=(
        *PICTURE_FROM,
        "items.image_url",
        "items.name",
        "items.description",
        "extracted_text.text",
    ),
    applies=lambda work: work["items.image_url"] is not None,
)
