"""The language of a text: as the page declares it, else as its letters tell."""

import re
from functools import cache
from typing import Any, Final

SURE: Final = 0.9
"""py3langid gives product names and numbers some language at 0.1 to 0.7."""
ENOUGH_CHARS: Final = 40
SAMPLE_CHARS: Final = 10_000

_HTML_LANG = re.compile(
    r"""(?i)<html\b[^<>]*?\b(?:xml:)?lang\s*+=\s*+["']?\s*+([a-z]{2,3})(?![a-z0-9])"""
)
_NO_LANGUAGES = frozenset({"mul", "und", "zxx"})


def declared_language(head: str) -> str | None:
    """The language that a page's html tag names, without its region: `de` for `de-AT`."""
    found = _HTML_LANG.search(head)
    language = found[1].lower() if found else None
    return None if language in _NO_LANGUAGES else language


def detected_language(text: str) -> str | None:
    """The language of a text in ISO 639-1; None where there is too little of it to be sure."""
    if len(text) < ENOUGH_CHARS:
        return None
    language, sure = _identifier().classify(text[:SAMPLE_CHARS])
    return language if sure >= SURE and len(language) == 2 else None


@cache
def _identifier() -> Any:
    from py3langid.langid import (  # noqa: PLC0415 - half a second, where no page declares it
        MODEL_FILE,
        LanguageIdentifier,
    )

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
