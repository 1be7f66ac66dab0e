"""The product pictures."""

import io
import subprocess
import sys

import pytest
from PIL import Image

from pipeline_assets.sample.drawing import COLOURS, SAMPLE_LABELS, Subject, draw, draw_jpeg


def test_there_are_twelve_categories_and_twelve_colours() -> None:
    """The shop is as varied as the models' training needs."""
    assert len(set(SAMPLE_LABELS)) == 12
    assert len(COLOURS) == 12


@pytest.mark.parametrize("category", SAMPLE_LABELS)
def test_every_category_draws_a_picture_in_every_colour(category: str) -> None:
    """No combination is refused, and the product's colour is on the picture."""
    for seed, colour in enumerate(COLOURS):
        picture = draw(Subject(category, colour, seed))
        assert picture.mode == "RGB"
        assert min(picture.size) >= 144
        assert max(picture.size) <= 288


def test_a_subject_always_gives_the_same_bytes() -> None:
    """Another process draws the very same picture."""
    script = (
        "import hashlib; from pipeline_assets.sample.drawing import Subject, draw_jpeg; "
        "print(hashlib.sha256(draw_jpeg(Subject('hat', 'red', 5))).hexdigest())"
    )
    command = [sys.executable, "-c", script]
    digests = {subprocess.run(command, capture_output=True, check=True).stdout for _ in range(2)}
    assert len(digests) == 1


def test_seeds_give_different_pictures_of_different_sizes() -> None:
    """Nothing but category and colour is the same from seed to seed."""
    pictures = [draw(Subject("lamp", "blue", seed)) for seed in range(20)]
    assert len({picture.tobytes() for picture in pictures}) == 20
    assert len({picture.size for picture in pictures}) > 15


def test_the_jpeg_decodes_in_full() -> None:
    """What is served is a sound picture."""
    subject = Subject("watch", "green", 2**32 - 1)
    picture = Image.open(io.BytesIO(draw_jpeg(subject)))
    picture.load()
    assert picture.size == draw(subject).size
