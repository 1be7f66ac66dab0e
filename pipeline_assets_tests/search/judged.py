"""A small judged collection, and nDCG@10: how good a ranking is, by what people found relevant.

Made for what a search gets wrong: words with other endings, a word in a text that is about
something else, long texts, names inside other names, and degraded copies of good items.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline_assets_tests.search.samples import item

AT = 10

DOCUMENTS: tuple[dict[str, Any], ...] = (
    item("kettle", "Enamel kettle", description="Boils water for tea on any stove."),
    item("kettles", "Two small kettles", description="A pair for camping."),
    item("teapot", "Stoneware teapot", description="Holds a litre of tea and keeps it warm."),
    item("cosy", "Tea cosy", description="Knitted. Keeps a teapot warm for an hour."),
    item("stove", "Camping stove", description="Gas. Boils a kettle of water in four minutes."),
    item("mug", "Coffee mug", description="Stoneware, for coffee or tea."),
    item("grinder", "Coffee grinder", description="Grinds beans by hand."),
    item("beans", "Coffee beans", description="Roasted in Trieste."),
    item("shirt", "Red linen shirt", label="shirt", description="Light, for summer."),
    item("shirt-bad", "Red linen shirt", description="Light, for summer.", quality=0.4),
    item("dress", "Red dress", label="dress", description="Goes with a linen shirt."),
    item("curtain", "Linen curtain", description="White, lets the light through."),
    item("lamp", "Reading lamp", label="lamp", description="Warm light for the desk."),
    item("lantern", "Storm lantern", label="lamp", description="Burns for a night on the balcony."),
    item("desk", "Oak desk", description="With a drawer. A lamp can be clamped to its edge."),
    item("orange", "Orange", description="A fruit."),
    item("juice", "Orange juice", description="Pressed from oranges, a litre."),
    item("jam", "Orange marmalade", description="Bitter, of Seville oranges."),
    item(
        "manual", "How to descale", kind="document", title="Descaling kettles",
        text="Fill the kettle with vinegar. " + "Wait, rinse, repeat and be patient. " * 30,
    ),
    item(
        "guide", "Brewing guide", kind="document", title="How to brew coffee",
        text="Grind the beans, heat the water, pour slowly. " + "Taste and take notes. " * 40,
    ),
    item("tent", "Tent for two", description="For camping, with a bag."),
)  # fmt: skip

JUDGED: Mapping[str, Mapping[str, int]] = {
    "kettle": {"kettle": 3, "kettles": 3, "manual": 2, "stove": 1},
    "kettles for camping": {"kettles": 3, "stove": 2, "kettle": 2, "tent": 1, "manual": 1},
    "descaling a kettle": {"manual": 3, "kettle": 1, "kettles": 1},
    "teapot": {"teapot": 3, "cosy": 2},
    "keep tea warm": {"cosy": 3, "teapot": 3, "mug": 1},
    "coffee": {"beans": 3, "grinder": 2, "mug": 2, "guide": 2},
    "grind coffee beans": {"grinder": 3, "guide": 2, "beans": 2},
    "how to brew coffee": {"guide": 3, "beans": 1, "grinder": 1},
    "red shirt": {"shirt": 3, "shirt-bad": 2, "dress": 1},
    "linen shirts": {"shirt": 3, "shirt-bad": 2, "dress": 1, "curtain": 1},
    "lamp": {"lamp": 3, "lantern": 3, "desk": 1},
    "reading light": {"lamp": 3},
    "orange": {"orange": 3, "juice": 1, "jam": 1},
    "oranges": {"orange": 3, "juice": 1, "jam": 1},
}
"""Query, and how relevant each item is to it: 3 is what was meant, 1 is of some use."""


def ndcg(found: Sequence[str], relevant: Mapping[str, int]) -> float:
    """The discounted gain of the first ten, as a share of the best that was possible."""
    ideal = sorted(relevant.values(), reverse=True)
    return _gain([relevant.get(item_id, 0) for item_id in found]) / _gain(ideal)


def _gain(grades: Sequence[int]) -> float:
    return sum(
        (2**grade - 1) / math.log2(place + 1) for place, grade in enumerate(grades[:AT], start=1)
    )
