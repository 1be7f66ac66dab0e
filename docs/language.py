"""The language of an item's text: py3langid where it is sure, else common words, else skip."""

import re
from collections.abc import Sequence
from functools import cache, partial

import pyarrow as pa
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from pipeline_assets.api import Made, Outcome, Rung, Stage, Unsupported, Work, tool

STATUS, TEXT = "extracted_text.status", "extracted_text.text"
COMMON = {
    "de": {"der", "die", "das", "und", "ist"},
    "en": {"the", "of", "and", "is", "with"},
    "es": {"el", "los", "es", "y", "para"},
    "fr": {"le", "les", "et", "est", "pour"},
    "it": {"il", "gli", "di", "che", "è"},
}
model = cache(partial(LanguageIdentifier.from_model_file, MODEL_FILE, norm_probs=True))


def library(_resources: object, works: Sequence[Work]) -> list[Outcome]:
    """Believe py3langid where it is sure, and of a language that ISO 639-1 has."""
    return [
        Made((code,), confidence=sure)
        if sure > 0.5 and len(code) == 2
        else Unsupported(f"py3langid is only {sure:.0%} sure that it is {code!r}")
        for code, sure in (model().classify(work[TEXT]) for work in works)
    ]


def stop_words(_resources: object, works: Sequence[Work]) -> list[Outcome]:
    """Take the language with the most of its commonest words in the text."""
    texts = [set(re.findall(r"\w+", work[TEXT].lower())) for work in works]
    best = [max((len(words & known), code) for code, known in COMMON.items()) for words in texts]
    return [Made((code,)) if hits else Unsupported("it has no common word") for hits, code in best]


rung = partial(Rung, reads=(STATUS, TEXT), requires=lambda w: None if w[TEXT] else "it has no text")
STAGE = Stage(
    name="language",
    description="The language of each item's text, as ISO 639-1 has it.",
    values=(pa.field("language", pa.string()),),
    required=("language",),
    rungs=(
        rung(name="library", factor=1.0, call=library, producer=lambda _: tool("py3langid")),
        rung(name="stop_words", factor=0.8, call=stop_words, producer=lambda _: "stop-words/1"),
    ),
    skip_factor=0.7,
    applies=lambda work: work[STATUS] != "not-applicable",
)
