"""The seam to open_clip, with the shipped checkpoints, and its fake."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline_assets.models.clip import (
    SHIPPED_MODELS,
    Clip,
    ClipModel,
    ModelNotLoaded,
    Vectors,
    load_clip,
)
from pipeline_assets.sample.drawing import Subject, draw
from pipeline_assets_tests.models.fake_clip import FakeClip

SETTING = "PIPELINE_PRIMARY_MODEL"
PICTURES = [draw(Subject("shoe", "red", 1)), draw(Subject("lamp", "blue", 2))]


@pytest.fixture(scope="module")
def model() -> ClipModel:
    """Load the smaller shipped checkpoint once."""
    return load_clip("sample-fallback", "cpu", setting=SETTING)


def is_unit(vectors: Vectors, n: int, dim: int) -> bool:
    """Check shape, type and lengths."""
    return (
        vectors.shape == (n, dim)
        and vectors.dtype == np.float32
        and np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    )


def test_importing_the_seam_imports_no_torch() -> None:
    """What only needs the names stays light."""
    script = (
        "import sys; import pipeline_assets.models.clip, pipeline_assets.sample.shop; "
        "print(sorted({'torch', 'open_clip', 'torchvision'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stdout.strip() == b"[]"


@pytest.mark.parametrize("fake", [False, True])
def test_pictures_and_texts_become_unit_vectors(model: ClipModel, fake: bool) -> None:
    """Model and fake keep the same promise."""
    clip: Clip = FakeClip() if fake else model
    pixels = clip.preprocess(PICTURES)
    assert pixels.shape[:2] == (2, 3)
    assert str(pixels.dtype) == "torch.float32"
    assert is_unit(clip.encode_images(pixels), 2, clip.dim)
    assert is_unit(clip.encode_texts(["a red shoe", "", "lamp " * 100]), 3, clip.dim)
    assert clip.family == clip.id
    assert clip.logit_scale > 1


@pytest.mark.parametrize("fake", [False, True])
def test_nothing_in_gives_nothing_out(model: ClipModel, fake: bool) -> None:
    """An empty batch has the right width."""
    clip: Clip = FakeClip() if fake else model
    assert clip.encode_images(clip.preprocess([])).shape == (0, clip.dim)
    assert clip.encode_texts([]).shape == (0, clip.dim)


@pytest.mark.parametrize("fake", [False, True])
def test_a_vector_does_not_depend_on_its_batch(model: ClipModel, fake: bool) -> None:
    """Alone or in company, whatever its length: a halved batch gives the same result."""
    clip: Clip = FakeClip() if fake else model
    texts = ["a red shoe", "blue lamp " * 40, "hat"]
    alone = np.concatenate([clip.encode_texts([text]) for text in texts])
    np.testing.assert_allclose(clip.encode_texts(texts), alone, atol=1e-5)
    pixels = clip.preprocess(PICTURES)
    one = np.concatenate([clip.encode_images(pixels[i : i + 1]) for i in range(2)])
    np.testing.assert_allclose(clip.encode_images(pixels), one, atol=1e-4)


def test_any_picture_mode_is_accepted(model: ClipModel) -> None:
    """Grey, palette and transparent pictures are pictures."""
    modes = [Image.new(mode, (10, 30)) for mode in ("L", "P", "RGBA", "CMYK", "1")]
    assert is_unit(model.encode_images(model.preprocess(modes)), 5, model.dim)


def test_a_long_text_is_not_cut_in_silence(model: ClipModel) -> None:
    """What comes after the context still moves the vector, by being averaged in."""
    filler = "a plain article of everyday use " * 10
    plain, hat, lamp = model.encode_texts([filler, filler + "hat " * 30, filler + "lamp " * 30])
    meaning = model.encode_texts(["hat", "lamp"])
    assert not np.allclose(hat, lamp)
    assert (meaning @ hat)[0] > (meaning @ plain)[0]
    assert (meaning @ lamp)[1] > (meaning @ plain)[1]


def test_a_long_text_is_the_mean_of_its_windows(model: ClipModel) -> None:
    """The context of 24 holds 22 one-token words."""
    first, second, both = model.encode_texts(["hat " * 22, "lamp " * 5, "hat " * 22 + "lamp " * 5])
    mean = first + second
    np.testing.assert_allclose(both, mean / np.linalg.norm(mean), atol=1e-5)


def test_the_id_is_the_hash_of_the_shipped_weights(model: ClipModel) -> None:
    """The same in every process: a literal shows it without starting another (retrained: edit)."""
    assert model.id == "sample-fallback@b0239d3d"


def test_a_folder_loads_from_any_working_directory(
    model: ClipModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The vocabulary is looked for beside the weights, and a relative folder works too."""
    shutil.copytree(SHIPPED_MODELS["sample-fallback"], tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    other = load_clip("local-dir:mine", "cpu", setting=SETTING)
    assert other.id == "mine@" + model.id.partition("@")[2]
    np.testing.assert_allclose(other.encode_texts(["hat"]), model.encode_texts(["hat"]))


@pytest.mark.parametrize(
    "name",
    [
        "",
        "sample-tertiary",
        "ViT-B-32",
        "ViT-B-32/",
        "ViT-B-32/no-such-weights",
        "no-such-model/laion2b_s34b_b79k",
        "local-dir:",
        "local-dir:/no/such/folder",
    ],
)
def test_a_wrong_name_says_which_setting_to_change(name: str) -> None:
    """The message has the setting, the value and what is allowed, and is of bearable length."""
    with pytest.raises(ModelNotLoaded) as caught:
        load_clip(name, "cpu", setting=SETTING)
    error = caught.value
    assert (error.setting, error.name) == (SETTING, name)
    assert str(error).startswith(f"{SETTING}={name!r} cannot be loaded: ")
    assert "sample-primary" in str(error)
    assert "hf-hub:" in str(error)
    assert len(str(error)) < 700


@pytest.mark.parametrize("damage", ["no weights", "cut weights", "no merges", "no model_cfg"])
def test_a_damaged_folder_is_refused(tmp_path: Path, damage: str) -> None:
    """In particular, no weights never means random weights."""
    folder = tmp_path / "mine"
    shutil.copytree(SHIPPED_MODELS["sample-fallback"], folder)
    weights = folder / "open_clip_model.safetensors"
    if damage == "no weights":
        weights.unlink()
    elif damage == "cut weights":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif damage == "no merges":
        (folder / "bpe_merges.txt.gz").unlink()
    else:
        (folder / "open_clip_config.json").write_text(json.dumps({"preprocess_cfg": {}}))
    with pytest.raises(ModelNotLoaded, match=SETTING):
        load_clip(f"local-dir:{folder}", "cpu", setting=SETTING)


def _vectors(clip: Clip, texts: Sequence[str]) -> Vectors:
    return clip.encode_texts(texts)


def test_the_fake_gives_equal_vectors_for_equal_input_only() -> None:
    """It is a hash: nothing more can be asked of it."""
    first, second = FakeClip(), FakeClip()
    texts = ["hat", "cap"]
    np.testing.assert_array_equal(_vectors(first, texts), _vectors(second, texts))
    assert not np.allclose(*_vectors(first, texts))
    assert not np.allclose(_vectors(first, ["hat"]), _vectors(FakeClip(id="b@1"), ["hat"]))
    images = first.encode_images(first.preprocess(PICTURES))
    assert not np.allclose(*images)
