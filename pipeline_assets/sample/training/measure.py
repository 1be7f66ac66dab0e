"""Measure a checkpoint on drawings that training never saw, through the seam that runs it."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from pipeline_assets.models.clip import Clip, Vectors, load_clip
from pipeline_assets.sample.drawing import COLOURS, SAMPLE_LABELS, Subject, draw_jpeg
from pipeline_assets.sample.training.dataset import unseen_pairs, unseen_seeds

_SEEDS_MEASURED: Final = 2_400
_PAIRS_MEASURED: Final = 1_200
_BATCH: Final = 128
_TOP: Final = 10


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Shares, 0 to 1, on held-out drawings: right category, and right search results."""

    measured_drawings: int
    category_unseen_seeds: float
    category_unseen_pairs: float
    search_precision_at_10: float


def measure(folder: Path) -> Accuracy:
    """Measure the checkpoint in a folder: zero-shot category accuracy and search by colour.

    Search asks "red shirt" and so on among the drawings from unseen seeds, and counts which of
    the first ten show that colour and that category.
    """
    model = load_clip(f"local-dir:{folder}", "cpu", setting="--out")
    seeds, pairs = unseen_seeds(_SEEDS_MEASURED, 1), unseen_pairs(_PAIRS_MEASURED, 1)
    vectors = embed(model, seeds)
    return Accuracy(
        measured_drawings=len(seeds) + len(pairs),
        category_unseen_seeds=category_accuracy(model, seeds, vectors),
        category_unseen_pairs=category_accuracy(model, pairs, embed(model, pairs)),
        search_precision_at_10=_search_precision(model, seeds, vectors),
    )


def embed(model: Clip, subjects: list[Subject]) -> Vectors:
    """Draw and embed subjects: [n, dim]."""
    batches = (subjects[i : i + _BATCH] for i in range(0, len(subjects), _BATCH))
    drawn = (model.preprocess([_as_served(subject) for subject in batch]) for batch in batches)
    return np.concatenate([model.encode_images(pixels) for pixels in drawn])


def _as_served(subject: Subject) -> Image.Image:
    return Image.open(io.BytesIO(draw_jpeg(subject)))


def category_accuracy(model: Clip, subjects: list[Subject], vectors: Vectors) -> float:
    """Give the share of drawings whose nearest "a picture of a ..." names their category."""
    prompts = model.encode_texts([f"a picture of a {label}" for label in SAMPLE_LABELS])
    guesses = (vectors @ prompts.T).argmax(1)
    truth = [SAMPLE_LABELS.index(subject.category) for subject in subjects]
    return round(float((guesses == truth).mean()), 4)


def _search_precision(model: Clip, subjects: list[Subject], vectors: Vectors) -> float:
    shown = {(subject.category, subject.colour) for subject in subjects}
    queries = [(c, k) for c in SAMPLE_LABELS for k in COLOURS if (c, k) in shown]
    texts = model.encode_texts([f"{colour} {category}" for category, colour in queries])
    best = np.argsort(-(texts @ vectors.T), axis=1)[:, :_TOP]
    hits = [
        (subjects[i].category, subjects[i].colour) == query
        for query, row in zip(queries, best, strict=True)
        for i in row
    ]
    return round(float(np.mean(hits)), 4)
