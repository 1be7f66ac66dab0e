"""The outlines of the twelve products, in a square from -1 to 1 (y down), each one varied."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final, TypeAlias

Point: TypeAlias = tuple[float, float]

_CURVE_POINTS: Final = 22  # enough for a smooth edge at 320 pixels


@dataclass(frozen=True, slots=True)
class Part:
    """A filled polygon: in the product's own colour times `shade`, or in grey of level `shade`."""

    points: tuple[Point, ...]
    shade: float = 1.0
    coloured: bool = True


def outline(category: str, rng: Random) -> tuple[Part, ...]:
    """Give the parts of one product, back to front; the same rng state gives the same parts."""
    return tuple(_OUTLINES[category](rng))


def _polygon(*points: Point, shade: float = 1.0, coloured: bool = True) -> Part:
    return Part(points, shade, coloured)


def _box(
    left: float,
    top: float,
    right: float,
    bottom: float,
    shade: float = 1.0,
    coloured: bool = True,
) -> Part:
    points = ((left, top), (right, top), (right, bottom), (left, bottom))
    return Part(points, shade, coloured)


def _arc(centre: Point, radii: Point, start: float, end: float) -> tuple[Point, ...]:
    step = (end - start) / _CURVE_POINTS
    angles = (start + step * i for i in range(_CURVE_POINTS + 1))
    return tuple(
        (centre[0] + radii[0] * math.cos(a), centre[1] + radii[1] * math.sin(a)) for a in angles
    )


def _ellipse(centre: Point, radii: Point, shade: float = 1.0, *, coloured: bool = True) -> Part:
    return Part(_arc(centre, radii, 0, 2 * math.pi), shade, coloured)


def _band(
    centre: Point, radii: Point, width: float, turn: tuple[float, float], shade: float = 1.0
) -> Part:
    """Give a thick open arc, such as a handle; `turn` is in radians, clockwise from the right."""
    outer = _arc(centre, radii, *turn)
    inner = _arc(centre, (radii[0] - width, radii[1] - width), *turn)
    return Part(outer + inner[::-1], shade)


def _shirt(rng: Random) -> list[Part]:
    waist, sleeve = rng.uniform(0.42, 0.56), rng.uniform(-0.15, 0.3)
    reach = rng.uniform(0.85, 1.0)
    parts = [
        _polygon((-0.45, -0.75), (-reach, sleeve - 0.15), (-reach + 0.25, sleeve), (-0.4, -0.25)),
        _polygon((0.45, -0.75), (reach, sleeve - 0.15), (reach - 0.25, sleeve), (0.4, -0.25)),
        _polygon((-0.5, -0.75), (0.5, -0.75), (waist, 0.8), (-waist, 0.8), shade=0.93),
        _polygon((-0.2, -0.78), (0.2, -0.78), (0.0, rng.uniform(-0.6, -0.4)), shade=0.45),
    ]
    if rng.random() < 0.6:
        buttons = ((0.0, -0.3 + 0.28 * i) for i in range(4))
        parts += [_ellipse(at, (0.04, 0.04), 0.95, coloured=False) for at in buttons]
    return parts


def _trousers(rng: Random) -> list[Part]:
    hem, waist = rng.uniform(0.18, 0.32), rng.uniform(0.36, 0.46)
    foot, crotch = rng.uniform(0.35, 0.5), rng.uniform(-0.4, -0.2)
    left = _polygon((-waist, -0.9), (0.03, -0.9), (0.0, crotch), (-foot + hem, 0.95), (-foot, 0.95))
    right = _polygon((-0.03, -0.9), (waist, -0.9), (foot, 0.95), (foot - hem, 0.95), (0.0, crotch))
    belt = _box(-waist - 0.01, -0.95, waist + 0.01, -0.8, 0.55)
    return [left, Part(right.points, 0.88), belt]


def _dress(rng: Random) -> list[Part]:
    waist, flare = rng.uniform(0.2, 0.28), rng.uniform(0.6, 0.85)
    line = rng.uniform(-0.25, -0.05)
    parts = [
        _box(-0.26, -0.95, -0.18, -0.6),
        _box(0.18, -0.95, 0.26, -0.6),
        _polygon((-0.34, -0.65), (0.34, -0.65), (waist, line), (-waist, line)),
        _polygon((-waist, line), (waist, line), (flare, 0.9), (-flare, 0.9), shade=0.9),
        _box(-waist - 0.02, line - 0.05, waist + 0.02, line + 0.05, 0.55),
    ]
    if rng.random() < 0.5:
        fold = _polygon((-0.02, line), (0.02, line), (flare / 3, 0.9), (flare / 6, 0.9), shade=0.75)
        parts.append(fold)
    return parts


def _shoe(rng: Random) -> list[Part]:
    ankle, toe = rng.uniform(-0.55, -0.3), rng.uniform(0.05, 0.2)
    heel = rng.uniform(0.0, 0.12)
    upper = (
        (-0.9, ankle),
        (-0.3, ankle),
        (-0.1, ankle + 0.3),
        (0.55, toe),
        (0.92, toe + 0.2),
        (0.95, 0.4),
        (-0.92, 0.4),
    )
    sole = _polygon((-0.95, 0.38), (0.98, 0.38), (0.95, 0.55), (-0.95, 0.55 + heel), shade=0.35)
    parts = [Part(upper), sole, _ellipse((-0.6, ankle), (0.28, 0.07), 0.4)]
    for i in range(rng.randint(2, 4)):
        at = (-0.08 + 0.16 * i, ankle + 0.3 + 0.04 * i)
        parts.append(_ellipse(at, (0.05, 0.1), 0.95, coloured=False))
    return parts


def _hat(rng: Random) -> list[Part]:
    crown, height = rng.uniform(0.42, 0.58), rng.uniform(0.7, 0.95)
    brim = rng.uniform(0.85, 1.0)
    dome = _arc((0.0, 0.25), (crown, height), math.pi, 2 * math.pi)
    return [
        _ellipse((0.0, 0.3), (brim, rng.uniform(0.16, 0.24)), 0.85),
        Part(dome),
        _polygon((-crown, 0.06), (crown, 0.06), (crown, 0.27), (-crown, 0.27), shade=0.4),
    ]


def _bag(rng: Random) -> list[Part]:
    top, bottom = rng.uniform(0.5, 0.7), rng.uniform(0.7, 0.88)
    loop = rng.uniform(0.45, 0.65)
    return [
        _band((0.0, -0.15), (0.42, loop), 0.09, (math.pi, 2 * math.pi), 0.6),
        _polygon((-top, -0.2), (top, -0.2), (bottom, 0.8), (-bottom, 0.8)),
        _polygon((-top, -0.2), (top, -0.2), (top * 0.9, 0.15), (-top * 0.9, 0.15), shade=0.78),
        _box(-0.09, 0.05, 0.09, 0.22, 0.85, coloured=False),
    ]


def _cup(rng: Random) -> list[Part]:
    top, bottom = rng.uniform(0.5, 0.62), rng.uniform(0.36, 0.56)
    handle = rng.uniform(0.3, 0.42)
    return [
        _band((0.5, 0.05), (handle, handle), 0.12, (-math.pi / 2, math.pi / 2), 0.8),
        _polygon((-top, -0.6), (top, -0.6), (bottom, 0.65), (-bottom, 0.65)),
        _ellipse((0.0, 0.65), (bottom, 0.1)),
        _ellipse((0.0, -0.6), (top, 0.14), 0.8),
        _ellipse((0.0, -0.58), (top - 0.08, 0.1), 0.25, coloured=False),
    ]


def _lamp(rng: Random) -> list[Part]:
    top, bottom = rng.uniform(0.22, 0.36), rng.uniform(0.55, 0.75)
    metal = rng.uniform(0.2, 0.5)
    return [
        _box(-0.05, -0.2, 0.05, 0.8, metal, coloured=False),
        _ellipse((0.0, 0.84), (rng.uniform(0.32, 0.48), 0.12), metal, coloured=False),
        _polygon((-top, -0.95), (top, -0.95), (bottom, -0.1), (-bottom, -0.1)),
        _ellipse((0.0, -0.1), (bottom, 0.06), 1.25),
    ]


def _chair(rng: Random) -> list[Part]:
    width, seat = rng.uniform(0.45, 0.58), rng.uniform(0.05, 0.2)
    leg = rng.uniform(0.08, 0.13)
    parts = [
        _box(-width, -0.95, -width + leg, 0.95, 0.75),
        _box(width - leg, seat, width, 0.85, 0.6),
        _box(-width + leg * 2.4, seat, -width + leg * 3.4, 0.75, 0.55),
        _box(width + 0.22 - leg, seat, width + 0.22, 0.95, 0.75),
        _polygon((-width, seat), (width, seat), (width + 0.25, seat + 0.2), (-width, seat + 0.2)),
    ]
    slats = rng.randint(2, 3)
    parts += [_box(-width, -0.92 + 0.3 * i, width, -0.75 + 0.3 * i, 0.9) for i in range(slats)]
    return [*parts, _box(width - leg, -0.95, width, seat, 0.75)]


def _bottle(rng: Random) -> list[Part]:
    body, neck = rng.uniform(0.26, 0.38), rng.uniform(0.09, 0.14)
    shoulder = rng.uniform(-0.35, -0.15)
    outline_points = (
        (-neck, -0.8),
        (neck, -0.8),
        (neck, shoulder - 0.15),
        (body, shoulder + 0.1),
        (body, 0.95),
        (-body, 0.95),
        (-body, shoulder + 0.1),
        (-neck, shoulder - 0.15),
    )
    return [
        Part(outline_points),
        _box(-neck - 0.03, -0.97, neck + 0.03, -0.78, 0.3, coloured=False),
        _box(-body, 0.15, body, rng.uniform(0.5, 0.65), 0.95, coloured=False),
        _box(-body + 0.05, shoulder + 0.15, -body + 0.12, 0.9, 1.3),
    ]


def _watch(rng: Random) -> list[Part]:
    strap, dial = rng.uniform(0.2, 0.28), rng.uniform(0.42, 0.52)
    parts = [
        _polygon((-strap, -0.98), (strap, -0.98), (strap * 1.3, 0.0), (-strap * 1.3, 0.0)),
        _polygon((-strap * 1.3, 0.0), (strap * 1.3, 0.0), (strap, 0.98), (-strap, 0.98), shade=0.9),
        _ellipse((0.0, 0.0), (dial, dial), 0.5),
        _ellipse((0.0, 0.0), (dial - 0.09, dial - 0.09), 0.93, coloured=False),
        _box(dial - 0.02, -0.06, dial + 0.1, 0.06, 0.5),
    ]
    for length in (dial * 0.45, dial * 0.68):
        a = rng.uniform(0, 2 * math.pi)
        tip, side = (length * math.cos(a), length * math.sin(a)), 0.04
        left = (side * math.sin(a), -side * math.cos(a))
        right = (-left[0], -left[1])
        parts.append(_polygon(left, tip, right, shade=0.1, coloured=False))
    return parts


def _book(rng: Random) -> list[Part]:
    width, height = rng.uniform(0.52, 0.64), rng.uniform(0.75, 0.9)
    depth = rng.uniform(0.1, 0.2)
    pages = (
        (-width, height),
        (width, height),
        (width + depth, height - depth),
        (width + depth, -height - depth + 0.1),
        (width, -height),
    )
    parts = [
        _polygon(*pages, shade=0.92, coloured=False),
        _box(-width, -height, width, height),
        _box(-width, -height, -width + 0.15, height, 0.6),
    ]
    for i in range(rng.randint(1, 3)):
        top = -height * 0.6 + 0.22 * i
        line = rng.uniform(0.1, width - 0.1)
        parts.append(_box(-0.3, top, line, top + 0.1, 0.95, coloured=False))
    return parts


_OUTLINES: Final[dict[str, Callable[[Random], list[Part]]]] = {
    "shirt": _shirt,
    "trousers": _trousers,
    "dress": _dress,
    "shoe": _shoe,
    "hat": _hat,
    "bag": _bag,
    "cup": _cup,
    "lamp": _lamp,
    "chair": _chair,
    "bottle": _bottle,
    "watch": _watch,
    "book": _book,
}
CATEGORIES: Final = tuple(_OUTLINES)
