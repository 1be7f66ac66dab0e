"""Filters: what may be found at all, by words and by vectors."""

import pytest

from pipeline_assets.core.status import Status
from pipeline_assets.search import Filters, Mode, SearchIndex
from pipeline_assets_tests.search.samples import EMBEDDERS, HOUR, NEXT_HOUR, pictured, table


def factor(stage: str, rung_or_status: str, factor: float | None = 1.0) -> dict[str, object]:
    """One stage's share in a quality."""
    return {"stage": stage, "rung_or_status": rung_or_status, "factor": factor, "reason": None}


LABELLED = [factor("extracted_text", "structured"), factor("image_labels", "cpu_clip", 0.9)]
SKIPPED = [factor("extracted_text", "structured"), factor("image_labels", "skipped", 0.5)]


@pytest.fixture
def shelf(index: SearchIndex) -> SearchIndex:
    """Three red things."""
    mug = {"name": "red mug", "label": "Mug", "quality": 0.9, "quality_factors": LABELLED}
    page = {"name": "red page", "kind": "document", "quality": 0.5, "quality_factors": SKIPPED}
    index.replace_hour(HOUR, table(pictured("mug", "red", **mug), pictured("page", "red", **page)))
    late = {"name": "red pot", "label": "pot", "quality": None, "status": "pending"}
    index.replace_hour(NEXT_HOUR, table(pictured("pot", "red", minutes=60, **late)))
    return index


@pytest.mark.parametrize("mode", ["keyword", "vector", "hybrid"])
@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (Filters(), {"mug", "page", "pot"}),
        (Filters(kind="document"), {"page"}),
        (Filters(label="mug"), {"mug"}),
        (Filters(first_hour=NEXT_HOUR), {"pot"}),
        (Filters(last_hour=HOUR), {"mug", "page"}),
        (Filters(first_hour=HOUR, last_hour=NEXT_HOUR), {"mug", "page", "pot"}),
        (Filters(min_quality=0.0), {"mug", "page"}),
        (Filters(min_quality=0.90001), {"mug"}),
        (Filters(min_quality=0.91), set()),
        (Filters(stages={"image_labels": Status.SKIPPED}), {"page"}),
        (Filters(stages={"image_labels": Status.OK}), {"mug"}),
        (Filters(stages={"labels": Status.OK}), set()),
        (Filters(stages={"extracted_text": Status.OK, "image_labels": Status.OK}), {"mug"}),
        (Filters(kind="product", min_quality=0.95), set()),
    ],
)
def test_what_does_not_pass_is_not_found(
    shelf: SearchIndex, mode: Mode, filters: Filters, expected: set[str]
) -> None:
    """In every mode; qualities are compared after rounding, as everywhere."""
    hits = shelf.search("red", mode=mode, embedders=EMBEDDERS, filters=filters)
    assert {hit.item_id for hit in hits} == expected


def test_a_better_twin_that_does_not_pass_is_not_brought_along(index: SearchIndex) -> None:
    """Nor does it lift anything."""
    same = {"name": "red mug", "image_url": "http://shop/mug"}
    good = pictured("good", "red", label="mug", **same)
    bad = pictured("bad", "red", label="pot", quality=0.5, **same)
    index.replace_hour(HOUR, table(good, bad))
    hits = index.search("red", embedders=EMBEDDERS, filters=Filters(label="pot"))
    assert [(hit.item_id, hit.lifted_over) for hit in hits] == [("bad", None)]
