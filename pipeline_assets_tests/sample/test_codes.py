"""The codes in the shop's addresses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.sample.codes import Content, Guide, decode, encode
from pipeline_assets.sample.drawing import COLOURS, SAMPLE_LABELS, Subject
from pipeline_assets.sample.guides import TOPICS

SEEDS = st.integers(0, 2**32 - 1)
CONTENT = st.one_of(
    st.builds(Subject, st.sampled_from(SAMPLE_LABELS), st.sampled_from(tuple(COLOURS)), SEEDS),
    st.builds(Guide, st.sampled_from(tuple(TOPICS)), SEEDS),
)


@given(CONTENT, st.sampled_from(("", "red-shirt-", "img-4711-", "ab00000000-")))
def test_a_code_gives_back_its_content_behind_any_file_name(content: Content, prefix: str) -> None:
    """The last part of a name counts, the rest is decoration."""
    assert decode(prefix + encode(content)) == content


@pytest.mark.parametrize("name", ["", "red-shirt", "ab0000000", "ab00000000x", "mb00000000"])
def test_a_name_without_a_code_is_none(name: str) -> None:
    """Nothing is guessed."""
    assert decode(name) is None
