"""What the CLIP rungs add to the model: the rungs beside a bare `encode_image` loop.

Ours is the rung of classify as the chain calls it: pictures gathered by digest, one forward pass
behind the accelerator's seam, every vector kept in the state database on disk, labels scored.
Both sides start from the same decoded pictures and resize and normalise them; reading and decoding
the bytes is left out.

The sides take turns in one process, a batch each, and each side's best turn counts: what else the
machine does then disturbs them alike.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pipeline_assets.core.rows import Made, Work
from pipeline_assets.core.stage import Rung
from pipeline_assets.documents.pictures import decode
from pipeline_assets.models.features import Features
from pipeline_assets.resources import Resources, opened
from pipeline_assets.sample.drawing import draw_jpeg
from pipeline_assets.sample.training.dataset import unseen_seeds
from pipeline_assets.settings import load_settings
from pipeline_assets.stages.classify_image import STAGE
from pipeline_assets_tests.benchmarks.measure import Measure, Wanted

if TYPE_CHECKING:
    from PIL.Image import Image

BAR = 0.9
BATCH_ROWS = STAGE.micro_batch
ROUNDS = 25
SEED = 5
RUNGS = {"accelerator_clip": "primary", "cpu_clip": "fallback"}
"""The rung, and which of the resources is its model."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """Features whose pictures are decoded: what a rung would load lies there by its digest."""

    features: Features
    by_digest: "Mapping[str, Image]"

    def pictures(self, load: Mapping[str, Any]) -> Any:
        """Vectors, by the features' own way from the decoded pictures on."""
        return self.features.pictures(
            {digest: partial(self.by_digest.__getitem__, digest) for digest in load}
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self.features, name)


@dataclass(frozen=True, slots=True)
class Bench:
    """A rung, its model, and one batch of decoded pictures."""

    rung: Rung
    resources: Resources
    features: Features
    pictures: "Sequence[Image]"

    @property
    def model(self) -> Any:
        """The rung's model, loaded."""
        return self.features.model()

    def bare(self) -> float:
        """Seconds of the loop that anybody would write: the loaded model itself, and no more."""
        import torch  # noqa: PLC0415 - the demo is measured from a process that is still small

        model = self.model
        started = time.perf_counter()
        with torch.inference_mode():
            placed = model.preprocess(self.pictures).to(model.device)
            model._model.encode_image(placed, normalize=True).float().cpu().numpy()
        return time.perf_counter() - started

    def through(self, name: str) -> float:
        """Seconds of the rung; `name` makes the pictures new to the cache."""
        digests = [f"{name}-{index}".rjust(64, "0") for index in range(len(self.pictures))]
        lies = {"fetched.image.pack": "", "fetched.image.offset": 0, "fetched.image.size": 0}
        works = [Work((digest,), {"picture": digest, **lies}) for digest in digests]
        decoded = dict(zip(digests, self.pictures, strict=True))
        self.resources.__dict__[RUNGS[self.rung.name]] = Decoded(self.features, decoded)
        started = time.perf_counter()
        outcomes = self.rung.call(self.resources, works)
        seconds = time.perf_counter() - started
        failed = [outcome for outcome in outcomes if not isinstance(outcome, Made)]
        if failed:
            raise RuntimeError(f"{self.rung.name} failed {len(failed)} rows: {failed[0]}")
        return seconds


def measures() -> Iterator[Measure]:
    """Pictures a second of each rung beside the bare loop."""
    jpegs = [draw_jpeg(subject) for subject in unseen_seeds(BATCH_ROWS, SEED)]
    with (
        TemporaryDirectory() as folder,
        opened(load_settings(data=Path(folder), state_url="")) as resources,
    ):
        for rung in STAGE.rungs:
            if rung.name in RUNGS:
                features: Features = getattr(resources, RUNGS[rung.name])
                limit, side = resources.settings.max_pixels, features.input_pixels
                pictures = [decode(jpeg, limit, at_least=side) for jpeg in jpegs]
                yield _rung(Bench(rung, resources, features, pictures))


def _rung(bench: Bench) -> Measure:
    best = _best_turns(
        {
            "bare": lambda _turn: bench.bare(),
            "rung": lambda turn: bench.through(f"turn-{turn}"),
        }
    )
    return Measure(
        f"{bench.rung.name}, batch of {BATCH_ROWS}",
        BATCH_ROWS / best["rung"],
        "/s",
        "bare preprocess + encode_image",
        BATCH_ROWS / best["bare"],
        Wanted.AT_LEAST,
        BAR,
    )


def _best_turns(sides: Mapping[str, Callable[[int], float]]) -> dict[str, float]:
    """The seconds of each side's best turn, after one to warm up."""
    rounds = [{name: side(turn) for name, side in sides.items()} for turn in range(ROUNDS + 1)]
    return {name: min(each[name] for each in rounds[1:]) for name in sides}
