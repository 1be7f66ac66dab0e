"""The deploy folder: every name in it is one that exists."""

import os
import re
from configparser import ConfigParser
from pathlib import Path

import pytest
import yaml

from pipeline_assets.automation.dagster_internals import (
    RunStorageSqlMetadata,
    ScheduleStorageSqlMetadata,
    SqlEventLogStorageMetadata,
)
from pipeline_assets.settings import ENV_PREFIX, Settings
from pipeline_assets.state.database import metadata
from pipeline_assets_tests import REPOSITORY
from pipeline_assets_tests.deploy.composed import (
    COMPOSE,
    DEPLOY,
    OURS,
    SERVICES,
    env_file,
    probe,
)
from pipeline_assets_tests.e2e.processes import BIN

SETTINGS = {f"{ENV_PREFIX}{name.upper()}" for name in Settings.model_fields}
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
VARIABLE = re.compile(r"\$\{(\w+)")


def lines(file: str) -> list[str]:
    """The lines of a file of the deploy folder that say something."""
    text = (DEPLOY / file).read_text()
    return [line.strip() for line in text.splitlines() if line.strip() and line[0] != "#"]


def test_the_services_are_those_that_the_platform_needs() -> None:
    """And each of ours runs as somebody who is nobody."""
    assert set(SERVICES) == {*OURS, "postgres", "proxy"}
    assert OURS == ["storage", "code-location", "daemon", "webserver"]
    assert {SERVICES[name]["user"] for name in OURS} == {"10001:10001"}
    assert "USER 10001:10001" in lines("Dockerfile")


def test_only_the_proxy_is_reached_from_outside() -> None:
    """Dagster's UI has no login; a code location runs what it is told to; so does a database."""
    published = {name for name, service in SERVICES.items() if "ports" in service}
    assert published == {"proxy"}
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    on_the_way_out = {name for name, each in SERVICES.items() if "outside" in each["networks"]}
    assert on_the_way_out == {"proxy", "code-location"}
    assert "inside" not in SERVICES["proxy"]["networks"]


def test_the_proxy_asks_for_a_name_and_a_password_before_the_webserver() -> None:
    """Which it reaches under its name and port."""
    assert lines("Caddyfile") == [
        "{$UI_SITE} {",
        "basic_auth {",
        "{$UI_USER} {$UI_PASSWORD_HASH}",
        "}",
        "reverse_proxy webserver:3000",
        "}",
    ]
    asked = set(re.findall(r"\{\$(\w+)\}", (DEPLOY / "Caddyfile").read_text()))
    assert asked == set(SERVICES["proxy"]["environment"])


@pytest.mark.parametrize("name", OURS)
def test_every_command_is_one_that_the_environment_has(name: str) -> None:
    """The health checks' too."""
    commands = [SERVICES[name]["command"]]
    if name != "storage":  # it is over when the others begin
        commands.append(probe(name))
    for command in commands:
        assert os.access(BIN / command[0], os.X_OK), command


def test_every_pipeline_variable_is_a_setting() -> None:
    """A misspelt one would be ignored."""
    named = set(env_file("settings.env"))
    for name in OURS:
        named |= set(SERVICES[name]["environment"])
    assert {each for each in named if each.startswith(ENV_PREFIX)} <= SETTINGS
    assert {f"{ENV_PREFIX}STATE_URL", f"{ENV_PREFIX}DAGSTER_STORAGE_URL"} <= named


def test_what_compose_fills_in_is_in_the_example() -> None:
    """No more and no less."""
    asked = set(VARIABLE.findall((DEPLOY / "compose.yaml").read_text()))
    assert asked == set(env_file(".env.example"))
    assert {".env"} == {line for line in [".env"] if f"/deploy/{line}" in ignored()}


def ignored() -> list[str]:
    """What git leaves alone."""
    return (REPOSITORY / ".gitignore").read_text().splitlines()


@pytest.mark.parametrize("name", ["code-location", "daemon", "webserver"])
def test_every_service_writes_its_log_for_machines(name: str) -> None:
    """Dagster's lines by its own option, ours and the runs' by our setting."""
    command = SERVICES[name]["command"]
    assert command[command.index("--log-format") + 1] == "json"
    assert env_file("settings.env")[f"{ENV_PREFIX}LOG_FORMAT"] == "json"


def test_every_path_is_there() -> None:
    """What is mounted from this folder, built from, and copied into the image."""
    assert SERVICES["storage"]["build"] == {"context": "..", "dockerfile": "deploy/Dockerfile"}
    mounted = [volume for service in SERVICES.values() for volume in service.get("volumes", ())]
    for volume in mounted:
        source = volume.partition(":")[0]
        assert (
            source in COMPOSE["volumes"]
            or source.startswith("${FEED_FOLDER")
            or (DEPLOY / source).is_file()
        )
    copied = [line.split()[1:-1] for line in lines("Dockerfile") if line.startswith("COPY")]
    allowed = (REPOSITORY / ".dockerignore").read_text().splitlines()
    for path in (path for paths in copied for path in paths if not path.startswith("--")):
        assert (REPOSITORY / path).exists()
        assert f"!{path}" in allowed


def test_services_wait_for_what_they_need() -> None:
    """Tables first, then the code, then what asks for it; nothing waits in a circle."""
    waits = {name: set(SERVICES[name].get("depends_on", ())) for name in SERVICES}
    assert waits["storage"] == {"postgres"}
    assert waits["code-location"] == {"storage"}
    assert waits["daemon"] == waits["webserver"] == {"code-location"}
    for name, needed in waits.items():
        for each in needed if isinstance(SERVICES[name].get("depends_on"), dict) else ():
            wanted = SERVICES[name]["depends_on"][each]["condition"]
            assert wanted != "service_healthy" or "healthcheck" in SERVICES[each]


def test_whatever_dies_is_started_again() -> None:
    """Nobody has to."""
    for name, service in SERVICES.items():
        assert service["restart"] == ("on-failure" if name == "storage" else "unless-stopped")


def test_the_workspace_names_the_code_location_and_its_port() -> None:
    """As the compose file starts it."""
    [entry] = yaml.safe_load((DEPLOY / "workspace.yaml").read_text())["load_from"]
    server = entry["grpc_server"]
    command = SERVICES[server["host"]]["command"]
    assert str(server["port"]) in command
    assert server["location_name"] in command


def test_both_databases_may_be_one() -> None:
    """No table of ours has the name of one of Dagster's."""
    theirs = {
        table
        for each in (
            RunStorageSqlMetadata,
            SqlEventLogStorageMetadata,
            ScheduleStorageSqlMetadata,
        )
        for table in each.tables
    }
    assert len(theirs) > 10
    assert not theirs & set(metadata.tables)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_starts_a_command_again_whenever_it_ends(unit: Path) -> None:
    """One that the environment has, on loopback where it listens."""
    parsed = ConfigParser(strict=False, interpolation=None)
    parsed.read(unit)
    service = parsed["Service"]
    command = service["ExecStart"].split()
    assert os.access(BIN / Path(command[0]).name, os.X_OK)
    assert service["Restart"] == "always"
    assert service["User"] == "pipeline"
    if "--host" in command:
        assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[-2:] == ["--log-format", "json"]
    assert f"{ENV_PREFIX}LOG_FORMAT=json" in service["Environment"].split()
