"""Captions for training: prompts, search queries and product names, each with what it claims."""

from dataclasses import dataclass
from random import Random
from typing import Final

from pipeline_assets.sample.drawing import Subject
from pipeline_assets.sample.wording import MATERIALS, SYNONYMS

_NOUN_ONLY: Final = ("a picture of a {noun}", "a photo of a {noun}", "a {noun}", "{noun}")
_COLOUR_ONLY: Final = ("something {colour}", "a {colour} product", "{colour}")
_BOTH: Final = (
    "a picture of a {colour} {noun}",
    "a photo of a {colour} {noun}",
    "a {colour} {noun}",
    "{colour} {noun}",
    "{noun} in {colour}",
    "{colour} {material} {noun}",
    "a {colour} {noun} made of {material}",
)
_NOUN_ONLY_SHARE: Final = 0.35
_COLOUR_ONLY_SHARE: Final = 0.10
_SYNONYM_SHARE: Final = 0.25


@dataclass(frozen=True, slots=True)
class Caption:
    """A text and its claims; None claims nothing, so the caption is true of more pictures."""

    text: str
    category: str | None
    colour: str | None


def caption(subject: Subject, rng: Random) -> Caption:
    """Describe one picture in one of many ways; every claim is true of it."""
    noun, colour = subject.category, subject.colour
    if rng.random() < _SYNONYM_SHARE:
        noun = rng.choice(SYNONYMS[subject.category])
    style = rng.random()
    if style < _COLOUR_ONLY_SHARE:
        return Caption(rng.choice(_COLOUR_ONLY).format(colour=colour), None, colour)
    if style < _COLOUR_ONLY_SHARE + _NOUN_ONLY_SHARE:
        return Caption(rng.choice(_NOUN_ONLY).format(noun=noun), subject.category, None)
    material = rng.choice(MATERIALS[subject.category])
    text = rng.choice(_BOTH).format(colour=colour, noun=noun, material=material)
    return Caption(text, subject.category, colour)


def is_true_of(claim: Caption, subject: Subject) -> bool:
    """Tell whether a caption holds for a picture."""
    return claim.category in (None, subject.category) and claim.colour in (None, subject.colour)
