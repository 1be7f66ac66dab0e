"""One file a stage: its rungs and its declaration. `STAGES` lists them, upstream first."""

from functools import lru_cache

from pipeline_assets.core.names import ITEMS
from pipeline_assets.core.stage import Stage
from pipeline_assets.settings import Settings
from pipeline_assets.stages import classify_image, embed, extract_text, fetch, store, validate
from pipeline_assets.stages.added import added_stages

STAGES: tuple[Stage, ...] = (
    fetch.STAGE,
    validate.STAGE,
    extract_text.STAGE,
    classify_image.STAGE,
    embed.STAGE,
    store.STAGE,
)


def all_stages(settings: Settings) -> tuple[Stage, ...]:
    """The stages of the package and those that PIPELINE_STAGES names, upstream first.

    Raises `SettingsError` for a module that has no stage of this pipeline.
    """
    return _with_added(settings.stages)


@lru_cache
def _with_added(modules: tuple[str, ...]) -> tuple[Stage, ...]:
    if not modules:
        return STAGES
    before = STAGES[:-1]
    added = added_stages(modules, before)
    return (*before, *added, store.stage(added))


def find_stage(settings: Settings, name: str) -> Stage:
    """The stage of this name. Raises `KeyError` where there is none."""
    return {stage.name: stage for stage in all_stages(settings)}[name]


def stage_tables(settings: Settings) -> tuple[str, ...]:
    """The tables that tell of an item, upstream first: from `items` to `enriched_items`."""
    return (ITEMS, *(stage.name for stage in all_stages(settings)))


def within_reach(settings: Settings) -> dict[str, tuple[str, ...]]:
    """The stages that have an accelerated rung, each with its rungs down to the best of those.

    A row that was made below them, or not at all, is what the accelerator could make better.
    """
    reach = {}
    for stage in all_stages(settings):
        accelerated = [at for at, rung in enumerate(stage.rungs) if rung.accelerated]
        if accelerated:
            down_to = min(accelerated) + 1
            reach[stage.name] = tuple(rung.name for rung in stage.rungs[:down_to])
    return reach


def accelerated_rungs(settings: Settings) -> tuple[str, ...]:
    """The breakers that are back when the accelerator is."""
    return tuple(
        f"{stage.name}.{rung.name}"
        for stage in all_stages(settings)
        for rung in stage.rungs
        if rung.accelerated
    )


def strict_tables(settings: Settings) -> frozenset[str]:
    """The tables whose failed rows keep what depends on them pending."""
    return frozenset({ITEMS, *(stage.name for stage in all_stages(settings) if stage.strict)})
