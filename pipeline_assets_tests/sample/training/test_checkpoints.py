"""The two shipped checkpoints, on drawings that training never saw."""

import gzip
import json
from functools import cache

import open_clip
import pytest

from pipeline_assets.models.clip import SHIPPED_MODELS, ClipModel, load_clip
from pipeline_assets.sample.training.checkpoint import CONFIG_FILE, MERGES_FILE, VOCABULARY
from pipeline_assets.sample.training.dataset import unseen_pairs, unseen_seeds
from pipeline_assets.sample.training.measure import category_accuracy, embed
from pipeline_assets.sample.training.train import PLANS
from pipeline_assets_tests import REPOSITORY

MAX_BYTES = 6_000_000
FRESH_SEED = 20_260_302  # other drawings than those that the model card was measured on
NAMES = sorted(SHIPPED_MODELS)


@cache
def loaded(name: str) -> ClipModel:
    """Load a shipped model once."""
    return load_clip(name, "cpu", setting="PIPELINE_PRIMARY_MODEL")


@cache
def accuracy(name: str) -> float:
    """Measure category accuracy on 240 fresh drawings of known pairs."""
    subjects = unseen_seeds(240, FRESH_SEED)
    return category_accuracy(loaded(name), subjects, embed(loaded(name), subjects))


def test_the_primary_knows_the_categories() -> None:
    """At least nine of ten drawings are named rightly."""
    assert accuracy("sample-primary") > 0.9


def test_the_fallback_is_useful_and_measurably_worse() -> None:
    """Falling back costs something real."""
    assert 0.75 < accuracy("sample-fallback") < accuracy("sample-primary") - 0.02


def test_the_primary_names_most_pairs_that_it_never_saw() -> None:
    """A category is recognised in a colour that training never showed it in."""
    model, subjects = loaded("sample-primary"), unseen_pairs(120, FRESH_SEED)
    assert category_accuracy(model, subjects, embed(model, subjects)) > 0.75


@pytest.mark.parametrize("name", NAMES)
def test_a_search_for_colour_and_category_finds_them(name: str) -> None:
    """The best of many drawings for "red shirt" and its like is what was asked for."""
    model, subjects = loaded(name), unseen_seeds(240, FRESH_SEED)
    vectors = embed(model, subjects)
    asked = sorted({(one.category, one.colour) for one in subjects})
    texts = model.encode_texts([f"{colour} {category}" for category, colour in asked])
    best = (texts @ vectors.T).argmax(1)
    found = [(subjects[i].category, subjects[i].colour) for i in best]
    right = sum(f == a for f, a in zip(found, asked, strict=True))
    assert right / len(asked) > 0.6


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_is_small_and_has_all_its_parts(name: str) -> None:
    """Configuration, weights and merges, with no newline that would shift the vocabulary."""
    folder = SHIPPED_MODELS[name]
    assert sum(file.stat().st_size for file in folder.iterdir()) <= MAX_BYTES
    merges = gzip.decompress((folder / MERGES_FILE).read_bytes())
    assert not merges.endswith(b"\n")
    config = json.loads((folder / CONFIG_FILE).read_text())
    assert config == PLANS[name.removeprefix("sample-")].architecture.config()


@pytest.mark.parametrize("name", NAMES)
def test_open_clip_loads_a_checkpoint_without_our_help(name: str) -> None:
    """With its own preprocessing; only the merges need their full path."""
    folder = SHIPPED_MODELS[name]
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    assert model.visual.preprocess_cfg["mean"] == [0.5, 0.5, 0.5]
    assert model.visual.preprocess_cfg["resize_mode"] == "squash"
    merges = str(folder / MERGES_FILE)
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}", bpe_path=merges)
    assert tokenizer.vocab_size == VOCABULARY


@pytest.mark.parametrize("name", NAMES)
def test_the_metrics_beside_the_weights_are_complete(name: str) -> None:
    """The figures of the model card can be read by a program."""
    metrics = json.loads((SHIPPED_MODELS[name] / "metrics.json").read_text())
    plan = PLANS[name.removeprefix("sample-")]
    assert metrics["drawings"] == plan.drawings
    assert metrics["training_seconds"] > 0
    assert metrics["parameters"] > 100_000
    assert 0 < metrics["category_unseen_pairs"] <= metrics["category_unseen_seeds"] <= 1


def test_the_notice_names_each_shipped_vocabulary_and_its_licence() -> None:
    """It is cut from another work, whose licence must come with it."""
    notice = (REPOSITORY / "NOTICE").read_text()
    merges = list((REPOSITORY / "pipeline_assets" / "models").rglob(MERGES_FILE))
    assert len(merges) == len(NAMES)
    assert all(str(path.relative_to(REPOSITORY)) in notice for path in merges)
    assert "open_clip is under the MIT License" in notice
    assert "Copyright (c) 2012-2021 Gabriel Ilharco" in notice
