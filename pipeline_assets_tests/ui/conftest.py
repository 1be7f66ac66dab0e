"""A webserver and a daemon over two built hours, one of them degraded, and a browser on them."""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Locator, Page, ViewportSize, expect, sync_playwright

from pipeline_assets.core.hours import hour_name
from pipeline_assets.sample.catalogue import catalogue
from pipeline_assets.sample.shop import Shop
from pipeline_assets_tests import REPOSITORY, hours
from pipeline_assets_tests.conftest import SEED
from pipeline_assets_tests.e2e.graphql import Dagster
from pipeline_assets_tests.e2e.processes import BIN, Installation
from pipeline_assets_tests.lengths import HANG_S

SCREENSHOTS = REPOSITORY / "artifacts" / "ui"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ITEMS = 24
"""Of each hour; the accelerator serves as many, and then is out of memory."""
PATIENCE_MS = HANG_S * 1000
"""A sensor looks every 30 s, and a page every 15."""
WINDOW = ViewportSize(width=1600, height=1000)


@dataclass(frozen=True, slots=True)
class Served:
    """Where the UI answers, and the hours that it shows: a good one, then a degraded one."""

    url: str
    good: str
    degraded: str

    @property
    def dagster(self) -> Dagster:
        """The GraphQL behind the UI."""
        return Dagster(self.url)


@dataclass(frozen=True, slots=True)
class Browser:
    """A page of the UI: what a person does and sees, in a line each."""

    page: Page
    url: str

    def open(self, path: str) -> None:
        """Go to an address of the UI."""
        self.page.goto(f"{self.url}{path}")

    def text(self, text: str, *, exact: bool = True) -> Locator:
        """Where a text is seen; Dagster measures long names in invisible copies."""
        return self.page.get_by_text(text, exact=exact).filter(visible=True).first

    def sees(self, *texts: str, exact: bool = True) -> None:
        """Wait until all of these are on the page."""
        for text in texts:
            expect(self.text(text, exact=exact)).to_be_visible()

    def cell(self, name: str, value: str) -> None:
        """Wait until a table has a row of this name with this value."""
        row = self.page.get_by_role("row").filter(visible=True)
        named = row.filter(has=self.page.get_by_role("cell", name=name, exact=True))
        expect(named.get_by_role("cell", name=value).first).to_be_visible()

    def keep(self, name: str) -> None:
        """Keep a screenshot, once the page has all that it asked for."""
        self.page.wait_for_load_state("networkidle")
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png")


@pytest.fixture(scope="module")
def chromium() -> str:
    """The system's browser; tests download none."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("the UI was not looked at: no browser; `apt-get install chromium` gets one")
    return found


@pytest.fixture(scope="module")
def served(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:  # noqa: ARG001 - without a browser nothing is started
    """A webserver and a daemon over the two hours that closed last.

    Of the module and not of the session: playwright keeps an event loop running in the thread.
    """
    folder = tmp_path_factory.mktemp("ui")
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    starts = [now - timedelta(hours=2), now - timedelta(hours=1)]
    good, degraded = map(hour_name, starts)
    with Shop() as shop:
        data = folder / "data"
        drawn = (catalogue(ITEMS, SEED, start, base_url=shop.url) for start in starts)
        hours.write_goods(data, [item for items in drawn for item in items])
        settings = hours.environment_of(data, shop.url) | {
            "PIPELINE_START": starts[0].isoformat(),
            "PIPELINE_WORKERS": "0",
        }
        with Installation(folder, settings) as installation:
            _build(installation, good, degraded)
            installation.start_daemon()
            yield Served(installation.start_webserver().url, good, degraded)
            for service in installation.services:
                service.kill()  # nothing of it is looked at again: a polite stop takes 10 s


def _build(installation: Installation, first: str, last: str) -> None:
    """Both hours at the command line; the accelerator fails after the first one."""
    commands = f"accelerator fail oom --after-rows {ITEMS}", f"run --from {first} --to {last}"
    for arguments in commands:
        subprocess.run(
            [str(BIN / "pipeline-assets"), *arguments.split()],
            cwd=installation.home,
            env=installation.environment,
            check=True,
        )


@pytest.fixture(scope="module")
def page(chromium: str) -> Iterator[Page]:
    """One page for all tests: Dagster's UI takes seconds to load afresh."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium)
        page = browser.new_page(viewport=WINDOW)
        page.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        yield page
        browser.close()


@pytest.fixture
def browser(page: Page, served: Served) -> Browser:
    """The browser, at no address in particular."""
    return Browser(page, served.url)
