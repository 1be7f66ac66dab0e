"""Product pictures drawn from a seed: 12 categories, 12 colours, everything else varied.

The same subject always gives the same bytes, so the shop needs no storage for its pictures.
"""

import io
import math
from dataclasses import dataclass
from random import Random
from typing import Final, TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from pipeline_assets.sample.shapes import CATEGORIES, Part, Point, outline

Rgb: TypeAlias = tuple[int, int, int]

SAMPLE_LABELS: Final[tuple[str, ...]] = CATEGORIES
COLOURS: Final[dict[str, Rgb]] = {
    "red": (205, 35, 40),
    "orange": (240, 130, 25),
    "yellow": (240, 210, 40),
    "green": (45, 145, 60),
    "turquoise": (50, 190, 185),
    "blue": (40, 75, 195),
    "purple": (125, 50, 160),
    "pink": (240, 130, 175),
    "brown": (115, 72, 40),
    "black": (32, 32, 36),
    "grey": (130, 132, 135),
    "white": (240, 240, 236),
}

_SIDE_PX: Final = (144, 288)
_OVERSAMPLING: Final = 2
_MIN_CONTRAST: Final = (
    75.0  # Euclidean, of 441 in RGB: below it a product melts into its background
)
_CONTRAST_TRIES: Final = 8


@dataclass(frozen=True, slots=True)
class Subject:
    """What a picture shows; its `seed` (32 bits) settles all that the two names leave open."""

    category: str
    colour: str
    seed: int


def draw(subject: Subject) -> Image.Image:
    """Draw one product as an RGB picture of 144 to 288 pixels a side, in a few milliseconds."""
    rng = Random(f"{subject.category}/{subject.colour}/{subject.seed}")  # noqa: S311 - not a secret
    size = (rng.randint(*_SIDE_PX), rng.randint(*_SIDE_PX))
    large = (size[0] * _OVERSAMPLING, size[1] * _OVERSAMPLING)
    colour = _shifted(COLOURS[subject.colour], rng, 16)
    picture = _background(large, colour, rng)
    _draw_product(picture, outline(subject.category, rng), colour, rng)
    return _noisy(picture.reduce(_OVERSAMPLING), rng)


def draw_jpeg(subject: Subject) -> bytes:
    """Draw one product as JPEG bytes; the quality setting, 70 to 92, comes from the seed too."""
    buffer = io.BytesIO()
    draw(subject).save(buffer, "JPEG", quality=70 + subject.seed % 23)
    return buffer.getvalue()


def _shifted(colour: Rgb, rng: Random, spread: int) -> Rgb:
    r, g, b = (min(255, max(0, c + rng.randint(-spread, spread))) for c in colour)
    return r, g, b


def _shaded(colour: Rgb, shade: float) -> Rgb:
    r, g, b = (min(255, round(c * shade)) for c in colour)
    return r, g, b


def _backdrop_colour(product: Rgb, rng: Random) -> Rgb:
    """Pick a mostly muted colour that the product stands out from."""
    candidate = (255, 255, 255)
    for _ in range(_CONTRAST_TRIES):
        grey, spread = rng.randint(40, 250), rng.choice((8, 30, 70))
        candidate = _shifted((grey, grey, grey), rng, spread)
        if math.dist(candidate, product) >= _MIN_CONTRAST:
            return candidate
    return candidate


def _background(size: tuple[int, int], product: Rgb, rng: Random) -> Image.Image:
    first, second = _backdrop_colour(product, rng), _backdrop_colour(product, rng)
    picture = Image.new("RGB", size, first)
    style = rng.choice(("plain", "gradient", "table", "stripes", "spots"))
    pen = ImageDraw.Draw(picture)
    if style == "gradient":
        mask = Image.linear_gradient("L").rotate(rng.choice((0, 90, 180, 270))).resize(size)
        picture.paste(second, (0, 0), mask)
    elif style == "table":
        pen.rectangle((0, round(size[1] * rng.uniform(0.5, 0.8)), *size), fill=second)
    elif style == "stripes":
        width = rng.randint(size[0] // 16, size[0] // 5)
        for left in range(0, size[0], 2 * width):
            pen.rectangle((left, 0, left + width, size[1]), fill=second)
    elif style == "spots":
        for _ in range(rng.randint(3, 12)):
            x, y = rng.randint(0, size[0]), rng.randint(0, size[1])
            r = rng.randint(size[0] // 40, size[0] // 10)
            pen.ellipse((x - r, y - r, x + r, y + r), fill=second)
    return picture


@dataclass(frozen=True, slots=True)
class _Placement:
    """Where the unit square lands in the picture: mirrored, stretched, turned, moved."""

    centre: Point
    scale: Point
    cos: float
    sin: float

    def pixels(self, points: tuple[Point, ...], offset: float = 0.0) -> list[Point]:
        x0, y0 = self.centre[0] + offset, self.centre[1] + offset
        sx, sy = self.scale
        return [
            (
                x0 + sx * x * self.cos - sy * y * self.sin,
                y0 + sx * x * self.sin + sy * y * self.cos,
            )
            for x, y in points
        ]


def _placement(size: tuple[int, int], rng: Random) -> _Placement:
    half = min(size) * rng.uniform(0.26, 0.44)
    stretch = rng.uniform(0.88, 1.14)
    mirror = rng.choice((-1.0, 1.0))
    turn = math.radians(rng.gauss(0.0, 11.0))
    slack = (max(0.0, size[0] / 2 - half), max(0.0, size[1] / 2 - half))
    centre = (
        size[0] / 2 + slack[0] * rng.uniform(-0.7, 0.7),
        size[1] / 2 + slack[1] * rng.uniform(-0.7, 0.7),
    )
    scale = (mirror * half * stretch, half / stretch)
    return _Placement(centre, scale, math.cos(turn), math.sin(turn))


def _draw_product(picture: Image.Image, parts: tuple[Part, ...], colour: Rgb, rng: Random) -> None:
    pen, place = ImageDraw.Draw(picture), _placement(picture.size, rng)
    if rng.random() < 0.5:
        offset, shadow = min(picture.size) * 0.02, rng.randint(60, 120)
        for part in parts:
            pen.polygon(place.pixels(part.points, offset), fill=(shadow, shadow, shadow))
    for part in parts:
        base = colour if part.coloured else (255, 255, 255)
        pen.polygon(place.pixels(part.points), fill=_shaded(base, part.shade))


def _noisy(picture: Image.Image, rng: Random) -> Image.Image:
    if rng.random() < 0.2:
        picture = picture.filter(ImageFilter.BoxBlur(rng.uniform(0.4, 1.4)))
    strength = rng.randint(1, 14)
    pixels = np.asarray(picture, dtype=np.int16)
    noise = np.random.default_rng(rng.getrandbits(64)).integers(
        -strength, strength + 1, size=pixels.shape, dtype=np.int8
    )
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))
