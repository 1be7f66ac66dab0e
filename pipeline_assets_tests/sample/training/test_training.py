"""How the checkpoints are made."""

from pathlib import Path
from random import Random

import pytest

from pipeline_assets.models.clip import load_clip
from pipeline_assets.sample.drawing import COLOURS, SAMPLE_LABELS, Subject
from pipeline_assets.sample.training import dataset
from pipeline_assets.sample.training.captions import Caption, caption, is_true_of
from pipeline_assets.sample.training.checkpoint import Architecture
from pipeline_assets.sample.training.train import Phase, Plan, train

PHASES = (Phase(1, 1e-3, 0.0), Phase(2, 1e-3, 0.5))
TINY = Plan(Architecture(16, 2, 16, 2, 1), drawings=32, phases=PHASES, batch=16)


def test_held_out_drawings_are_never_trained_on() -> None:
    """Neither their seeds nor, for the pairs, their combination of colour and category."""
    trained = dataset.training_subjects(3000, 7)
    pairs = {(one.category, one.colour) for one in trained}
    assert pairs.isdisjoint(dataset.HELD_OUT_PAIRS)
    assert max(one.seed for one in trained) < dataset.FIRST_HELD_OUT_SEED
    seeds, unseen = dataset.unseen_seeds(500, 1), dataset.unseen_pairs(500, 1)
    assert min(one.seed for one in (*seeds, *unseen)) >= dataset.FIRST_HELD_OUT_SEED
    assert {(one.category, one.colour) for one in seeds} <= pairs
    assert {(one.category, one.colour) for one in unseen} <= dataset.HELD_OUT_PAIRS


def test_each_category_and_each_colour_is_held_out_once() -> None:
    """The measure weighs all of them alike."""
    categories, colours = zip(*dataset.HELD_OUT_PAIRS, strict=True)
    assert sorted(categories) == sorted(SAMPLE_LABELS)
    assert sorted(colours) == sorted(COLOURS)


def test_captions_are_varied_and_true() -> None:
    """The prompts and queries that the stages use are among them."""
    subject, rng = Subject("shirt", "red", 1), Random(1)
    written = {caption(subject, rng) for _ in range(3000)}
    assert all(is_true_of(one, subject) for one in written)
    texts = {one.text for one in written}
    assert {"a picture of a shirt", "red shirt", "red cotton shirt", "a photo of a shirt"} <= texts


@pytest.mark.parametrize(
    ("claim", "holds"),
    [
        (Caption("a shirt", "shirt", None), True),
        (Caption("red", None, "red"), True),
        (Caption("red shirt", "shirt", "red"), True),
        (Caption("blue shirt", "shirt", "blue"), False),
        (Caption("red hat", "hat", "red"), False),
    ],
)
def test_a_caption_is_true_where_its_claims_hold(claim: Caption, holds: bool) -> None:
    """What a caption leaves open does not count against it."""
    assert is_true_of(claim, Subject("shirt", "red", 1)) is holds


def test_training_writes_a_folder_that_loads(tmp_path: Path) -> None:
    """The whole way on 32 drawings, from which a few steps learn nothing much."""
    trained = train(TINY, tmp_path / "tiny", tmp_path)
    assert (trained.steps, trained.drawings) == (6, 32)
    assert train(TINY, tmp_path / "more", tmp_path, start_from=tmp_path / "tiny").steps == 4
    model = load_clip(f"local-dir:{tmp_path / 'tiny'}", "cpu", setting="--out")
    assert model.dim == 16
    assert model.encode_texts(["a red shirt"]).shape == (1, 16)


def test_drawings_are_kept_and_a_wrong_cache_is_refused(tmp_path: Path) -> None:
    """Drawing happens once; a cache of another size is named, not used."""
    subjects, cache = dataset.training_subjects(3, 1), tmp_path / "kept.npy"
    first = dataset.cached_pictures(subjects, cache)
    assert first.shape == (3, 64, 64, 3)
    written = cache.stat().st_mtime_ns
    assert (dataset.cached_pictures(subjects, cache) == first).all()
    assert cache.stat().st_mtime_ns == written
    with pytest.raises(ValueError, match=r"holds 3 pictures, not 2: delete it"):
        dataset.cached_pictures(subjects[:2], cache)
