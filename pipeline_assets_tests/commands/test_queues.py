"""`retry-queue`, `dead-letters` and `breakers`."""

import pytest

from pipeline_assets.adapters.breakers import BreakerPermit
from pipeline_assets.commands.queues import (
    breakers,
    dead_letters,
    open_breaker,
    reset_breaker,
    retry_queue,
)
from pipeline_assets.core.breaker import BreakerRule
from pipeline_assets.derived import DEAD_LETTERS, RETRY_QUEUE, derive
from pipeline_assets.errors import CircuitOpen, Overloaded, SettingsError
from pipeline_assets.resources import Resources
from pipeline_assets_tests.conftest import HOUR, Goods, Platform

RULE = BreakerRule(failures=2, wait_s=60)


def published(platform: Platform) -> Platform:
    """With the derived tables of the hour."""
    tables = platform.resources.tables
    for table in (DEAD_LETTERS, RETRY_QUEUE):
        tables.write(table.name, HOUR, derive(tables, table, HOUR, 0.8))
    return platform


def test_nothing_derived_yet_is_nothing_listed(resources: Resources) -> None:
    """Not an error."""
    assert retry_queue(resources, 10) == []
    assert dead_letters(resources, 10) == []
    assert breakers(resources) == []


def test_queue_and_letters_are_listed_up_to_a_limit(platform: Platform, goods: Goods) -> None:
    """What can pass and what cannot, each with its reason."""
    platform.feed(
        [
            goods.product("a", image_fault="503x99"),
            goods.product("b", image_fault="404"),
            goods.product("c", image_fault="410"),
        ]
    )
    platform.items()
    platform.run()
    published(platform)
    assert [row["item_id"] for row in retry_queue(platform.resources, 10)] == ["a"]
    letters = dead_letters(platform.resources, 10)
    assert [(row["item_id"], row["error_kind"]) for row in letters] == [
        ("b", "not_found"),
        ("c", "not_found"),
    ]
    assert len(dead_letters(platform.resources, 1)) == 1


def test_breakers_show_mode_failures_and_when_the_next_call_is_due(platform: Platform) -> None:
    """On the database's clock."""
    gate = platform.resources.breakers.gate(RULE)

    def fail() -> None:
        permit = gate.permit("a.rung", "")
        assert isinstance(permit, BreakerPermit)
        permit.failure(Overloaded("503"), 0.0)

    fail()
    [closed] = breakers(platform.resources)
    assert (closed["mode"], closed["failures"], closed["next_call_in_s"]) == ("closed", 1, None)
    fail()
    platform.clock.advance(20)
    [opened] = breakers(platform.resources)
    assert (opened["mode"], opened["next_call_in_s"]) == ("open", 40)


def test_a_person_opens_and_resets_a_breaker(resources: Resources) -> None:
    """By name, whether it ever recorded something or not."""
    name = "image_labels.cpu_clip"
    assert open_breaker(resources, name)["mode"] == "forced-open"
    assert isinstance(resources.breakers.gate(RULE).permit(name, ""), CircuitOpen)
    assert reset_breaker(resources, name)["mode"] == "closed"
    assert isinstance(resources.breakers.gate(RULE).permit(name, ""), BreakerPermit)


def test_a_name_that_no_rung_has_is_refused_with_the_names_there_are(resources: Resources) -> None:
    """A typo must not look like a breaker that is open."""
    with pytest.raises(SettingsError, match=r"image_labels\.cpu_clip"):
        open_breaker(resources, "image_labels.cpuclip")
    with pytest.raises(SettingsError):
        reset_breaker(resources, "a.rung")
    assert resources.breakers.all() == {}
