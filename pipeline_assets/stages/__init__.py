"""One file a stage: its rungs and its declaration. `STAGES` lists them, upstream first."""

from pipeline_assets.core.stage import Stage
from pipeline_assets.stages import classify_image, embed, extract_text, fetch, store, validate

STAGES: tuple[Stage, ...] = (
    fetch.STAGE,
    validate.STAGE,
    extract_text.STAGE,
    classify_image.STAGE,
    embed.STAGE,
    store.STAGE,
)
