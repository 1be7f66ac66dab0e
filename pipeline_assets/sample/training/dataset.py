"""The drawings that the checkpoints are trained and measured on, and which are held out."""

import io
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from random import Random
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline_assets.sample.drawing import COLOURS, SAMPLE_LABELS, Subject, draw_jpeg

Pictures: TypeAlias = npt.NDArray[np.uint8]  # [n, side, side, 3]

SIDE_PX: Final = 64
FIRST_HELD_OUT_SEED: Final = 2**31  # training draws below, measuring from here on
_WORKERS: Final = 2
_CHUNK: Final = 250

# One colour of each category, and each colour once: never seen together in training.
HELD_OUT_PAIRS: Final = frozenset(
    (category, tuple(COLOURS)[(5 * i + 2) % len(COLOURS)])
    for i, category in enumerate(SAMPLE_LABELS)
)


def training_subjects(count: int, seed: int) -> list[Subject]:
    """Pick subjects from the pairs and seeds that training may see."""
    return _pick(count, Random(f"train/{seed}"), 0, _seen_pairs())  # noqa: S311


def unseen_seeds(count: int, seed: int) -> list[Subject]:
    """Pick subjects of known colour-category pairs whose drawings training never saw."""
    return _pick(count, Random(f"seeds/{seed}"), FIRST_HELD_OUT_SEED, _seen_pairs())  # noqa: S311


def unseen_pairs(count: int, seed: int) -> list[Subject]:
    """Pick subjects of colour-category pairs that training never saw."""
    pairs = sorted(HELD_OUT_PAIRS)
    return _pick(count, Random(f"pairs/{seed}"), FIRST_HELD_OUT_SEED, pairs)  # noqa: S311


def pictures(subjects: list[Subject]) -> Pictures:
    """Draw subjects in two worker processes, as the model's preprocessing would see them."""
    chunks = [subjects[i : i + _CHUNK] for i in range(0, len(subjects), _CHUNK)]
    with ProcessPoolExecutor(_WORKERS) as pool:
        return np.concatenate(list(pool.map(_draw_chunk, chunks)))


def cached_pictures(subjects: list[Subject], cache: Path) -> Pictures:
    """Draw subjects once and keep them in `cache`, a .npy file that belongs to these subjects."""
    if not cache.exists():
        partial = cache.with_suffix(".partial.npy")
        np.save(partial, pictures(subjects))
        partial.replace(cache)
    kept: Pictures = np.load(cache)
    if len(kept) != len(subjects):
        raise ValueError(f"{cache} holds {len(kept)} pictures, not {len(subjects)}: delete it")
    return kept


def _seen_pairs() -> list[tuple[str, str]]:
    pairs = {(category, colour) for category in SAMPLE_LABELS for colour in COLOURS}
    return sorted(pairs - HELD_OUT_PAIRS)


def _pick(count: int, rng: Random, first: int, pairs: list[tuple[str, str]]) -> list[Subject]:
    picked = (rng.choice(pairs) for _ in range(count))
    return [Subject(*pair, first + rng.randrange(2**31)) for pair in picked]


def _draw_chunk(subjects: list[Subject]) -> Pictures:
    return np.stack([_small(subject) for subject in subjects])


def _small(subject: Subject) -> Pictures:
    picture = Image.open(io.BytesIO(draw_jpeg(subject)))
    return np.asarray(picture.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC))
