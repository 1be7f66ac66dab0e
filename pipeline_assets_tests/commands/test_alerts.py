"""`alerts`."""

import json
from datetime import UTC, datetime
from pathlib import Path

from pipeline_assets.alerting.rules import Alert, Severity
from pipeline_assets.commands.alerts import alerts
from pipeline_assets.resources import Resources, opened
from pipeline_assets_tests.alerting.fake_notifier import FakeNotifier
from pipeline_assets_tests.hours import command, environment

BAD = Alert(
    "run:hour/2026-03-02-06",
    Severity.ERROR,
    "the run of hour for 2026-03-02-06 failed",
    "Run 1 failed: [no] room.",
    "Run it again.",
    1772434800.0,
)


def test_nothing_wrong_is_nothing_listed(resources: Resources) -> None:
    """Not an error."""
    resources.alerts.look([], [])
    assert alerts(resources) == []


def test_that_nobody_has_looked_is_not_that_nothing_stands(resources: Resources) -> None:
    """It says so, and what to do."""
    [said] = alerts(resources)
    assert (said["since"], said["title"]) == (None, "nobody has looked yet")
    assert "make ui" in said["what_to_do"]


def test_what_stands_is_listed_with_since_when_and_what_to_do(resources: Resources) -> None:
    """Until it is over."""
    resources.alerts.look([BAD], [FakeNotifier()])
    assert alerts(resources) == [
        {
            "since": datetime(2026, 3, 2, 7, tzinfo=UTC),
            "severity": "error",
            "key": BAD.key,
            "title": BAD.title,
            "what_happened": BAD.happened,
            "what_to_do": BAD.todo,
        }
    ]
    resources.alerts.look([], [FakeNotifier()])
    assert alerts(resources) == []


def test_the_command_prints_for_people_and_for_machines(tmp_path: Path) -> None:
    """Whole, whatever is in it."""
    with environment({"PIPELINE_DATA": str(tmp_path / "data")}, tmp_path):
        assert "nobody has looked yet" in command("alerts").out
        with opened() as resources:
            resources.alerts.look([], [])
            assert command("alerts").out == "nothing stands\n"
            resources.alerts.look([BAD], [FakeNotifier()])
        said = command("alerts").out
        [row] = json.loads(command("alerts", "--format", "json").out)
    assert said == (
        "2026-03-02 07:00:00 error the run of hour for 2026-03-02-06 failed\n"
        "    Run 1 failed: [no] room.\n"
        "    what to do: Run it again.\n"
    )
    assert (row["since"], row["key"]) == ("2026-03-02T07:00:00+00:00", BAD.key)
