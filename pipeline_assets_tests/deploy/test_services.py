"""The commands of the compose file, as plain processes on a real PostgreSQL.

Without containers: hosts and ports are those of loopback, and the rest is as it is written.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline_assets.automation.launcher import lost_reason
from pipeline_assets_tests.conftest import HOUR, HOUR_START
from pipeline_assets_tests.deploy.composed import DEPLOY, SERVICES, env_file, probe
from pipeline_assets_tests.e2e.graphql import Dagster
from pipeline_assets_tests.e2e.processes import HOST, Installation, Service, answers, free_port
from pipeline_assets_tests.lengths import HANG_S
from pipeline_assets_tests.postgres import Postgres

LOG_FORMAT = "PIPELINE_LOG_FORMAT"
FEED = "https://user:pa55word@127.0.0.1:9/feed.csv"
ENDED = ("SUCCESS", "FAILURE")


class Deployed:
    """The services of the compose file, started in its order."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.ports = {"4000": str(free_port()), "3000": str(free_port())}
        workspace = (DEPLOY / "workspace.yaml").read_text()
        (installation.home / "deploy").mkdir()
        (installation.home / "deploy" / "workspace.yaml").write_text(
            workspace.replace("code-location", HOST).replace("4000", self.ports["4000"])
        )

    def here(self, command: list[str]) -> list[str]:
        """The command, on loopback and on ports that are free."""
        words = [HOST if word == "0.0.0.0" else word for word in command]  # noqa: S104 - replaced
        for there, here in self.ports.items():
            words = [word.replace(there, here) for word in words]
        return words

    def start(self, name: str) -> Service:
        """Start a service by its very command."""
        return self.installation.start(name, *self.here(SERVICES[name]["command"]))

    def healthy(self, name: str) -> bool:
        """What its health check says."""
        found = subprocess.run(
            self.here(probe(name)),
            cwd=self.installation.home,
            env=self.installation.environment,
            capture_output=True,
            timeout=HANG_S,
            check=False,
        )
        return found.returncode == 0


@pytest.fixture
def deployed(tmp_path: Path, postgres: Postgres) -> Iterator[Deployed]:
    """Everything but the containers; both databases are one, as in the compose file."""
    url = postgres.schema_url()
    settings = {
        "PIPELINE_DATA": str(tmp_path / "data"),
        "PIPELINE_STATE_URL": url,
        "PIPELINE_DAGSTER_STORAGE_URL": url,
        "PIPELINE_FEED": FEED,
        "PIPELINE_START": HOUR_START.isoformat(),
        LOG_FORMAT: env_file("settings.env")[LOG_FORMAT],
    }
    with Installation(tmp_path, settings) as installation:
        yield Deployed(installation)


def test_the_services_start_find_each_other_and_are_healthy(deployed: Deployed) -> None:
    """Storage first, and again: an upgrade does it at every start."""
    for _time in range(2):
        storage = deployed.start("storage")
        assert storage.process.wait(HANG_S) == 0, storage.said()
    code = deployed.start("code-location")
    code.until(lambda: deployed.healthy("code-location"), "the code location's health")
    daemon, webserver = deployed.start("daemon"), deployed.start("webserver")
    dagster = Dagster(f"http://{HOST}:{deployed.ports['3000']}")
    webserver.until(lambda: answers(f"{dagster.url}/server_info"), "the webserver's first answer")
    webserver.until(dagster.location_loaded, "the code location in the webserver")
    daemon.until(lambda: deployed.healthy("daemon"), "the daemon's first heartbeats")
    assert deployed.healthy("webserver")
    assert_all_is_json(code, daemon, webserver, dagster)


def assert_all_is_json(code: Service, daemon: Service, webserver: Service, ui: Dagster) -> None:
    """Each line of each service, and of a run that fails, has the same names and no secret."""
    run = ui.launch("hour", HOUR)
    daemon.until(lambda: ui.runs(dagster__partition=HOUR)[0].status in ENDED, "the run's end")
    for service in (code, daemon, webserver):
        lines = [json.loads(line) for line in service.log.read_text().splitlines()]
        assert lines
        for line in lines:
            assert line.keys() >= {"timestamp", "level", "logger", "event"}
            assert "pa55word" not in str(line)
        of_the_run = [line for line in lines if line.get("run_id") == run]
        failures = [line for line in of_the_run if line.get("event_type") == "STEP_FAILURE"]
        assert [line["step_key"] for line in failures] == (["items"] if service is code else [])


def test_a_run_of_a_code_location_that_was_started_again_is_lost(deployed: Deployed) -> None:
    """It answers under the same name, and has no such run."""
    code = deployed.start("code-location")
    code.until(lambda: deployed.healthy("code-location"), "the code location's health")
    server = {"host": HOST, "port": int(deployed.ports["4000"])}
    reason = lost_reason("a-run-from-before", {".dagster/grpc_info": json.dumps(server)})
    assert "started again since" in (reason or "")
