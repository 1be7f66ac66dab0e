"""One forward pass for all: unit vectors of pictures and texts, kept under their key.

Classify and embed ask for the same picture's vector and so share one pass; the same picture in two
items or two hours is put through a model once.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from pipeline_assets.core.fingerprint import digest
from pipeline_assets.errors import Internal, RowError, classify
from pipeline_assets.state.cache import ResultCache

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from pipeline_assets.models.clip import Clip

Vector = npt.NDArray[np.float32]
T = TypeVar("T")

DECODERS = 2
DECODED_AT_ONCE = 16
"""Pictures that a thread holds decoded: enough to spare torch small calls, few for memory."""
NOT_FINITE = "the model gave a vector that is not finite"
NAMED_CHARS = 60


class Runner(Protocol):
    """Makes a call of so many rows: the accelerator's `run`, or `directly`."""

    def __call__(self, rows: int, call: Callable[[], T], /) -> T:
        """What the call gives."""


def directly(_rows: int, call: Callable[[], T]) -> T:
    """Run a call where no accelerator is in the way."""
    return call()


@dataclass(frozen=True, slots=True)
class Features:
    """Vectors from one model, run through `run`, kept in `cache`."""

    model: "Callable[[], Clip]"
    producer: str
    cache: ResultCache
    run: Runner = directly

    def kept_pictures(self, shas: Iterable[str]) -> dict[str, Vector]:
        """The vectors that are kept of pictures, by sha256."""
        return self._kept({sha: self._key("image", sha) for sha in shas})

    def kept_texts(self, texts: Iterable[str]) -> dict[str, Vector]:
        """The vectors that are kept of texts, by text."""
        return self._kept({text: self._key("text", digest(text)) for text in texts})

    def pictures(self, load: Mapping[str, Callable[[], "Image"]]) -> dict[str, Vector | RowError]:
        """The vector of each picture, by its sha256, in one forward pass; `load` decodes."""
        model = self.model()
        batch = _prepared(model, load)
        answers: dict[str, Vector | RowError] = dict(batch.errors)
        if batch.decoded:
            answers.update(self._encode_pictures(model, batch.decoded, batch.pixels))
        return answers

    def texts(self, texts: Iterable[str]) -> dict[str, Vector]:
        """The vector of each text, by text, in one forward pass."""
        distinct = list(dict.fromkeys(texts))
        if not distinct:
            return {}
        return self.run(len(distinct), lambda: self._encode_texts(distinct))

    def query_vectors(self, texts: Sequence[str]) -> Vector:
        """The vectors of a few short texts, labels or a query: [texts, dim].

        Not counted, since every batch asks for its labels, and not held back by a fault of the
        accelerator that was asked for.
        """
        found = self.kept_texts(texts)
        if len(found) < len(set(texts)):
            found = self._encode_texts(texts)
        return np.stack([found[text] for text in texts])

    def probabilities(self, pictures: Vector, prompts: Vector) -> Vector:
        """The share of each prompt for each picture: softmax of the scaled cosines.

        `pictures` is [pictures, dim], `prompts` [prompts, dim]; gives [pictures, prompts].
        """
        logits = self.model().logit_scale * (pictures @ prompts.T)
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(shares / shares.sum(axis=1, keepdims=True), np.float32)

    @property
    def input_pixels(self) -> int:
        """The side of the square that the model looks at; larger pictures are made smaller."""
        return self.model().input_pixels

    def _encode_pictures(
        self, model: "Clip", names: Sequence[str], parts: "Sequence[torch.Tensor]"
    ) -> dict[str, Vector | RowError]:
        import torch  # noqa: PLC0415 - loaded with the model

        pixels = torch.cat(list(parts))
        vectors = self.run(len(names), lambda: model.encode_images(pixels))
        made = dict(zip(names, vectors, strict=True))
        good = _finite(made)
        self._keep({self._key("image", sha): vector for sha, vector in good.items()})
        return {sha: good[sha] if sha in good else Internal(NOT_FINITE) for sha in made}

    def _encode_texts(self, texts: Sequence[str]) -> dict[str, Vector]:
        distinct = list(dict.fromkeys(texts))
        made = dict(zip(distinct, self.model().encode_texts(distinct), strict=True))
        good = _finite(made)
        self._keep({self._key("text", digest(text)): vector for text, vector in good.items()})
        for text in made:
            if text not in good:
                raise Internal(f"{NOT_FINITE} for the text {text[:NAMED_CHARS]!r}")
        return good

    def _key(self, what: str, name: str) -> str:
        return f"{what}:{self.producer}:{name}"

    def _kept(self, keys: Mapping[str, str]) -> dict[str, Vector]:
        values = self.cache.get(list(keys.values()))
        return _finite(
            {
                name: np.frombuffer(values[key], np.float32)
                for name, key in keys.items()
                if key in values
            }
        )

    def _keep(self, vectors: Mapping[str, Vector]) -> None:
        self.cache.put(
            {key: vector.astype(np.float32).tobytes() for key, vector in vectors.items()}
        )


def _finite(vectors: Mapping[str, Vector]) -> dict[str, Vector]:
    """Those vectors that hold numbers only: one that does not would spoil an index for all."""
    return {name: vector for name, vector in vectors.items() if np.isfinite(vector).all()}


@dataclass(frozen=True, slots=True)
class _Batch:
    """A batch ready for the model: its pictures in parts, and the errors of those that are not."""

    decoded: list[str]
    pixels: "list[torch.Tensor]"
    errors: dict[str, RowError]


def _prepared(model: "Clip", load: "Mapping[str, Callable[[], Image]]") -> _Batch:
    """Decode in threads, which Pillow does outside the interpreter's lock, and preprocess here.

    The threads are a few pictures ahead, and no more: a batch of large pictures would not fit in
    memory at once.
    """
    batch = _Batch([], [], {})
    names = list(load)
    chunks = iter(
        names[start : start + DECODED_AT_ONCE] for start in range(0, len(names), DECODED_AT_ONCE)
    )
    with ThreadPoolExecutor(DECODERS) as pool:
        ahead = deque(pool.submit(_decode, load, chunk) for chunk in islice(chunks, DECODERS))
        while ahead:
            images, errors = ahead.popleft().result()
            ahead.extend(pool.submit(_decode, load, chunk) for chunk in islice(chunks, 1))
            batch.errors.update(errors)
            _preprocess(model, images, batch)
    return batch


def _decode(
    load: "Mapping[str, Callable[[], Image]]", names: Sequence[str]
) -> "tuple[dict[str, Image], dict[str, RowError]]":
    images: dict[str, Image] = {}
    errors: dict[str, RowError] = {}
    for name in names:
        try:
            images[name] = load[name]()
        except Exception as error:  # noqa: BLE001 - one bad picture is one bad row
            errors[name] = classify(error)
    return images, errors


def _preprocess(model: "Clip", images: "dict[str, Image]", batch: _Batch) -> None:
    """Add the model's view of pictures to `batch`; one that it cannot take is one bad row."""
    if not images:
        return
    try:
        batch.pixels.append(model.preprocess(list(images.values())))
        batch.decoded.extend(images)
    except Exception as error:  # noqa: BLE001 - one bad picture is one bad row
        if len(images) == 1:
            batch.errors.update(dict.fromkeys(images, classify(error)))
        else:
            for name, image in images.items():
                _preprocess(model, {name: image}, batch)
