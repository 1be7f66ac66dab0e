"""A model that knows nothing."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL.Image import Image

from pipeline_assets.models.clip import Vectors, _unit


@dataclass(frozen=True, slots=True)
class FakeClip:
    """A fake for tests: its vectors are hashes, equal for equal input and otherwise meaningless."""

    id: str = "fake@00000000"
    dim: int = 16
    logit_scale: float = 10.0
    device: str = "cpu"
    input_pixels: int = 8

    @property
    def family(self) -> str:
        """The name of the made-up space."""
        return self.id

    def preprocess(self, images: Sequence[Image]) -> torch.Tensor:
        """Shrink pictures to 8 pixels a side: [n, 3, 8, 8] float32 between 0 and 1."""
        small = [np.asarray(image.convert("RGB").resize((8, 8)), np.float32) for image in images]
        stacked = np.stack(small) if small else np.zeros((0, 8, 8, 3), np.float32)
        return torch.from_numpy(stacked / 255).permute(0, 3, 1, 2).contiguous()

    def encode_images(self, pixels: torch.Tensor) -> Vectors:
        """Hash each picture's numbers: [n, dim], each of length 1."""
        return self._hashed([one.numpy().tobytes() for one in pixels.cpu().contiguous()])

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Hash each text: [n, dim], each of length 1."""
        return self._hashed([text.encode() for text in texts])

    def _hashed(self, inputs: list[bytes]) -> Vectors:
        vectors = np.zeros((len(inputs), self.dim), np.float32)
        for row, data in zip(vectors, inputs, strict=True):
            digest = hashlib.sha256(self.id.encode() + b"\0" + data).digest()
            row[:] = np.random.default_rng(list(digest)).standard_normal(self.dim)
        return _unit(vectors)
