"""One forward pass for all: unit vectors of pictures and texts, kept under their key.

Classify and embed ask for the same picture's vector and so share one pass; the same picture in two
items or two hours is put through a model once.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pipeline_assets.adapters.cache import ResultCache
from pipeline_assets.core.fingerprint import digest
from pipeline_assets.errors import RowError, classify

if TYPE_CHECKING:
    from PIL.Image import Image

    from pipeline_assets.adapters.clip import Clip

Vector = npt.NDArray[np.float32]
Runner = Callable[[int, Callable[[], Vector]], Vector]
"""(rows, call) → what the call gives; the accelerator's `run`, or a direct call."""

DECODERS = 2


def directly(_rows: int, call: Callable[[], Vector]) -> Vector:
    """Run a call where no accelerator is in the way."""
    return call()


@dataclass(slots=True)
class FeatureStats:
    """How often the model was spared."""

    computed: int = 0
    cached: int = 0


@dataclass(frozen=True, slots=True)
class Features:
    """Vectors from one model, run through `run`, kept in `cache`."""

    model: "Callable[[], Clip]"
    producer: str
    cache: ResultCache
    run: Runner = directly
    stats: FeatureStats = field(default_factory=FeatureStats)

    def pictures(self, load: Mapping[str, Callable[[], "Image"]]) -> dict[str, Vector | RowError]:
        """The vector of each picture, by its sha256; `load` decodes those that are not kept."""
        found = self._kept({sha: self._key("image", sha) for sha in load})
        missing = [sha for sha in load if sha not in found]
        self._count(len(missing), len(found))
        answers: dict[str, Vector | RowError] = dict(found)
        images: dict[str, Image] = {}
        for sha, image in zip(missing, _decoded([load[sha] for sha in missing]), strict=True):
            if isinstance(image, RowError):
                answers[sha] = image
            else:
                images[sha] = image
        if images:
            answers.update(self._encode_pictures(images))
        return answers

    def texts(self, texts: Sequence[str]) -> list[Vector]:
        """The vector of each text, in order."""
        keys = {text: self._key("text", digest(text)) for text in texts}
        found = self._kept(keys)
        missing = [text for text in keys if text not in found]
        self._count(len(missing), len(found))
        if missing:
            vectors = self.run(len(missing), lambda: self.model().encode_texts(missing))
            self._keep({keys[text]: vector for text, vector in zip(missing, vectors, strict=True)})
            found.update(zip(missing, vectors, strict=True))
        return [found[text] for text in texts]

    def query_vectors(self, texts: Sequence[str]) -> Vector:
        """The vectors of a few short texts, labels or a query: [texts, dim].

        Not counted, since every batch asks for its labels, and not held back by a fault of the
        accelerator that was asked for.
        """
        keys = {text: self._key("text", digest(text)) for text in texts}
        found = self._kept(keys)
        if len(found) < len(keys):
            vectors = self.model().encode_texts(list(keys))
            found = dict(zip(keys, vectors, strict=True))
            self._keep({keys[text]: vector for text, vector in found.items()})
        return np.stack([found[text] for text in texts])

    def probabilities(self, picture: Vector, prompts: Vector) -> Vector:
        """The share of each prompt for a picture: softmax of the scaled cosines, [labels]."""
        logits = self.model().logit_scale * (prompts @ picture)
        shares = np.exp(logits - logits.max())
        return np.asarray(shares / shares.sum(), np.float32)

    @property
    def input_pixels(self) -> int:
        """The side of the square that the model looks at; larger pictures are made smaller."""
        return self.model().input_pixels

    def _encode_pictures(self, images: "dict[str, Image]") -> dict[str, Vector]:
        model = self.model()
        pixels = model.preprocess(list(images.values()))
        vectors = self.run(len(images), lambda: model.encode_images(pixels))
        made = dict(zip(images, vectors, strict=True))
        self._keep({self._key("image", sha): vector for sha, vector in made.items()})
        return made

    def _key(self, what: str, name: str) -> str:
        return f"{what}:{self.producer}:{name}"

    def _kept(self, keys: Mapping[str, str]) -> dict[str, Vector]:
        values = self.cache.get(list(keys.values()))
        return {
            name: np.frombuffer(values[key], np.float32)
            for name, key in keys.items()
            if key in values
        }

    def _keep(self, vectors: Mapping[str, Vector]) -> None:
        self.cache.put(
            {key: vector.astype(np.float32).tobytes() for key, vector in vectors.items()}
        )

    def _count(self, computed: int, cached: int) -> None:
        self.stats.computed += computed
        self.stats.cached += cached


def _decoded(loads: "Sequence[Callable[[], Image]]") -> "list[Image | RowError]":
    def one(load: "Callable[[], Image]") -> "Image | RowError":
        try:
            return load()
        except Exception as error:  # noqa: BLE001 - one bad picture is one bad row
            return classify(error)

    # Pillow decodes outside the interpreter's lock.
    with ThreadPoolExecutor(DECODERS) as pool:
        return list(pool.map(one, loads))
