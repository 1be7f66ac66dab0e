"""How far values agree, by kind of value."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.core.agreement import row_by_row, same, same_words, shared_words

TEXTS = st.text(st.sampled_from("ab -\n"), max_size=30)


@pytest.mark.parametrize(
    ("one", "other", "agreement"),
    [
        pytest.param("a red shirt", "a red shirt", 1.0, id="equal"),
        pytest.param(
            "A red\n  shirt!", "a red shirt", 1.0, id="case, space and marks are not told"
        ),
        pytest.param("red shirt", "shirt red", 1.0, id="nor is their order"),
        pytest.param("a red shirt", "a red shirt of fine linen", 2 * 3 / 9, id="words too many"),
        pytest.param("so so", "so", 2 / 3, id="each word as often as it is there"),
        pytest.param("red", "blue", 0.0, id="nothing in common"),
        pytest.param("red", "", 0.0, id="one is empty"),
        pytest.param("", "", 1.0, id="both are"),
        pytest.param("...", "!", 0.0, id="without a word they are equal or not"),
    ],
)
def test_texts_agree_by_the_words_that_they_share(one: str, other: str, agreement: float) -> None:
    """Twice the common words by all words."""
    assert shared_words(one, other) == pytest.approx(agreement)


@given(TEXTS, TEXTS)
def test_shared_words_are_a_share_whoever_comes_first(one: str, other: str) -> None:
    """And a text shares all its words with itself."""
    assert 0 <= shared_words(one, other) <= 1
    assert shared_words(one, other) == shared_words(other, one)
    assert shared_words(one, one) == 1


def test_same_is_all_of_the_columns_or_nothing() -> None:
    """A column that is not named may differ."""
    primary = {"type": "png", "width": 3, "pages": 1}
    fallbacks = [{**primary, "pages": None}, {**primary, "width": 4}]
    assert same("type", "width")([primary, primary], fallbacks) == [1.0, 0.0]


def test_null_is_a_value_like_any_other() -> None:
    """A page has no width, whoever looks at it."""
    assert same("width")([{"width": None}] * 2, [{"width": None}, {"width": 4}]) == [1.0, 0.0]


def test_same_words_looks_at_its_column() -> None:
    """And at one row after the other."""
    primary = [{"title": "x", "text": "a b"}, {"title": "x", "text": "c"}]
    fallback = [{"title": "y", "text": "a b"}, {"title": "y", "text": "d"}]
    assert same_words("text")(primary, fallback) == [1.0, 0.0]


def test_a_measure_of_two_rows_may_abstain() -> None:
    """None says that the two cannot be compared."""
    measure = row_by_row(lambda primary, _fallback: primary["sure"])
    assert measure([{"sure": None}, {"sure": 0.5}], [{}, {}]) == [None, 0.5]
