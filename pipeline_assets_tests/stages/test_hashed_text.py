"""A vector for any text without a model."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.stages.hashed_text import DIMENSIONS, hashed_vector


@given(st.text())
def test_every_text_has_a_unit_vector(text: str) -> None:
    """Also one without a word."""
    vector = hashed_vector(text)
    assert vector.shape == (DIMENSIONS,)
    assert vector.dtype == np.float32
    assert float(np.linalg.norm(vector)) == pytest.approx(1, abs=1e-5)


def test_case_order_and_punctuation_do_not_matter() -> None:
    """A bag of words."""
    np.testing.assert_allclose(hashed_vector("Red shirt!"), hashed_vector("shirt, red"))


def test_texts_with_words_in_common_point_alike() -> None:
    """More than those with none."""
    shirt = hashed_vector("a red cotton shirt")
    assert shirt @ hashed_vector("red shirt for summer") > shirt @ hashed_vector("blue metal lamp")


def test_a_repeated_word_does_not_drown_the_others() -> None:
    """A hundred lamps and one hat are still a bit of a hat."""
    assert hashed_vector("lamp " * 100 + "hat") @ hashed_vector("hat") > 0.09


def test_the_vector_is_the_same_in_every_process() -> None:
    """It is kept in tables: Python's own salted hash would not do."""
    vector = hashed_vector("shirt")
    assert [(int(i), float(vector[i])) for i in vector.nonzero()[0]] == [(8, -1.0)]
