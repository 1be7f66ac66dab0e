"""One file a stage: its rungs and its declaration. `STAGES` lists them, upstream first."""

from pipeline_assets.core.stage import Stage
from pipeline_assets.stages import classify_image, embed, extract_text, fetch, store, validate
from pipeline_assets.stages.items import ITEMS

STAGES: tuple[Stage, ...] = (
    fetch.STAGE,
    validate.STAGE,
    extract_text.STAGE,
    classify_image.STAGE,
    embed.STAGE,
    store.STAGE,
)

STRICT_TABLES = frozenset({ITEMS, *(stage.name for stage in STAGES if stage.strict)})
"""The tables whose failed rows keep what depends on them pending."""
