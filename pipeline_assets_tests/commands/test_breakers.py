"""`breakers list | events | open | disable | reset`."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline_assets.commands.breakers import (
    breakers,
    disable_breaker,
    events,
    open_breaker,
    reset_breaker,
)
from pipeline_assets.core.breaker import BreakerRule
from pipeline_assets.errors import CircuitOpen, Overloaded, SettingsError
from pipeline_assets.resources import Resources
from pipeline_assets.state.breakers import BreakerGate, BreakerPermit
from pipeline_assets_tests.conftest import Platform
from pipeline_assets_tests.hours import command, environment

RULE = BreakerRule(failures=2, wait_s=60)
NAME = "image_labels.cpu_clip"


def fail(gate: BreakerGate, name: str) -> None:
    """One call that fails."""
    permit = gate.permit(name, "")
    assert isinstance(permit, BreakerPermit)
    permit.failure(Overloaded("503"), 0.0)


def test_nothing_recorded_is_nothing_listed(resources: Resources) -> None:
    """Not an error."""
    assert breakers(resources) == []
    assert events(resources, None, 10) == []


def test_breakers_show_mode_failures_and_when_the_next_call_is_due(platform: Platform) -> None:
    """On the database's clock."""
    gate = platform.resources.breakers.gate(RULE)
    fail(gate, "a.rung")
    [closed] = breakers(platform.resources)
    assert (closed["mode"], closed["failures"], closed["next_call_in_s"]) == ("closed", 1, None)
    fail(gate, "a.rung")
    platform.clock.advance(20)
    [opened] = breakers(platform.resources)
    assert (opened["mode"], opened["next_call_in_s"]) == ("open", 40)


def test_events_say_when_what_became_of_a_breaker_and_why(platform: Platform) -> None:
    """Newest first, of one or of all, up to a limit."""
    resources = platform.resources
    for _ in range(2):
        fail(resources.breakers.gate(RULE), NAME)
    opened_at = platform.clock()
    platform.clock.advance(5)
    reset_breaker(resources, NAME)
    platform.clock.advance(5)
    disable_breaker(resources, "fetched.http")
    newest, reset, opened = events(resources, None, 10)
    assert (newest["breaker"], newest["to"]) == ("fetched.http", "disabled")
    assert events(resources, NAME, 10) == [reset, opened]
    assert events(resources, NAME, 1) == [reset]
    assert opened == {
        "at": opened_at,
        "breaker": NAME,
        "generation": 1,
        "from": "closed",
        "to": "open",
        "reason": "2 failures in 120 s; the last: overloaded: 503",
    }


def test_a_person_opens_and_resets_a_breaker(resources: Resources) -> None:
    """By name, whether it ever recorded something or not."""
    assert open_breaker(resources, NAME, None)["mode"] == "forced-open"
    assert isinstance(resources.breakers.gate(RULE).permit(NAME, ""), CircuitOpen)
    assert reset_breaker(resources, NAME)["mode"] == "closed"
    assert isinstance(resources.breakers.gate(RULE).permit(NAME, ""), BreakerPermit)


def test_a_person_opens_a_breaker_for_some_time(platform: Platform) -> None:
    """Then it probes by itself."""
    gate = platform.resources.breakers.gate(RULE)
    assert open_breaker(platform.resources, NAME, 600)["mode"] == "open"
    platform.clock.advance(599)
    assert isinstance(gate.permit(NAME, ""), CircuitOpen)
    platform.clock.advance(1)
    assert isinstance(gate.permit(NAME, ""), BreakerPermit)


def test_a_person_disables_a_breaker(resources: Resources) -> None:
    """Whatever fails, calls are made."""
    assert disable_breaker(resources, NAME)["mode"] == "disabled"
    for _ in range(5):
        fail(resources.breakers.gate(RULE), NAME)


def test_a_name_that_no_rung_has_is_refused_with_the_names_there_are(resources: Resources) -> None:
    """A typo must not look like a breaker that is open."""
    typo = "image_labels.cpuclip"
    with pytest.raises(SettingsError, match=r"image_labels\.cpu_clip"):
        open_breaker(resources, typo, None)
    with pytest.raises(SettingsError):
        disable_breaker(resources, typo)
    with pytest.raises(SettingsError):
        reset_breaker(resources, "a.rung")
    with pytest.raises(SettingsError):
        events(resources, typo, 10)
    assert resources.breakers.all() == {}


@pytest.fixture
def data_root(tmp_path: Path) -> Iterator[None]:
    """An empty data root for commands."""
    with environment({"PIPELINE_DATA": str(tmp_path / "data")}, tmp_path):
        yield


@pytest.mark.usefixtures("data_root")
def test_the_commands_print_for_people_and_for_machines() -> None:
    """The reason is shown whole, whatever its length."""
    assert command("breakers", "events").out == "nothing\n"
    for said in (("open", NAME, "--for", "600"), ("reset", NAME), ("disable", NAME)):
        assert command("breakers", *said).code == 0
    lines = command("breakers", "events").out.splitlines()
    assert [line.split(f"{NAME} ")[1] for line in lines] == [
        "closed → disabled: disabled by a person",
        "open → closed: reset by a person",
        "closed → open: opened for 600 s by a person",
    ]
    [newest] = json.loads(
        command("breakers", "events", NAME, "--limit", "1", "--format", "json").out
    )
    assert (newest["to"], newest["reason"]) == ("disabled", "disabled by a person")


@pytest.mark.usefixtures("data_root")
@pytest.mark.parametrize("seconds", ["0", "86401", "soon"])
def test_a_breaker_is_opened_for_a_second_to_a_day(seconds: str) -> None:
    """Whoever wants more says so with no time at all."""
    assert command("breakers", "open", NAME, "--for", seconds).code == 2
