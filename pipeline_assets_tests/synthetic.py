"""Made-up features of items, to be moved on purpose: no engine, no pictures, just numbers."""

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline_assets.monitoring.item_features import SCHEMA

LABELS = ("shirt", "lamp", "mug", "chair", "dress", "watch", "bag", "shoe", "hat", "ball")
USUAL_MIX = (0.2, 0.16, 0.13, 0.12, 0.1, 0.09, 0.08, 0.06, 0.04, 0.02)


@dataclass(frozen=True, slots=True)
class Source:
    """Where items come from: the mix of their labels, how bright they are, how long their text is.

    Lengths are log-normal, `text_spread` is the standard deviation of their logarithm.
    """

    label_mix: tuple[float, ...] = USUAL_MIX
    brightness: float = 0.5
    brightness_spread: float = 0.16
    text_scale: float = 1.0
    text_spread: float = 0.6

    def moved(self, points: float, to: int, by: int) -> "Source":
        """The same with so many points of the label mix moved from one label to another."""
        mix = list(self.label_mix)
        mix[to] += points
        mix[by] -= points
        return replace(self, label_mix=tuple(mix))

    def items(self, count: int, rng: np.random.Generator) -> pa.Table:
        """Features of so many items."""
        columns = {
            "item_id": np.arange(count).astype(str),
            "kind": _drawn(rng, count, {"product": 0.8, "document": 0.2}),
            "language": _drawn(rng, count, {"en": 0.7, "de": 0.2, "fr": 0.08, "es": 0.02}),
            "text_length": rng.lognormal(5.8, self.text_spread, count) * self.text_scale // 1,
            "picture_width": rng.choice([320, 480, 640, 1024], count),
            "picture_height": rng.choice([240, 480, 640, 768], count),
            "brightness": rng.normal(self.brightness, self.brightness_spread, count).clip(0, 1),
            "label": _drawn(rng, count, dict(zip(LABELS, self.label_mix, strict=True))),
            "label_confidence": rng.beta(8, 2, count),
            "modality": _drawn(rng, count, {"image": 0.95, "text": 0.05}),
            "embedding_norm": np.ones(count),
            "fallback": np.zeros(count, bool),
        }
        return pa.table({name: pa.array(column) for name, column in columns.items()}).cast(SCHEMA)


def _drawn(rng: np.random.Generator, count: int, shares: dict[str, float]) -> NDArray[np.str_]:
    return rng.choice(np.array(list(shares)), count, p=np.array(list(shares.values())))
