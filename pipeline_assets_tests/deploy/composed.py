"""The compose file as compose reads it, as far as tests need that."""

from typing import Any

import yaml

from pipeline_assets_tests import REPOSITORY

DEPLOY = REPOSITORY / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if service["image"] == "pipeline-assets"]


def env_file(name: str) -> dict[str, str]:
    """The variables of an env file."""
    lines = (DEPLOY / name).read_text().splitlines()
    pairs = [line.partition("=") for line in lines if line and not line.startswith("#")]
    return {variable: value for variable, _, value in pairs}


def probe(name: str) -> list[str]:
    """The command of a service's health check."""
    kind, *command = SERVICES[name]["healthcheck"]["test"]
    assert kind == "CMD"
    return [str(word) for word in command]
