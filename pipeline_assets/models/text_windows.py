"""Cut a text into windows that fit a model's context, by tokens, losing none of them."""

import re
from collections.abc import Iterable
from typing import Any


def windows(text: str, tokenizer: Any) -> list[list[int]]:
    """Give the token ids of one or more windows, each exactly `context_length` long.

    `tokenizer` is one of open_clip's. Its own call truncates; this never does. What looks like one
    of its own tokens (`<end_of_text>`) is text: a model reads nothing behind such a token.
    """
    if hasattr(tokenizer, "encode") and hasattr(tokenizer, "sot_token_id"):
        return _by_tokens(text, tokenizer)
    text = _spaced(text, getattr(tokenizer.tokenizer, "all_special_tokens", ()))
    rows: list[list[int]] = tokenizer(_by_words(text, tokenizer)).tolist()
    return rows


def _by_tokens(text: str, tokenizer: Any) -> list[list[int]]:
    ids = _encoded(text, tokenizer)
    room = tokenizer.context_length - 2  # start and end of text
    pieces = [ids[start : start + room] for start in range(0, len(ids), room)] or [[]]
    return [_framed(piece, tokenizer) for piece in pieces]


def _encoded(text: str, tokenizer: Any) -> list[int]:
    own = [tokenizer.decoder[number] for number in tokenizer.all_special_ids]
    while True:
        ids: list[int] = tokenizer.encode(text)
        if set(tokenizer.all_special_ids).isdisjoint(ids):
            return ids
        # It undoes entities and odd widths before it looks, so that they are undone here first.
        text = _spaced(tokenizer.clean_fn(text), own)


def _spaced(text: str, tokens: Iterable[str]) -> str:
    """A text in which none of these stands: the first letter is apart from the rest."""
    found = "|".join(re.escape(token) for token in tokens if len(token) > 1)
    if not found:
        return text
    return re.sub(found, lambda token: f"{token[0][0]} {token[0][1:]}", text, flags=re.IGNORECASE)


def _framed(ids: list[int], tokenizer: Any) -> list[int]:
    framed = [tokenizer.sot_token_id, *ids, tokenizer.eot_token_id]
    return framed + [0] * (tokenizer.context_length - len(framed))


def _by_words(text: str, tokenizer: Any) -> list[str]:
    """Halve a text between words, and a single endless word between letters, until all fits."""
    words = text.split()
    if len(text) <= 1 or _fits(text, tokenizer):
        return [text]
    if len(words) > 1:
        middle = len(words) // 2
        halves = (" ".join(words[:middle]), " ".join(words[middle:]))
    else:
        middle = len(text) // 2
        halves = (text[:middle], text[middle:])
    return [piece for half in halves for piece in _by_words(half, tokenizer)]


def _fits(text: str, tokenizer: Any) -> bool:
    """Count tokens with the Hugging Face tokenizer inside, which does not truncate by itself."""
    extra = 1 if getattr(tokenizer, "tokenizer_mode", "") == "clips" else 0  # its class token
    count = len(tokenizer.tokenizer(text)["input_ids"])
    return bool(count + extra <= tokenizer.context_length)
