"""One forward pass for all, over a fake model and a real cache."""

import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline_assets import resources as resources_module
from pipeline_assets.errors import Internal, InvalidInput, ResourceExhausted
from pipeline_assets.models.features import DECODED_AT_ONCE, DECODERS, Features, Vector
from pipeline_assets.state.cache import ResultCache
from pipeline_assets.state.database import State
from pipeline_assets_tests.models.fake_clip import FakeClip

RED, BLUE = Image.new("RGB", (20, 20), "red"), Image.new("RGB", (20, 20), "blue")


class CountedRuns:
    """A runner that counts, and that can be told to fail."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.error: Exception | None = None

    def __call__(self, rows: int, call: Callable[[], object]) -> object:
        """Run a call."""
        self.rows.append(rows)
        if self.error is not None:
            raise self.error
        return call()


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[ResultCache]:
    """An empty cache."""
    state = State(f"sqlite:///{tmp_path / 'state.db'}")
    yield ResultCache(state, max_bytes=10_000_000)
    state.close()


@pytest.fixture
def runs() -> CountedRuns:
    """What the accelerator was asked for."""
    return CountedRuns()


def features_of(cache: ResultCache, runs: CountedRuns, producer: str = "fake@1") -> Features:
    """Features of a fake model."""
    model = FakeClip(id=producer)
    return Features(lambda: model, producer, cache, run=runs)  # type: ignore[arg-type]


@pytest.fixture
def features(cache: ResultCache, runs: CountedRuns) -> Features:
    """Features of one fake model."""
    return features_of(cache, runs)


def test_a_batch_is_one_pass_and_its_vectors_are_kept(
    features: Features, runs: CountedRuns, cache: ResultCache
) -> None:
    """Whoever asks next, in another stage or another process, finds them."""
    made = features.pictures({"a": lambda: RED, "b": lambda: BLUE})
    assert runs.rows == [2]
    kept = features_of(cache, runs).kept_pictures(["a", "b", "c"])
    assert set(kept) == {"a", "b"}
    for sha, vector in kept.items():
        np.testing.assert_array_equal(vector, np.asarray(made[sha]))


def test_a_picture_that_cannot_be_decoded_is_one_bad_row(features: Features) -> None:
    """Its reason stands where its vector would, and nothing of it is kept."""

    def broken() -> Image.Image:
        raise InvalidInput("the picture cannot be decoded")

    made = features.pictures({"a": lambda: RED, "bad": broken})
    assert isinstance(made["bad"], InvalidInput)
    assert not isinstance(made["a"], InvalidInput)
    assert set(features.kept_pictures(["a", "bad"])) == {"a"}


def test_nothing_decodable_asks_the_accelerator_for_nothing(
    features: Features, runs: CountedRuns
) -> None:
    """No empty batch."""

    def broken() -> Image.Image:
        raise InvalidInput("no")

    features.pictures({"bad": broken})
    assert features.pictures({}) == {}
    assert features.texts([]) == {}
    assert runs.rows == []


def test_equal_texts_are_one_row_of_the_pass(features: Features, runs: CountedRuns) -> None:
    """Each text once."""
    assert set(features.texts(["lamp", "hat", "lamp"])) == {"lamp", "hat"}
    assert runs.rows == [2]
    assert set(features.kept_texts(["lamp", "shoe"])) == {"lamp"}


def test_an_accelerator_that_fails_fails_the_call(features: Features, runs: CountedRuns) -> None:
    """The chain decides what follows; nothing is kept."""
    runs.error = ResourceExhausted("out of memory")
    with pytest.raises(ResourceExhausted):
        features.pictures({"a": lambda: RED})
    with pytest.raises(ResourceExhausted):
        features.texts(["lamp"])
    assert not features.kept_pictures(["a"])
    assert not features.kept_texts(["lamp"])


def test_labels_and_queries_are_not_held_back_by_a_fault_on_request(
    features: Features, runs: CountedRuns
) -> None:
    """They come in the order asked for, doubles included."""
    runs.error = ResourceExhausted("out of memory")
    vectors = features.query_vectors(["lamp", "hat", "lamp"])
    assert vectors.shape == (3, FakeClip().dim)
    np.testing.assert_array_equal(vectors[0], vectors[2])
    np.testing.assert_array_equal(features.query_vectors(["lamp", "hat", "lamp"]), vectors)
    assert runs.rows == []


def test_another_model_finds_nothing_of_the_first(
    features: Features, cache: ResultCache, runs: CountedRuns
) -> None:
    """Vectors of different spaces are never mixed, nor are pictures and texts."""
    features.pictures({"lamp": lambda: RED})
    assert not features_of(cache, runs, "fake@2").kept_pictures(["lamp"])
    assert not features.kept_texts(["lamp"])


def test_threads_that_ask_for_a_model_at_once_share_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two decoders need it for the first picture; twice the memory would be for nothing."""
    loaded: list[FakeClip] = []
    other = threading.Thread(target=lambda: resources_module.load_model("shared", "cpu", "X"))

    def load(*_arguments: object, **_options: object) -> FakeClip:
        if not loaded:
            loaded.append(FakeClip())
            other.start()
            other.join(0.1)  # without a lock it would be through by then
        else:
            loaded.append(FakeClip())
        return loaded[-1]

    monkeypatch.setattr(resources_module, "load_clip", load)
    resources_module.load_model("shared", "cpu", "X")
    other.join()
    assert len(loaded) == 1


def test_probabilities_sum_to_one_and_favour_the_nearest(features: Features) -> None:
    """A softmax over scaled cosines."""
    prompts: Vector = features.query_vectors(["a", "b", "c"])
    shares = features.probabilities(prompts[1:2], prompts)[0]
    assert shares.sum() == pytest.approx(1)
    assert int(shares.argmax()) == 1


def test_a_decoded_picture_is_dropped_once_the_model_has_its_view(features: Features) -> None:
    """A batch of large pictures does not fit in memory at once."""
    decoded: list[weakref.ref[Image.Image]] = []
    alive: list[int] = []

    def load() -> Image.Image:
        alive.append(sum(each() is not None for each in decoded))
        decoded.append(weakref.ref(picture := Image.new("RGB", (20, 20))))
        return picture

    many = 8 * DECODERS * DECODED_AT_ONCE
    assert len(features.pictures({str(number): load for number in range(many)})) == many
    assert max(alive) <= 2 * DECODERS * DECODED_AT_ONCE  # those at hand, and those just let go


class FaultyClip(FakeClip):
    """A model that chokes on one colour and loses count on another."""

    def preprocess(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """No blue."""
        if any(image.getpixel((0, 0)) == (0, 0, 255) for image in images):
            raise ValueError("blue")
        return super().preprocess(images)

    def encode_images(self, pixels: torch.Tensor) -> Vector:
        """No number for pure red."""
        vectors = super().encode_images(pixels)
        vectors[[bool(one[0].min() == 1) for one in pixels], 3] = np.inf
        return vectors

    def encode_texts(self, texts: Sequence[str]) -> Vector:
        """No number for a hat."""
        vectors = super().encode_texts(texts)
        vectors[[text == "hat" for text in texts], 0] = np.nan
        return vectors


@pytest.fixture
def faulty(cache: ResultCache, runs: CountedRuns) -> Features:
    """Features of a model with faults."""
    model = FaultyClip(id="fake@1")
    return Features(lambda: model, "fake@1", cache, run=runs)  # type: ignore[arg-type]


def test_a_picture_that_cannot_be_preprocessed_is_one_bad_row(faulty: Features) -> None:
    """The others of its batch have their vectors."""
    black = Image.new("RGB", (20, 20))
    made = faulty.pictures({"a": lambda: black, "bad": lambda: BLUE, "b": lambda: black})
    assert isinstance(made["bad"], Internal)
    assert set(faulty.kept_pictures(made)) == {"a", "b"}


def test_a_vector_that_is_not_finite_is_refused_and_not_kept(faulty: Features) -> None:
    """A picture's is its row's error alone; a text's is named."""
    made = faulty.pictures({"a": lambda: Image.new("RGB", (20, 20)), "bad": lambda: RED})
    assert isinstance(made["bad"], Internal)
    assert "not finite" in made["bad"].message
    assert set(faulty.kept_pictures(made)) == {"a"}
    for ask in (faulty.texts, faulty.query_vectors):
        with pytest.raises(Internal, match="not finite for the text 'hat'"):
            ask(["lamp", "hat"])
    assert set(faulty.kept_texts(["lamp", "hat"])) == {"lamp"}


def test_a_kept_vector_that_is_not_finite_is_ignored(
    features: Features, cache: ResultCache
) -> None:
    """Who asks makes it anew."""
    spoilt = np.full(FakeClip().dim, np.nan, np.float32)
    cache.put({features._key("image", "a"): spoilt.tobytes()})
    assert not features.kept_pictures(["a"])
