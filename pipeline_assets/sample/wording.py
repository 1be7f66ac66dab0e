"""The words of the sample shop: product names, synonyms, materials."""

from random import Random
from typing import Final

from pipeline_assets.sample.drawing import Subject

SYNONYMS: Final[dict[str, tuple[str, ...]]] = {
    "shirt": ("blouse", "button-up"),
    "trousers": ("pants", "chinos"),
    "dress": ("frock", "gown"),
    "shoe": ("sneaker", "trainer"),
    "hat": ("fedora", "sun hat"),
    "bag": ("handbag", "tote"),
    "cup": ("mug", "coffee mug"),
    "lamp": ("table lamp", "desk light"),
    "chair": ("dining seat", "kitchen seat"),
    "bottle": ("flask", "carafe"),
    "watch": ("wristwatch", "timepiece"),
    "book": ("hardback", "notebook"),
}
MATERIALS: Final[dict[str, tuple[str, ...]]] = {
    "shirt": ("cotton", "linen", "flannel"),
    "trousers": ("cotton", "wool", "corduroy"),
    "dress": ("silk", "linen", "viscose"),
    "shoe": ("leather", "canvas", "suede"),
    "hat": ("felt", "straw", "wool"),
    "bag": ("leather", "canvas", "nylon"),
    "cup": ("ceramic", "porcelain", "enamel"),
    "lamp": ("steel", "brass", "paper"),
    "chair": ("oak", "beech", "plastic"),
    "bottle": ("glass", "steel", "clay"),
    "watch": ("leather", "steel", "rubber"),
    "book": ("cloth-bound", "paper", "leather-bound"),
}
_BRANDS: Final = ("Marlow", "Aurora", "Tresco", "Halden", "Ostara", "Pell", "Quarry", "Lindby")
_ADJECTIVES: Final = ("Everyday", "Classic", "Small", "Large", "Weekend", "Handmade", "Light")


def words_of(subject: Subject) -> Random:
    """Give the randomness for a subject's words, apart from that for its picture."""
    return Random(f"words/{subject.category}/{subject.colour}/{subject.seed}")  # noqa: S311


def material(subject: Subject) -> str:
    """Name what the product is made of."""
    return words_of(subject).choice(MATERIALS[subject.category])


def product_name(subject: Subject) -> str:
    """Name the product as a shop would; about one name in eight tells neither kind nor synonym."""
    rng = words_of(subject)
    stuff = rng.choice(MATERIALS[subject.category])
    brand, synonym = rng.choice(_BRANDS), rng.choice(SYNONYMS[subject.category])
    style = rng.random()
    if style < 0.55:
        return f"{subject.colour.capitalize()} {stuff} {subject.category}"
    if style < 0.80:
        return f"{brand} {synonym} in {subject.colour}"
    if style < 0.92:
        return f"{brand} No. {rng.randint(2, 99)}, {subject.colour}"
    return f"{rng.choice(_ADJECTIVES)} {stuff} {subject.category}"
