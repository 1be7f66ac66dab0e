"""What a person sees in Dagster's UI, and the one thing that is launched there: a backfill."""

import re

from playwright.sync_api import expect

from pipeline_assets.definitions import defs
from pipeline_assets_tests.e2e.graphql import PARTITION_TAG, Dagster, Run
from pipeline_assets_tests.e2e.processes import wait_for
from pipeline_assets_tests.ui.conftest import ITEMS, Browser, Served

"""The daemon looks for backfills every 30 s; then come the processes of two runs."""
ENDED = ("SUCCESS", "FAILURE", "CANCELED")
BACKFILL_PAGE = re.compile(r"/runs/b/(\w+)")


def test_the_graph_shows_every_asset(browser: Browser) -> None:
    """From the feed to search, in groups that unfold."""
    browser.open("/asset-groups")
    browser.sees("Global asset lineage", "ingest")
    browser.page.get_by_role("button", name="Materialize all").wait_for()
    browser.page.keyboard.press("Alt+e")
    browser.page.wait_for_url("**expanded=**")
    browser.page.reload()  # what is unfolded is laid out to fit
    assets = [spec.key.to_user_string() for spec in defs.resolve_all_asset_specs()]
    browser.sees(*assets)
    browser.page.get_by_role("button", name="zoom_out").click(click_count=2)
    browser.keep("1-graph")


def test_a_partition_shows_its_rows_and_their_quality(browser: Browser, served: Served) -> None:
    """Both hours are there; the degraded one says by how much."""
    browser.open(f"/assets/enriched_items?view=partitions&partition={served.degraded}")
    browser.sees(served.good, "Materialized (2)")
    browser.cell("dagster/row_count", str(ITEMS))
    browser.cell("quality_mean", "0.7")
    browser.cell("status_ok", str(ITEMS))
    browser.keep("2-partition")


def test_a_failed_quality_check_says_what_is_wrong(browser: Browser, served: Served) -> None:
    """A warning, which stopped nothing, with its rule and the rows that break it."""
    browser.open("/assets/enriched_items?view=checks")
    browser.text("quality").click()
    browser.sees("Enough rows have a value, and a good one: at least 80%", exact=False)
    browser.sees("fewer than 80% of the rows reach 0.8: ", exact=False)
    browser.sees("non-blocking", "Failed", served.degraded)
    browser.cell("at least 80% of the rows reach 0.8", "expect_column_values_to_be_between")
    browser.keep("3-failed-check")


def test_the_accelerator_says_why_it_is_not_healthy(browser: Browser) -> None:
    """The observation of the sensor that probes it."""
    browser.open("/assets/accelerator?view=overview")
    browser.cell("healthy", "false")
    browser.cell("reason", "out of memory")
    browser.keep("4-accelerator")


def test_the_automation_page_says_what_each_is_for(browser: Browser) -> None:
    """What heals is on from the start; what spends is off until somebody turns it on."""
    browser.open("/automation")
    definitions = [*(defs.sensors or ()), *(defs.schedules or ())]
    browser.sees(*(each.name for each in definitions))
    browser.keep("5-automation")
    browser.page.get_by_role("link", name="heal_low_quality_partitions").click()
    browser.sees("When the accelerator is healthy", "is not healthy since", exact=False)
    browser.sees("View logs")
    browser.keep("6-sensor")


def test_a_backfill_is_launched_through_the_dialog(browser: Browser, served: Served) -> None:
    """One run for each hour, and both succeed."""
    browser.open("/assets/enriched_items?view=partitions")
    browser.page.get_by_role("button", name="Materialize…").click()
    dialog = browser.page.get_by_role("dialog")
    dialog.get_by_role("button", name="All", exact=True).click()
    dialog.get_by_role("textbox").fill(f"[{served.good}...{served.degraded}]")
    expect(dialog.get_by_text("2 partitions", exact=True)).to_be_visible()
    browser.keep("7-backfill-dialog")
    dialog.get_by_role("button", name="Launch backfill").click()
    browser.page.get_by_role("link", name="View", exact=True).click()
    browser.page.wait_for_url(BACKFILL_PAGE)
    expect(browser.text("100% completed")).to_be_visible()
    browser.keep("8-backfill")
    [backfill] = BACKFILL_PAGE.findall(browser.page.url)
    runs = wait_for(lambda: _ended(served.dagster, backfill), "the end of the backfill's runs")
    assert {run.tags[PARTITION_TAG]: run.status for run in runs} == {
        served.good: "SUCCESS",
        served.degraded: "SUCCESS",
    }


def _ended(dagster: Dagster, backfill: str) -> list[Run]:
    """The runs of a backfill, once none of them is at work: a check follows its table."""
    runs = dagster.runs(dagster__backfill=backfill)
    return runs if all(run.status in ENDED for run in runs) else []
