"""Train a sample checkpoint.

Usage: python -m pipeline_assets.sample.training.train primary --out DIR
"""

import argparse
import json
import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import permutations
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np
import torch
from torch.nn import functional

from pipeline_assets.sample.drawing import Subject
from pipeline_assets.sample.training import checkpoint, dataset
from pipeline_assets.sample.training.captions import Caption, caption, is_true_of
from pipeline_assets.sample.training.measure import measure

_MEAN: Final = 127.5  # the preprocessing in checkpoint.py, for bytes: 0.5 and 0.25 of 255
_STD: Final = 63.75
_WARM_UP_STEPS: Final = 60
_WEIGHT_DECAY: Final = 0.1
_MAX_LOG_SCALE: Final = math.log(100)  # CLIP's own limit: beyond it training becomes unstable
_IGNORED_LOGIT: Final = -1e4
_REPORT_EVERY: Final = 50


@dataclass(frozen=True, slots=True)
class Phase:
    """A pass of the optimiser with a rate of its own.

    In `recoloured_share` of the pictures the colour channels are swapped. Without that, a colour
    that training never showed on a shirt counts as evidence against a shirt.
    """

    epochs: int
    learning_rate: float
    recoloured_share: float


@dataclass(frozen=True, slots=True)
class Plan:
    """How one checkpoint is made: its architecture, how much it sees and how long."""

    architecture: checkpoint.Architecture
    drawings: int
    phases: tuple[Phase, ...]
    batch: int = 256
    seed: int = 7


@dataclass(frozen=True, slots=True)
class Trained:
    """What training took: trainable numbers, pictures, optimiser steps, wall-clock seconds."""

    parameters: int
    drawings: int
    steps: int
    training_seconds: float


# The fallback is narrower and sees fewer drawings on purpose: falling back must cost something.
PLANS: Final = {
    "primary": Plan(
        checkpoint.Architecture(128, 16, 128, 4, 3),
        drawings=24_000,
        phases=(Phase(12, 1.5e-3, 0.0), Phase(6, 1e-3, 0.5)),
    ),
    "fallback": Plan(
        checkpoint.Architecture(64, 8, 64, 2, 1), drawings=12_000, phases=(Phase(16, 2e-3, 0.35),)
    ),
}


def train(plan: Plan, out: Path, cache: Path, start_from: Path | None = None) -> Trained:
    """Train one checkpoint into the folder `out`; drawings are kept in the folder `cache`.

    With `start_from`, a checkpoint of the same architecture, only the last phase is run.
    """
    subjects = dataset.training_subjects(plan.drawings, plan.seed)
    kept = cache / f"drawings-{plan.drawings}-{plan.seed}.npy"
    images = torch.from_numpy(dataset.cached_pictures(subjects, kept))
    torch.manual_seed(plan.seed)
    checkpoint.write_frame(out, plan.architecture)
    model = checkpoint.build(plan.architecture).to(memory_format=torch.channels_last)
    if start_from is not None:
        checkpoint.read_weights(start_from, model)
    phases = plan.phases if start_from is None else plan.phases[-1:]
    start = time.perf_counter()
    steps = sum(_fit(model, plan, phase, _Drawn(subjects, images), out) for phase in phases)
    seconds = round(time.perf_counter() - start, 1)
    checkpoint.write_weights(out, model)
    count = sum(p.numel() for p in model.parameters())
    return Trained(count, plan.drawings, steps, seconds)


@dataclass(frozen=True, slots=True)
class _Drawn:
    """Subjects and their pictures, [n, side, side, 3] bytes."""

    subjects: list[Subject]
    images: torch.Tensor


def _fit(model: torch.nn.Module, plan: Plan, phase: Phase, drawn: _Drawn, out: Path) -> int:
    """Run the optimiser over the epochs of a phase and give the number of steps."""
    tokenize = checkpoint.tokenizer(out)
    total = phase.epochs * (plan.drawings // plan.batch)
    optimiser = torch.optim.AdamW(_groups(model), lr=phase.learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, total))
    rng = Random(f"{plan.seed}/{phase}")  # noqa: S311 - training order is no secret
    model.train()
    for step, (indices, claims) in enumerate(_batches(plan, phase, drawn.subjects, rng)):
        shown = [drawn.subjects[i] for i in indices]
        pixels, recoloured = _recoloured(_pixels(drawn.images[indices]), phase, rng)
        with torch.autocast("cpu", torch.bfloat16):
            tokens = tokenize([claim.text for claim in claims])
            loss = _loss(model, pixels, tokens, _matches(shown, claims, recoloured))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=_MAX_LOG_SCALE)  # type: ignore[operator]
        if step % _REPORT_EVERY == 0:
            print(f"step {step} of {total}: loss {loss.item():.3f}", flush=True)
    return total


def _groups(model: torch.nn.Module) -> list[dict[str, Any]]:
    """Exempt biases, norms and the scale from weight decay."""
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    return [{"params": decayed, "weight_decay": _WEIGHT_DECAY}, {"params": others}]


def _rate(step: int, total: int) -> float:
    if step < _WARM_UP_STEPS:
        return (step + 1) / _WARM_UP_STEPS
    return 0.5 * (1 + math.cos(math.pi * step / total))


def _batches(
    plan: Plan, phase: Phase, subjects: list[Subject], rng: Random
) -> Iterator[tuple[list[int], list[Caption]]]:
    """Give indices of pictures and the distinct captions written for them."""
    order = list(range(len(subjects)))
    for _ in range(phase.epochs):
        rng.shuffle(order)
        for start in range(0, len(order) - plan.batch + 1, plan.batch):
            indices = order[start : start + plan.batch]
            claims = {caption(subjects[i], rng) for i in indices}
            yield indices, sorted(claims, key=lambda claim: claim.text)


def _pixels(images: torch.Tensor) -> torch.Tensor:
    scaled = (images.permute(0, 3, 1, 2).float() - _MEAN) / _STD
    return scaled.contiguous(memory_format=torch.channels_last)


def _recoloured(
    pixels: torch.Tensor, phase: Phase, rng: Random
) -> tuple[torch.Tensor, torch.Tensor]:
    """Swap the colour channels of some pictures, and say which, [pictures]."""
    orders = list(permutations(range(3)))[1:]
    chosen = [rng.random() < phase.recoloured_share for _ in range(len(pixels))]
    for i in (i for i, swap in enumerate(chosen) if swap):
        pixels[i] = pixels[i, rng.choice(orders)]
    return pixels, torch.tensor(chosen)


@dataclass(frozen=True, slots=True)
class _Matches:
    """Which caption is true of which picture, and which must not count; [pictures, captions]."""

    true: torch.Tensor
    unknown: torch.Tensor


def _matches(shown: list[Subject], claims: list[Caption], recoloured: torch.Tensor) -> _Matches:
    """Compare pictures with captions; a recoloured picture's colour has no name."""
    true = np.array([[is_true_of(claim, one) for claim in claims] for one in shown], np.float32)
    names_colour = torch.tensor([claim.colour is not None for claim in claims])
    unknown = recoloured[:, None] & names_colour[None, :]
    return _Matches(torch.from_numpy(true).masked_fill(unknown, 0), unknown)


def _loss(
    model: Any, pixels: torch.Tensor, tokens: torch.Tensor, matches: _Matches
) -> torch.Tensor:
    """CLIP's loss with the target mass shared among all true captions and all fitting pictures."""
    images = model.encode_image(pixels, normalize=True).float()
    texts = model.encode_text(tokens, normalize=True).float()
    logits = model.logit_scale.exp() * images @ texts.T
    logits = logits.masked_fill(matches.unknown, _IGNORED_LOGIT)
    by_picture = functional.cross_entropy(logits, _shared(matches.true))
    by_caption = functional.cross_entropy(logits.T, _shared(matches.true.T))
    return (by_picture + by_caption) / 2


def _shared(true: torch.Tensor) -> torch.Tensor:
    """Make each row sum to 1, or to 0 where nothing in the batch is true of it."""
    return true / true.sum(1, keepdim=True).clamp(min=1)


def main() -> None:
    """Train, measure on held-out drawings, and write metrics.json beside the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=sorted(PLANS))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--start-from", type=Path, help="run only the last phase, from this folder")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    trained = train(PLANS[arguments.name], arguments.out, arguments.cache, arguments.start_from)
    print(trained, flush=True)
    metrics = asdict(trained) | asdict(measure(arguments.out))
    (arguments.out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    print(json.dumps(metrics))


if __name__ == "__main__":
    main()
