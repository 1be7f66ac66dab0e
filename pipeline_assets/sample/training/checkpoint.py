"""Checkpoint folders that open_clip loads through `local-dir:`, and the cut-down vocabulary."""

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from open_clip.tokenizer import SimpleTokenizer
    from torch import nn

VOCABULARY: Final = 4096
CONTEXT: Final = 24
MERGES_FILE: Final = "bpe_merges.txt.gz"
WEIGHTS_FILE: Final = "open_clip_model.safetensors"
CONFIG_FILE: Final = "open_clip_config.json"
_BASE_SYMBOLS: Final = 512  # each byte, in the middle and at the end of a word
_SPECIAL_SYMBOLS: Final = 2  # start and end of text
_MERGES: Final = VOCABULARY - _BASE_SYMBOLS - _SPECIAL_SYMBOLS
_PREPROCESSING: Final = {
    "size": [64, 64],
    "mode": "RGB",
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
    "interpolation": "bicubic",
    "resize_mode": "squash",  # products stand off-centre: a centre crop would cut them
}


@dataclass(frozen=True, slots=True)
class Architecture:
    """The few numbers in which the two checkpoints differ; widths in channels."""

    embed_dim: int
    vision_width: int
    text_width: int
    text_heads: int
    text_layers: int

    def config(self) -> dict[str, Any]:
        """Give the whole open_clip_config.json."""
        vision = {
            "image_size": 64,
            "layers": [1, 1, 1, 1],
            "width": self.vision_width,
            "patch_size": None,
        }
        text = {
            "context_length": CONTEXT,
            "vocab_size": VOCABULARY,
            "width": self.text_width,
            "heads": self.text_heads,
            "layers": self.text_layers,
            "tokenizer_kwargs": {"bpe_path": MERGES_FILE},
        }
        model = {"embed_dim": self.embed_dim, "vision_cfg": vision, "text_cfg": text}
        return {"model_cfg": model, "preprocess_cfg": _PREPROCESSING}


def build(architecture: Architecture) -> "nn.Module":
    """Make an untrained model."""
    from open_clip.model import CLIP  # noqa: PLC0415 - torch takes seconds to import

    model: nn.Module = CLIP(**architecture.config()["model_cfg"])
    return model


def tokenizer(folder: Path) -> "SimpleTokenizer":
    """Make the tokenizer from the merges file of a checkpoint folder."""
    from open_clip.tokenizer import SimpleTokenizer  # noqa: PLC0415

    return SimpleTokenizer(bpe_path=str(folder / MERGES_FILE), context_length=CONTEXT)


def write_frame(folder: Path, architecture: Architecture) -> None:
    """Write all of a checkpoint folder but the weights."""
    folder.mkdir(parents=True, exist_ok=True)
    config = json.dumps(architecture.config(), indent=2)
    (folder / CONFIG_FILE).write_text(config + "\n", encoding="utf-8")
    (folder / MERGES_FILE).write_bytes(_cut_merges())


def read_weights(folder: Path, model: "nn.Module") -> None:
    """Load a folder's weights into a model of the same architecture."""
    from safetensors.torch import load_file  # noqa: PLC0415

    model.load_state_dict(load_file(folder / WEIGHTS_FILE))


def write_weights(folder: Path, model: "nn.Module") -> None:
    """Write the weights in half precision: the accuracy does not change, the size halves."""
    from safetensors.torch import save  # noqa: PLC0415

    state = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in model.state_dict().items()
    }
    (folder / WEIGHTS_FILE).write_bytes(save(state, metadata={"format": "pt"}))


def _cut_merges() -> bytes:
    """Cut open_clip's merges to the first ones.

    No newline at the end: SimpleTokenizer would count an empty merge and shift the special tokens.
    """
    from open_clip.tokenizer import default_bpe  # noqa: PLC0415

    lines = gzip.decompress(Path(default_bpe()).read_bytes()).decode().split("\n")
    return gzip.compress("\n".join(lines[: _MERGES + 1]).encode(), mtime=0)
