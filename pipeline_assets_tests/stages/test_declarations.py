"""The chains are a contract: names, order and factors as the design's table has them."""

import pytest

from pipeline_assets.core.contract import CONTRACT_NAMES
from pipeline_assets.core.stage import Stage
from pipeline_assets.errors import ErrorKind
from pipeline_assets.stages import STAGES

CHAINS = {
    "fetched": ([("http", 1.0), ("last_good_copy", 0.95)], 0.5),
    "validated": ([("full_decode", 1.0), ("header_only", 0.9)], 0.5),
    "extracted_text": ([("structured", 1.0), ("plain", 0.9)], 0.8),
    "image_labels": ([("accelerator_clip", 1.0), ("cpu_clip", 0.9), ("rules", 0.7)], 0.5),
    "embeddings": ([("accelerator_clip", 1.0), ("cpu_clip", 0.8), ("text_hash", 0.6)], 0.4),
    "enriched_items": ([("join", 1.0)], 0.0),
}
every_stage = pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)


def test_names_rungs_and_factors_are_those_of_the_design() -> None:
    """In this order, upstream first."""
    declared = {
        stage.name: ([(rung.name, rung.factor) for rung in stage.rungs], stage.skip_factor)
        for stage in STAGES
    }
    assert declared == CHAINS
    assert list(declared) == list(CHAINS)


@every_stage
def test_every_table_ends_with_the_contracts_columns(stage: Stage) -> None:
    """After the key and the stage's own values, typed, whatever the rows."""
    names = stage.schema.names
    assert tuple(names[-len(CONTRACT_NAMES) :]) == CONTRACT_NAMES
    assert names[0] == "item_id"
    assert ("role" in names[:2]) is (stage.name in ("fetched", "validated"))


@every_stage
def test_an_opt_out_never_falls_through(stage: Stage) -> None:
    """Nor does a safety rule of ours."""
    for rung in stage.rungs:
        assert not {ErrorKind.FORBIDDEN, ErrorKind.BLOCKED} & rung.falls_through


@every_stage
def test_a_stage_reads_only_what_comes_before_it(stage: Stage) -> None:
    """The order of `STAGES` is an order of work."""
    before = {"items", *(each.name for each in STAGES[: STAGES.index(stage)])}
    assert set(stage.upstream) <= before


def test_just_the_large_models_rungs_come_back_with_the_accelerator() -> None:
    """The others never left."""
    accelerated = [(s.name, r.name) for s in STAGES for r in s.rungs if r.accelerated]
    assert accelerated == [
        ("image_labels", "accelerator_clip"),
        ("embeddings", "accelerator_clip"),
    ]
