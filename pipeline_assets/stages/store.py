"""Store: everything that is known of an item, joined, with a score that explains itself."""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from pipeline_assets.core.contract import TIMESTAMP, list_of
from pipeline_assets.core.quality import Factor, score
from pipeline_assets.core.rows import Made, Outcome, Work
from pipeline_assets.core.stage import Rung, Stage
from pipeline_assets.core.status import Role
from pipeline_assets.ingest.items import MEANINGS as FEED_MEANINGS
from pipeline_assets.stages.embed import MEANINGS as EMBEDDING_MEANINGS

FACTOR_TYPE = pa.struct(
    [
        pa.field("stage", pa.string()),
        pa.field("rung_or_status", pa.string()),
        pa.field("factor", pa.float32()),
        pa.field("reason", pa.string()),
    ]
)

Sources = Mapping[str, tuple[str, ...]]
"""Stages, with the rows that each has for one item."""

SOURCES: Sources = {
    "fetched": tuple(f"fetched.{role}" for role in Role),
    "validated": tuple(f"validated.{role}" for role in Role),
    "extracted_text": ("extracted_text",),
    "image_labels": ("image_labels",),
    "embeddings": ("embeddings",),
}
"""What an item's score is made of, before any stage is added."""

VALUES: tuple[tuple[str, str, pa.DataType], ...] = (
    ("name", "items.name", pa.string()),
    ("kind", "items.kind", pa.string()),
    ("description", "items.description", pa.string()),
    ("document_url", "items.document_url", pa.string()),
    ("image_url", "items.image_url", pa.string()),
    ("event_time", "items.event_time", TIMESTAMP),
    ("priority", "items.priority", pa.string()),
    ("title", "extracted_text.title", pa.string()),
    ("text", "extracted_text.text", pa.string()),
    ("label", "image_labels.label", pa.string()),
    ("label_confidence", "image_labels.confidence", pa.float32()),
    ("embedding", "embeddings.embedding", list_of(pa.float32())),
    ("space", "embeddings.space", pa.string()),
    ("modality", "embeddings.modality", pa.string()),
)
"""(column, upstream field, type): what is taken over as it is."""

MEANINGS = {
    **FEED_MEANINGS,
    **EMBEDDING_MEANINGS,
    "title": "the document's title, where it has one",
    "text": "the document's main text",
    "label": "what the picture shows",
    "label_confidence": "how sure the model is of the label, 0..1",
    "improvable": "whether a stage's row may be better once it is tried again",
    "quality": "the product of the stages' factors, 0..1; null while any stage is pending",
    "quality_factors": "what the quality is made of: stage, rung or status, factor, reason",
}

ROW_FIELDS = ("status", "rung", "quality", "error_kind", "retryable")


def join(sources: Sources, works: Sequence[Work]) -> list[Outcome]:
    """Take the upstream values over, and multiply the stages' factors."""
    return [_joined(sources, work) for work in works]


def _joined(sources: Sources, work: Work) -> Made:
    factors = [_factor(stage, rows, work) for stage, rows in sources.items()]
    improvable = any(work[f"{row}.retryable"] for rows in sources.values() for row in rows)
    explained = [
        {
            "stage": factor.stage,
            "rung_or_status": factor.rung_or_status,
            "factor": factor.factor,
            "reason": factor.reason,
        }
        for factor in factors
    ]
    taken = (work[source] for _name, source, _type in VALUES)
    return Made(
        (*taken, improvable, explained),
        confidence=work["image_labels.confidence"],
        quality=score(factor.factor for factor in factors),
    )


def _factor(stage: str, rows: Sequence[str], work: Work) -> Factor:
    """The stage's share: its worst row for this item."""
    worst = min(rows, key=lambda row: work[f"{row}.quality"])
    return Factor(
        stage,
        work[f"{worst}.rung"] or work[f"{worst}.status"],
        work[f"{worst}.quality"],
        work[f"{worst}.error_kind"],
    )


def stage(added: Sequence[Stage]) -> Stage:
    """The stage that joins the package's stages and those that were added."""
    sources = {**SOURCES, **{each.name: _rows(each) for each in added}}
    return Stage(
        name="enriched_items",
        description="Everything that is known of an item, with its quality and what it is made of.",
        values=(
            *(pa.field(name, kind) for name, _source, kind in VALUES),
            pa.field("improvable", pa.bool_()),
            pa.field("quality_factors", list_of(FACTOR_TYPE)),
        ),
        meanings=MEANINGS,
        required=("name", "kind", "event_time", "improvable", "quality_factors"),
        rungs=(
            Rung(
                name="join",
                factor=1.0,
                call=lambda _resources, works: join(sources, works),
                reads=(
                    *(source for _name, source, _type in VALUES),
                    *(
                        f"{row}.{field}"
                        for rows in sources.values()
                        for row in rows
                        for field in ROW_FIELDS
                    ),
                ),
                producer=lambda _resources: "join/1",
            ),
        ),
        skip_factor=0.0,
        micro_batch=1024,
        group="store",
    )


def _rows(added: Stage) -> tuple[str, ...]:
    if added.per_resource:
        return tuple(f"{added.name}.{role}" for role in Role)
    return (added.name,)


STAGE = stage(())
