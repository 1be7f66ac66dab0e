"""Twins in a real index: the good one first, however many others there are."""

from typing import Any

import pytest

from pipeline_assets.search import Mode, SearchIndex
from pipeline_assets_tests.search.samples import EMBEDDERS, HOUR, item, pictured, table

MODES = ["keyword", "vector", "hybrid"]
CROWD = 300
"""Three times what a list puts forward."""


def order(index: SearchIndex, mode: Mode, top: int = 10) -> list[str]:
    """The ids of the hits for red things, best first."""
    hits = index.search("red", mode=mode, top=top, embedders=EMBEDDERS)
    return [hit.item_id for hit in hits]


@pytest.mark.parametrize("twins", [True, False])
@pytest.mark.parametrize("mode", MODES)
def test_the_best_of_a_crowd_of_equals_is_first(
    index: SearchIndex, mode: Mode, twins: bool
) -> None:
    """Cutting a list off never cuts off the best."""

    def mug(item_id: str, quality: float) -> dict[str, Any]:
        url = "http://shop/mug" if twins else f"http://shop/{item_id}"
        return pictured(item_id, "red", name="red mug", quality=quality, image_url=url)

    crowd = [mug(f"a-{n:03}", 0.5) for n in range(CROWD)]
    index.replace_hour(HOUR, table(*crowd, mug("z", 0.6)))
    assert order(index, mode)[:2] == ["z", "a-000"]


@pytest.mark.parametrize("mode", MODES)
def test_a_degraded_twin_alone_in_its_space_does_not_pass_the_good_one(
    index: SearchIndex, mode: Mode
) -> None:
    """Though it is first among one, and the good one past the end of its lists."""
    same: dict[str, Any] = {"name": "red mug", "image_url": "http://shop/mug"}
    good = pictured("good", "red green", label="mug", text="It holds tea. " * 3, **same)
    bad = pictured("bad", "red", space="clip-b", label="red", quality=0.72, **same)
    crowd = [pictured(f"a-{n:03}", "red", name="red pot", quality=0.3) for n in range(CROWD)]
    index.replace_hour(HOUR, table(good, bad, *crowd))
    assert order(index, mode)[:2] == ["good", "bad"]


def test_a_pending_twin_is_behind_a_finished_one(index: SearchIndex) -> None:
    """However poor."""
    rows = item("a", "red mug", quality=None, status="pending"), item("b", "red mug", quality=0.2)
    index.replace_hour(HOUR, table(*rows))
    assert order(index, "hybrid") == ["b", "a"]
