"""The words of a text, as they are looked up: letters and digits, and nothing that has syntax."""

import re
import unicodedata
from collections.abc import Sequence

MAX_WORDS = 64
"""Distinct words of a query that are looked up; a longer one is a pasted document, whose first
words say what it is about."""

_WORD = re.compile(r"[^\W_]+")


def words_of(text: str) -> list[str]:
    """The words of a text, each once."""
    words = _WORD.findall(unicodedata.normalize("NFC", text))
    return list(dict.fromkeys(words))[:MAX_WORDS]


def name_key(words: Sequence[str]) -> str:
    """What a name and a query have in common where the query is the whole name."""
    return " ".join(words).lower()
