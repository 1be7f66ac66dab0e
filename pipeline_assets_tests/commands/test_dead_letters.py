"""`dead-letters`: what is listed, and what people decide about it."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner

from pipeline_assets.cli import app
from pipeline_assets.commands.dead_letters import EVERYTHING, LetterFilter, dead_letters, decide
from pipeline_assets.core.names import DEAD_LETTERS
from pipeline_assets.core.plan import Verdict
from pipeline_assets.errors import SettingsError
from pipeline_assets.monitoring.derived import derive
from pipeline_assets.resources import Resources
from pipeline_assets_tests import hours
from pipeline_assets_tests.conftest import HOUR, NEXT_HOUR, FickleShop, Goods, Platform, called
from pipeline_assets_tests.hours import command


def publish(platform: Platform, hour: str = HOUR) -> None:
    """Derive the dead letters of an hour."""
    tables = platform.resources.tables
    tables.write(DEAD_LETTERS, hour, derive(tables, DEAD_LETTERS, hour, 0.8))


@pytest.fixture
def letters(platform: Platform, goods: Goods) -> Platform:
    """Two pictures that are not found, and a page in the place of one."""
    platform.feed(
        [
            goods.product("b", image_fault="404"),
            goods.product("c", image_fault="410"),
            goods.product("page", image_fault="html-as-jpeg"),
        ]
    )
    platform.items()
    platform.run()
    publish(platform)
    platform.clock.advance(10)
    return platform


def listed(platform: Platform, **wanted: Any) -> list[tuple[str, str | None, bool | None]]:
    """The items in the order of the list, each with its decision and whether that stands."""
    found = dead_letters(platform.resources, LetterFilter(**wanted))
    return [(row["item_id"], row["decision"], row["stands"]) for row in found]


def test_nothing_derived_yet_is_nothing_listed(resources: Resources) -> None:
    """Not an error, nor to decide about."""
    assert dead_letters(resources, EVERYTHING) == []
    told = decide(resources, Verdict.DISCARD, EVERYTHING, "")
    assert (told["rows"], told["said"]) == (0, ["dead letters discarded: 0"])


def test_letters_say_why_since_when_and_at_what_cost(letters: Platform) -> None:
    """Up to a limit."""
    first = dead_letters(letters.resources, EVERYTHING, 1)
    [row] = first
    assert (row["item_id"], row["error_kind"], row["attempts"]) == ("b", "not_found", 1)
    assert row["cost_usd"] == 0
    assert row["first_seen"] == row["last_seen"] < letters.clock()
    assert (row["decision"], row["why"], row["decided_at"]) == (None, None, None)


@pytest.mark.parametrize(
    ("wanted", "items"),
    [
        ({}, ["b", "c", "page"]),
        ({"reason": "not_found"}, ["b", "c"]),
        ({"stage": "validated"}, ["page"]),
        ({"hour": HOUR}, ["b", "c", "page"]),
        ({"hour": NEXT_HOUR}, []),
        ({"items": ("c", "page")}, ["c", "page"]),
        ({"reason": "not_found", "items": ("c", "page")}, ["c"]),
        ({"reason": "not_found", "stage": "validated"}, []),
    ],
)
def test_letters_are_narrowed_down_by_what_they_have(
    letters: Platform, wanted: dict[str, Any], items: list[str]
) -> None:
    """Each filter narrows what the others leave."""
    assert [item for item, _, _ in listed(letters, **wanted)] == items


@pytest.mark.parametrize(
    ("wanted", "allowed"), [({"reason": "notfound"}, "not_found"), ({"stage": "fetch"}, "fetched")]
)
def test_what_no_letter_can_have_is_refused_with_what_it_can(
    letters: Platform, wanted: dict[str, Any], allowed: str
) -> None:
    """A typo must not look like a clean hour."""
    with pytest.raises(SettingsError, match=allowed):
        dead_letters(letters.resources, LetterFilter(**wanted))
    with pytest.raises(SettingsError, match=allowed):
        decide(letters.resources, Verdict.DISCARD, LetterFilter(**wanted), "")


def test_a_decision_is_shown_though_the_slice_is_older(letters: Platform) -> None:
    """With when and why; what is discarded comes last."""
    told = decide(letters.resources, Verdict.DISCARD, LetterFilter(items=("b",)), "the shop moved")
    assert (told["rows"], told["hours"]) == (1, [HOUR])
    assert listed(letters) == [("c", None, None), ("page", None, None), ("b", "discard", True)]
    row = dead_letters(letters.resources, EVERYTHING)[-1]
    assert (row["why"], row["decided_at"]) == ("the shop moved", letters.clock())


def test_the_next_run_works_on_what_was_requeued_and_on_nothing_else(letters: Platform) -> None:
    """Where it fails again, the list says that it was tried."""
    told = decide(letters.resources, Verdict.REQUEUE, LetterFilter(reason="not_found"), "")
    assert told["said"] == [
        "dead letters requeued: 2",
        "the next run of these hours works on them: pipeline-assets run --hour 2026-03-02-06",
    ]
    assert listed(letters)[0] == ("b", "requeue", True)
    assert called(letters.run()) == {"fetched.http": 2, "fetched.last_good_copy": 2}
    publish(letters)
    assert listed(letters)[0] == ("b", "requeue", False)
    assert called(letters.run()) == {}


def test_a_letter_that_heals_is_no_longer_listed(
    platform: Platform, goods: Goods, shop: FickleShop
) -> None:
    """The table is what counts, not what was decided."""
    item = goods.product("a")
    assert item.image_url is not None
    shop.gone[urlsplit(item.image_url).path] = 404
    platform.feed([item])
    platform.items()
    platform.run()
    publish(platform)
    shop.gone.clear()
    assert decide(platform.resources, Verdict.REQUEUE, LetterFilter(items=("a",)), "")["rows"] == 1
    platform.run()
    assert platform.rows("enriched_items")["a"]["quality"] == 1
    publish(platform)
    assert listed(platform) == []


def test_the_latest_decision_counts_and_says_what_it_overrules(letters: Platform) -> None:
    """A discard can be taken back."""
    decide(letters.resources, Verdict.DISCARD, LetterFilter(hour=HOUR), "")
    letters.clock.advance(1)
    told = decide(
        letters.resources, Verdict.REQUEUE, LetterFilter(items=("c",)), "on second thoughts"
    )
    assert "of these decided about otherwise before: 1" in told["said"]
    assert listed(letters) == [
        ("c", "requeue", True),
        ("b", "discard", True),
        ("page", "discard", True),
    ]


def test_what_a_run_has_worked_on_since_the_list_was_made_is_left(letters: Platform) -> None:
    """The row that the person saw is no more."""
    table = letters.resources.tables.read("validated", HOUR)
    retryable = table.schema.get_field_index("retryable")
    letters.resources.tables.write(
        "validated",
        HOUR,
        table.set_column(retryable, table.schema.field("retryable"), [[True] * table.num_rows]),
    )
    told = decide(letters.resources, Verdict.DISCARD, LetterFilter(stage="validated"), "")
    assert told["rows"] == 0
    assert "left as they are, since a run has worked on them: 1" in told["said"]


def test_a_bad_row_of_the_feed_can_be_discarded_but_not_requeued(
    platform: Platform, goods: Goods
) -> None:
    """No chain makes it: it is mended where it comes from."""
    platform.feed([goods.product("good"), goods.product("nameless", name=" ")])
    platform.items()
    platform.run()
    publish(platform)
    assert listed(platform) == [("nameless", None, None)]
    told = decide(platform.resources, Verdict.REQUEUE, EVERYTHING, "")
    assert told["rows"] == 0
    assert "left as they are, since they are mended in the feed (items): 1" in told["said"]
    assert decide(platform.resources, Verdict.DISCARD, EVERYTHING, "")["rows"] == 1
    assert listed(platform) == [("nameless", "discard", True)]


def test_a_slice_of_an_older_program_is_listed_and_decided_about(letters: Platform) -> None:
    """It has neither key nor first_seen."""
    tables = letters.resources.tables
    old = tables.read(DEAD_LETTERS, HOUR).drop_columns(["key", "first_seen"])
    tables.write(DEAD_LETTERS, HOUR, old)
    decide(letters.resources, Verdict.DISCARD, LetterFilter(items=("b",)), "")
    assert listed(letters)[-1] == ("b", "discard", True)
    rows = dead_letters(letters.resources, EVERYTHING)
    assert all(row["first_seen"] == row["last_seen"] for row in rows)


def test_a_discard_has_lapsed_once_the_input_changed(letters: Platform, goods: Goods) -> None:
    """The picture at the new address is another, though it is not found either."""
    decide(letters.resources, Verdict.DISCARD, EVERYTHING, "")
    letters.feed([goods.product("b", image_fault="404", file_name="img-2")])
    letters.items()
    assert called(letters.run())["fetched.http"] == 1
    publish(letters)
    assert listed(letters)[0] == ("b", "discard", False)
    assert {stands for item, _, stands in listed(letters) if item != "b"} == {True}


@pytest.fixture
def root(letters: Platform, shop: FickleShop, tmp_path: Path) -> Iterator[Path]:
    """The same hour, for the command line."""
    data = letters.resources.data
    with hours.environment(hours.environment_of(data, shop.url, data / "feed.csv"), tmp_path):
        yield data


def test_the_command_line_decides_and_says_what_comes_next(root: Path) -> None:
    """For people in words, for machines as data."""
    assert root.exists()
    said = command("dead-letters", "discard", "--stage", "validated", "--why", "no hope").out
    assert said.splitlines() == [
        "dead letters discarded: 1",
        (
            "no run works on them until their input changes; "
            "`pipeline-assets dead-letters requeue` takes it back"
        ),
    ]
    told = json.loads(
        command("dead-letters", "requeue", "--reason", "not_found", "--format", "json").out
    )
    assert (told["verdict"], told["rows"], told["hours"]) == ("requeue", 2, [HOUR])
    text = command("dead-letters", "list", "--hour", "2026-03-02T06").out
    assert "(no hope): left alone until its input changes" in text.splitlines()[-1]
    assert text.count("waits for the next run of its hour") == 2
    assert text.count("first seen") == 3


@pytest.mark.parametrize("verdict", ["requeue", "discard"])
@pytest.mark.parametrize("arguments", [[], ["--all", "--hour", HOUR]], ids=" ".join)
def test_to_decide_about_everything_has_to_be_said(
    root: Path, verdict: str, arguments: list[str]
) -> None:
    """And with a filter it is not everything."""
    assert root.exists()
    result = CliRunner().invoke(app, ["dead-letters", verdict, *arguments])
    assert result.exit_code == 2
    assert "--all for every one" in " ".join(result.output.split())
    assert command("dead-letters", verdict, "--all").code == 0


def test_several_hours_are_run_as_a_range(letters: Platform, goods: Goods) -> None:
    """As the hint says."""
    item = goods.product("d", image_fault="404")
    letters.feed([replace(item, event_time=item.event_time + timedelta(hours=1))])
    letters.items(NEXT_HOUR)
    letters.run(hour=NEXT_HOUR)
    publish(letters, NEXT_HOUR)
    told = decide(letters.resources, Verdict.REQUEUE, EVERYTHING, "")
    assert told["hours"] == [HOUR, NEXT_HOUR]
    assert told["said"][-1].endswith(f"run --from {HOUR} --to {NEXT_HOUR}")
