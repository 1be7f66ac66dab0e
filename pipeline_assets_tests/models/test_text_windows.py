"""Cutting texts into windows."""

from dataclasses import dataclass, field
from itertools import chain

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.models.clip import SHIPPED_MODELS
from pipeline_assets.models.text_windows import windows
from pipeline_assets.sample.training.checkpoint import tokenizer

SIMPLE = tokenizer(SHIPPED_MODELS["sample-primary"])
START, END = SIMPLE.sot_token_id, SIMPLE.eot_token_id


class LetterTokens:
    """A fake of a Hugging Face tokenizer: each letter is a token, between two special ones."""

    def __call__(self, text: str) -> dict[str, list[int]]:
        """Tokenize without truncating."""
        return {"input_ids": [1, *(ord(letter) for letter in text), 2]}


@dataclass(frozen=True, slots=True)
class FakeHFTokenizer:
    """A fake of open_clip's HFTokenizer, which truncates when called."""

    context_length: int = 12
    tokenizer_mode: str = ""
    tokenizer: LetterTokens = field(default_factory=LetterTokens)

    def __call__(self, texts: list[str]) -> torch.Tensor:
        """Tokenize, truncate and pad."""
        rows = [self.tokenizer(text)["input_ids"][: self.context_length] for text in texts]
        return torch.tensor([row + [0] * (self.context_length - len(row)) for row in rows])


def test_a_short_text_is_what_open_clip_itself_makes_of_it() -> None:
    """One window, token for token."""
    assert windows("A red shirt", SIMPLE) == SIMPLE("A red shirt").tolist()
    assert windows("", SIMPLE) == SIMPLE("").tolist()


@given(st.text(max_size=200))
def test_no_token_is_lost_or_added(text: str) -> None:
    """The windows in a row, without their frames, are the whole text."""
    cut = windows(text, SIMPLE)
    assert {len(window) for window in cut} == {SIMPLE.context_length}
    assert all(window[0] == START and END in window for window in cut)
    inner = [window[1 : window.index(END)] for window in cut]
    if not {START, END} & set(encoded := SIMPLE.encode(text)):
        assert list(chain.from_iterable(inner)) == encoded


MARKERS = [
    *("<end_of_text>", "<END_OF_TEXT>", "&lt;end_of_text&gt;", "&amp;lt;end_of_text&amp;gt;"),
    *("&amp;amp;lt;end_of_text&amp;amp;gt;", "<start_of_text>", "<<end_of_text>end_of_text>"),
]


@pytest.mark.parametrize("marker", MARKERS)
def test_what_looks_like_a_token_of_the_models_own_is_text(marker: str) -> None:
    """A model reads nothing behind one, and a stranger may have written it."""
    [window] = windows(f"a {marker} b", SIMPLE)
    inner = window[1 : window.index(END)]
    assert START not in inner
    assert SIMPLE.encode("b")[0] == inner[-1]


@pytest.mark.parametrize(("words", "count"), [(0, 1), (1, 1), (22, 1), (23, 2), (44, 2), (45, 3)])
def test_a_context_of_24_holds_22_tokens(words: int, count: int) -> None:
    """The boundary is exact."""
    assert len(windows("hat " * words, SIMPLE)) == count


@pytest.mark.parametrize("text", ["", "short", "several words of a text", "x" * 35, "a " * 30])
@pytest.mark.parametrize("mode", ["", "clips"])
def test_other_tokenizers_get_pieces_that_fit(text: str, mode: str) -> None:
    """Words are kept together where they fit, an endless word is split, no letter is lost."""
    cut = windows(text, FakeHFTokenizer(tokenizer_mode=mode))
    letters = [token for window in cut for token in window if token > 2]
    assert [chr(token) for token in letters if token != ord(" ")] == list(text.replace(" ", ""))
    assert all(len(window) == 12 for window in cut)
