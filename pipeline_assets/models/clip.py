"""The seam to open_clip: pictures and texts in, unit vectors out.

torch and open_clip take seconds to import, so only the functions that need them import them.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from pipeline_assets.models.text_windows import windows

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

Vectors: TypeAlias = npt.NDArray[np.float32]

SHIPPED_MODELS: Final = {
    f"sample-{folder}": Path(__file__).parent.parent / "models" / folder
    for folder in ("primary", "fallback")
}
ALLOWED_NAMES: Final = (
    "sample-primary, sample-fallback, local-dir:/folder, hf-hub:organisation/model, "
    "or architecture/weights such as ViT-B-32/laion2b_s34b_b79k"
)
_LOCAL: Final = "local-dir:"
_HUB: Final = "hf-hub:"
_TEXT_BATCH: Final = 256  # windows in one forward pass: bounds memory, more is not faster on a CPU
_REASON_CHARS: Final = 240  # open_clip lists all its architectures in an error message


class ModelNotLoaded(RuntimeError):
    """A model setting names nothing that can be loaded."""

    def __init__(self, setting: str, name: str, reason: str) -> None:
        self.setting = setting
        self.name = name
        self.reason = reason
        super().__init__(setting, name, reason)

    def __str__(self) -> str:
        return (
            f"{self.setting}={self.name!r} cannot be loaded: {self.reason}. "
            f"Set {self.setting} to one of: {ALLOWED_NAMES}."
        )


class Clip(Protocol):
    """What the stages need of a model; `ClipModel` gives it."""

    @property
    def id(self) -> str: ...  # noqa: D102 - see ClipModel
    @property
    def family(self) -> str: ...  # noqa: D102
    @property
    def dim(self) -> int: ...  # noqa: D102
    @property
    def logit_scale(self) -> float: ...  # noqa: D102
    @property
    def device(self) -> str: ...  # noqa: D102
    @property
    def input_pixels(self) -> int: ...  # noqa: D102
    def preprocess(self, images: Sequence["Image"]) -> "torch.Tensor": ...  # noqa: D102
    def encode_images(self, pixels: "torch.Tensor") -> Vectors: ...  # noqa: D102
    def encode_texts(self, texts: Sequence[str]) -> Vectors: ...  # noqa: D102


@dataclass(frozen=True, slots=True, eq=False)
class ClipModel:
    """A loaded model; made by `load_clip`.

    `id` is the producer: a short name, "@" and eight hex digits of the weights' SHA-256, the same
    in every process and on every device. `logit_scale` multiplies cosines before a softmax.
    """

    id: str
    dim: int
    logit_scale: float
    device: str
    _model: Any
    _transform: Callable[["Image"], "torch.Tensor"]
    _tokenizer: Any
    _size: tuple[int, int]

    @property
    def family(self) -> str:
        """The name of the embedding space: vectors compare only within one."""
        return self.id

    @property
    def input_pixels(self) -> int:
        """The longer side of what the model looks at: a decoder may make a picture this small."""
        return max(self._size)

    def preprocess(self, images: Sequence["Image"]) -> "torch.Tensor":
        """Resize and normalise pictures as the model was trained: [n, 3, h, w] float32 on CPU."""
        import torch  # noqa: PLC0415

        if not images:
            return torch.zeros(0, 3, *self._size)
        return torch.stack([self._transform(image) for image in images])

    def encode_images(self, pixels: "torch.Tensor") -> Vectors:
        """Embed preprocessed pictures in one forward pass: [n, dim], each of length 1.

        Out of memory is torch's own error, so that the caller can halve the batch.
        """
        import torch  # noqa: PLC0415

        if len(pixels) == 0:
            return np.zeros((0, self.dim), np.float32)
        with torch.inference_mode():
            # On a CPU, converting to the weights' channels-last layout costs more than it saves.
            placed = pixels.to(self.device)
            return _to_numpy(self._model.encode_image(placed, normalize=True))

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Embed texts: [n, dim], each of length 1.

        A text longer than the context is read in windows, whose vectors are averaged.
        """
        parts = [windows(text, self._tokenizer) for text in texts]
        tokens = [window for part in parts for window in part]
        vectors = [self._encode_tokens(batch) for batch in _batches(tokens)]
        if not vectors:
            return np.zeros((0, self.dim), np.float32)
        return _pooled(np.concatenate(vectors), [len(part) for part in parts])

    def _encode_tokens(self, tokens: list[list[int]]) -> Vectors:
        import torch  # noqa: PLC0415

        with torch.inference_mode():
            placed = torch.tensor(tokens, dtype=torch.long, device=self.device)
            return _to_numpy(self._model.encode_text(placed, normalize=True))


def load_clip(name: str, device: str, *, setting: str) -> ClipModel:
    """Load a model onto a device ("cpu", "cuda", "cuda:1"...).

    `name` is anything that open_clip loads, or a name in SHIPPED_MODELS. Raises ModelNotLoaded,
    which names `setting`, where the name or its files are at fault; what goes wrong on the device
    (no memory, no such device) is torch's own error.
    """
    source = f"{_LOCAL}{SHIPPED_MODELS[name]}" if name in SHIPPED_MODELS else name
    try:
        model, transform, tokenizer = _open(source)
    except MemoryError:
        raise
    except Exception as error:  # open_clip, safetensors and the hub raise a dozen unrelated types
        raise ModelNotLoaded(setting, name, _reason(error)) from error
    return _placed(_producer(name, model), model, transform, tokenizer, device)


def _open(source: str) -> tuple[Any, Any, Any]:
    """Load model, inference transform and tokenizer on the CPU."""
    import open_clip  # noqa: PLC0415

    architecture, weights = source, None
    if not source.startswith((_LOCAL, _HUB)):
        architecture, _, weights = source.rpartition("/")
        if not architecture or not weights:
            raise ValueError("it names no weights, which come after a slash")
    # Without require_pretrained a missing weights file silently gives a model of random numbers.
    model, _, transform = open_clip.create_model_and_transforms(
        architecture, pretrained=weights, require_pretrained=True
    )
    tokenizer = open_clip.get_tokenizer(architecture, **_vocabulary(architecture))
    return model.eval(), transform, tokenizer


def _vocabulary(source: str) -> dict[str, str]:
    """Find a folder's own merges file: open_clip would look for it in the working directory."""
    import open_clip  # noqa: PLC0415

    if not source.startswith(_LOCAL):
        return {}
    text = open_clip.get_model_config(source)["text_cfg"]
    relative = text.get("tokenizer_kwargs", {}).get("bpe_path")
    if relative is None:
        return {}
    return {"bpe_path": str(Path(source.removeprefix(_LOCAL)).absolute() / relative)}


def _placed(producer: str, model: Any, transform: Any, tokenizer: Any, device: str) -> ClipModel:
    import torch  # noqa: PLC0415

    model = model.to(device, memory_format=torch.channels_last)
    side = model.visual.image_size
    with torch.inference_mode():
        blank = torch.tensor(windows("", tokenizer), dtype=torch.long, device=device)
        dim = model.encode_text(blank).shape[1]
    return ClipModel(
        id=producer,
        dim=dim,
        logit_scale=float(model.logit_scale.detach().exp()),
        device=device,
        _model=model,
        _transform=transform,
        _tokenizer=tokenizer,
        _size=(side, side) if isinstance(side, int) else tuple(side),
    )


def _producer(name: str, model: Any) -> str:
    digest = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().reshape(-1).numpy().data)
    if name.startswith((_LOCAL, _HUB)):
        short = Path(name.partition(":")[2]).name
    else:
        short = name.partition("/")[0]
    return f"{short}@{digest.hexdigest()[:8]}"


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()) or "no reason given"
    shown = text if len(text) <= _REASON_CHARS else text[:_REASON_CHARS] + "…"
    return f"{type(error).__name__}: {shown}".rstrip(".")


def _to_numpy(vectors: "torch.Tensor") -> Vectors:
    array: Vectors = vectors.float().cpu().numpy()
    return array


def _batches(tokens: list[list[int]]) -> Iterator[list[list[int]]]:
    for start in range(0, len(tokens), _TEXT_BATCH):
        yield tokens[start : start + _TEXT_BATCH]


def _pooled(vectors: Vectors, counts: Sequence[int]) -> Vectors:
    """Average each text's window vectors, every text having at least one, and renormalise."""
    starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
    return _unit(np.add.reduceat(vectors, starts, axis=0))


def _unit(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Vectors = (vectors / np.maximum(lengths, np.finfo(np.float32).tiny)).astype(np.float32)
    return unit
