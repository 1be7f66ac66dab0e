"""What a person sees of `pipeline-assets serve`: search, filter, an item, quality; no script."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from pipeline_assets.resources import Resources
from pipeline_assets_tests.conftest import HOUR, FickleShop
from pipeline_assets_tests.e2e.processes import HOST, Installation, answers, free_port
from pipeline_assets_tests.serve import shelf
from pipeline_assets_tests.ui.conftest import SCREENSHOTS, WINDOW

PHONE = ViewportSize(width=390, height=844)


@pytest.fixture(scope="module")
def shown(
    chromium: str,  # noqa: ARG001 - without a browser nothing is made
    finished_root: Path,
    tmp_path_factory: pytest.TempPathFactory,
    shop: FickleShop,
) -> Iterator[Resources]:
    """A data root that has everything."""
    data = tmp_path_factory.mktemp("served") / "data"
    resources = shelf.copied(finished_root, data, shop)
    yield resources
    resources.close()


@pytest.fixture(scope="module")
def address(shown: Resources, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the service answers, as a process of its own."""
    port = free_port()
    url = f"http://{HOST}:{port}"
    settings = {
        "PIPELINE_DATA": str(shown.data),
        "PIPELINE_ACCELERATOR": "cpu",
        "PIPELINE_START": shown.settings.start.isoformat(),
    }
    with Installation(tmp_path_factory.mktemp("service"), settings) as installation:
        service = installation.start(
            "serve", "pipeline-assets", "serve", "--port", str(port), url=url
        )
        service.until(lambda: answers(f"{url}/healthz"), "the service's first answer")
        yield url


def kept(page: Page, name: str) -> None:
    """Keep the whole page, wide and on a phone, where nothing may stick out to the side."""
    for form, size in (("wide", WINDOW), ("phone", PHONE)):
        page.set_viewport_size(size)
        page.wait_for_load_state("networkidle")
        page.screenshot(path=SCREENSHOTS / f"serve-{name}-{form}.png", full_page=True)
        scroll = "() => document.documentElement.scrollWidth"
        assert page.evaluate(scroll) <= size["width"], f"{name} is too wide for a {form} window"
    page.set_viewport_size(WINDOW)


def test_people_search_filter_and_look(page: Page, address: str, shown: Resources) -> None:
    """From the search box to an item, to what is wrong with it, to the quality of all."""
    evil = shelf.evil_item(shown)
    row = next(
        row
        for row in shown.tables.read("enriched_items", HOUR).to_pylist()
        if row["item_id"] == evil
    )
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))

    page.goto(address)
    kept(page, "1-start")
    page.get_by_label("What to look for").fill("owned shirt")
    page.keyboard.press("Enter")
    hits = page.get_by_role("listitem").filter(has=page.get_by_role("heading", level=2))
    expect(hits.first).to_be_visible()
    everything = hits.count()
    kept(page, "2-search")

    page.get_by_text("Filters", exact=True).click()
    label = page.get_by_role("combobox", name="Label", exact=True)
    label.fill(row["label"])
    page.get_by_role("combobox", name="Quality").select_option("0.5")
    page.get_by_role("button", name="Apply").click()
    expect(label).to_have_value(row["label"])
    expect(hits.first.get_by_text(row["label"], exact=False).first).to_be_visible()
    assert 0 < hits.count() <= everything
    hits.first.get_by_text("Why here, why this quality").click()
    kept(page, "3-filtered")

    page.get_by_role("link", name=shelf.EVIL_NAME, exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(shelf.EVIL_NAME)
    assert page.title() == f"{shelf.EVIL_NAME} · pipeline-assets"
    for stage in ("fetched", "extracted text", "image labels", "embeddings"):
        expect(page.get_by_role("rowheader", name=stage).first).to_be_visible()
    loaded = "() => document.querySelector('.item img').naturalWidth"
    assert page.evaluate(loaded) > 0
    kept(page, "4-item")

    page.get_by_role("link", name="Quality").click()
    for part in ("Items by hour", "Rows by stage", "Breakers", "Dead letters by reason"):
        expect(page.get_by_role("heading", name=part)).to_be_visible()
    expect(page.get_by_role("row", name="image_labels.accelerator_clip")).to_contain_text("open")
    kept(page, "5-quality")
    page.get_by_role("link", name=shown_letter(shown)).first.click()
    expect(page.get_by_text("failed", exact=True).first).to_be_visible()
    kept(page, "6-failed")
    assert not complaints


def shown_letter(shown: Resources) -> str:
    """The first item with a dead letter."""
    letters = shown.tables.read("dead_letters", HOUR, ["item_id"]).to_pylist()
    return str(letters[0]["item_id"])
