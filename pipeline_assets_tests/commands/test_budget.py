"""`budget list | pause | resume`."""

import getpass
import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline_assets.cli import app
from pipeline_assets.commands.budget import budgets, pause, resume
from pipeline_assets.errors import SettingsError
from pipeline_assets.resources import Resources
from pipeline_assets.stages import STAGES
from pipeline_assets.state.budgets import EVERY
from pipeline_assets_tests.conftest import Clock, open_resources
from pipeline_assets_tests.hours import command

STAGE = "image_labels"


def by_stage(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The rows by their stage."""
    return {row["stage"]: row for row in rows}


def test_everything_is_listed_before_anything_was_spent(resources: Resources) -> None:
    """All stages together first; the tokens are each stage's own."""
    rows = budgets(resources)
    assert [row["stage"] for row in rows] == [EVERY, *(stage.name for stage in STAGES)]
    assert rows[0] == {
        "stage": EVERY,
        "known": True,
        "spent_usd": 0.0,
        "cap_usd": None,
        "retries_left": None,
        "paused": None,
    }
    assert {row["retries_left"] for row in rows[1:]} == {100}


def test_what_was_spent_and_retried_is_shown_under_its_cap(tmp_path: Path, clock: Clock) -> None:
    """Today's; tomorrow it is nothing again."""
    resources = open_resources(tmp_path / "data", clock, daily_usd=10, stage_daily_usd={STAGE: 0.5})
    budget = resources.budgets.stage(STAGE)
    assert budget.spend(0.25, 3).rows == 2
    assert budget.retries(30) == 30
    rows = by_stage(budgets(resources))
    assert (rows[EVERY]["spent_usd"], rows[EVERY]["cap_usd"]) == (0.5, 10)
    assert (rows[STAGE]["spent_usd"], rows[STAGE]["cap_usd"]) == (0.5, 0.5)
    assert (rows[STAGE]["retries_left"], rows["embeddings"]["cap_usd"]) == (70, None)
    clock.advance(86400)
    assert by_stage(budgets(resources))[STAGE]["spent_usd"] == 0
    resources.close()


def test_a_cap_for_a_name_that_no_stage_has_is_shown_as_such(tmp_path: Path, clock: Clock) -> None:
    """Settings do not know the stages, so a typo is found here."""
    resources = open_resources(tmp_path / "data", clock, stage_daily_usd={"image_label": 5})
    *known, last = budgets(resources)
    assert all(row["known"] for row in known)
    assert (last["stage"], last["known"], last["cap_usd"]) == ("image_label", False, 5)
    assert last["retries_left"] is None
    resources.close()


def test_a_pause_is_said_and_taken_back(resources: Resources) -> None:
    """With the one who did it, and the reason; one of all stages is not one of a stage."""
    rows = by_stage(pause(resources, STAGE, "the invoice looks odd"))
    assert getpass.getuser() in rows[STAGE]["paused"]
    assert "the invoice looks odd" in rows[STAGE]["paused"]
    assert rows[EVERY]["paused"] is None
    pause(resources, None, "")
    assert resources.budgets.stage("embeddings").spend(0.01, 1).rows == 0
    rows = by_stage(resume(resources, None))
    assert rows[EVERY]["paused"] is None
    assert rows[STAGE]["paused"] is not None
    assert by_stage(resume(resources, STAGE))[STAGE]["paused"] is None
    assert resources.budgets.stage(STAGE).spend(0.01, 1).rows == 1


def test_a_user_without_a_name_is_known_by_number(
    resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container that runs under any number."""

    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr(getpass, "getuser", nobody)
    rows = by_stage(pause(resources, STAGE, ""))
    assert rows[STAGE]["paused"].startswith(f"uid {os.getuid()}@")


@pytest.mark.parametrize("name", ["image_label", "", EVERY])
def test_a_name_that_no_stage_has_is_refused_with_the_names_there_are(
    resources: Resources, name: str
) -> None:
    """A typo must not look like a pause."""
    with pytest.raises(SettingsError, match=STAGE):
        pause(resources, name, "")
    with pytest.raises(SettingsError, match="embeddings"):
        resume(resources, name)
    assert resources.budgets.pauses() == {}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root of one's own, as the environment has it, with a cap for a typo."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIPELINE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("PIPELINE_STATE_URL", "")
    monkeypatch.setenv("PIPELINE_DAILY_USD", "12.5")
    monkeypatch.setenv("PIPELINE_STAGE_DAILY_USD", "image_label=5")
    return tmp_path / "data"


def test_people_read_every_pause_in_full(data: Path) -> None:
    """Under the table, however long the reason; markup in it is text."""
    assert data
    why = "[bold]odd[/] " * 20
    said = command("budget", "pause", STAGE, "--why", why)
    assert (said.code, said.err) == (0, "")
    listed = command("budget", "list")
    assert listed == said
    for shown in ("all stages", "12.5", "no stage is called image_label", "yes", why.strip()):
        assert shown in listed.out
    assert "yes" not in command("budget", "resume", STAGE).out


def test_machines_read_the_same_from_every_command(data: Path) -> None:
    """A row for each stage, after the change."""
    assert data
    for arguments, paused in [(("pause",), True), (("list",), True), (("resume",), False)]:
        said = command("budget", *arguments, "--format", "json")
        assert (said.code, said.err) == (0, "")
        rows = by_stage(json.loads(said.out))
        assert (rows[EVERY]["paused"] is not None) is paused
        assert rows["image_label"]["known"] is False


def test_a_wrong_name_is_one_line_on_stderr(data: Path) -> None:
    """And nothing is changed."""
    assert data
    said = command("budget", "pause", "image_label")
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith("pipeline-assets: stage='image_label' is not usable: one of fetched")


@pytest.mark.parametrize("path", [(), ("list",), ("pause",), ("resume",)])
def test_budget_explains_itself(path: tuple[str, ...]) -> None:
    """Down to the last subcommand."""
    result = CliRunner().invoke(app, ["budget", *path, "--help"])
    assert result.exit_code == 0
    assert "Usage:" in result.output
