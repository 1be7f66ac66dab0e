"""Dagster's services as real processes over a home of their own, each started and ended by its pid.

with Installation(folder, settings) as dagster:
dagster.start_daemon()
ui = dagster.start_webserver()
Dagster(ui.url).launch("hour", HOUR)
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

import yaml

from pipeline_assets_tests import REPOSITORY
from pipeline_assets_tests.lengths import HANG_S

BIN = Path(sys.executable).parent
HOST = "127.0.0.1"

STOP_S = 20.0
LOOK_EVERY_S = 0.1
SHOWN_OF_LOG = 3000

Found = TypeVar("Found")


def wait_for(look: Callable[[], Found | None], what: str, *, patience_s: float = HANG_S) -> Found:
    """What `look` finds, once it finds something. Raises `TimeoutError` naming `what`."""
    deadline = time.monotonic() + patience_s
    while not (found := look()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {patience_s:.0f} s")
        time.sleep(LOOK_EVERY_S)
    return found


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        return int(taken.getsockname()[1])


@dataclass(frozen=True)
class Service:
    """A process that runs until it is ended; what it prints is in `log`. Leads its own group."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    url: str = ""

    def said(self) -> str:
        """The end of what it has printed."""
        return self.log.read_text(errors="replace")[-SHOWN_OF_LOG:]

    def until(
        self, look: Callable[[], Found | None], what: str, *, patience_s: float = HANG_S
    ) -> Found:
        """Wait for something that cannot be once the process has ended."""

        def look_again() -> Found | None:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended before {what}: {self.said()}")
            return look()

        try:
            return wait_for(look_again, what, patience_s=patience_s)
        except TimeoutError as late:
            raise TimeoutError(f"{late}; {self.name} said: {self.said()}") from None

    def kill(self) -> None:
        """End it and all that it started at the same moment, as a power cut would."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(HANG_S)

    def kill_alone(self) -> None:
        """End the process, and leave what it started without a parent."""
        self.process.kill()
        self.process.wait(HANG_S)

    def stop(self) -> None:
        """Ask it to end, and see to it that it does, with all that it started."""
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_S)
        self.kill()


def answers(url: str) -> bool:
    """Whether an address answers with success."""
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:  # noqa: S310 - ours, on loopback
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@dataclass
class Installation:
    """A DAGSTER_HOME with our `dagster.yaml`, the settings, and the services over them.

    `changes` are laid over the sections of `dagster.yaml`: a test has no minute to wait for a poll.
    Leaving the `with` block ends every service.
    """

    folder: Path
    settings: Mapping[str, str]
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    workspace: Path = REPOSITORY / "workspace.yaml"
    services: list[Service] = field(default_factory=list)

    def __enter__(self) -> Self:
        self.home.mkdir(parents=True)
        config = yaml.safe_load((REPOSITORY / "dagster.yaml").read_text())
        for section, values in self.changes.items():
            config[section] = {**config.get(section, {}), **values}
        (self.home / "dagster.yaml").write_text(yaml.safe_dump(config))
        shutil.copy(self.workspace, self.home / "workspace.yaml")
        return self

    def __exit__(self, *_error: object) -> None:
        for service in reversed(self.services):
            service.stop()

    @property
    def home(self) -> Path:
        """DAGSTER_HOME, and the working directory of the services."""
        return self.folder / "home"

    @property
    def environment(self) -> dict[str, str]:
        """Just these settings: none of the tests' own environment."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PIPELINE_", "DAGSTER_"))
        }
        kept["PATH"] = os.pathsep.join([str(BIN), kept.get("PATH", "")])
        ours = {"DAGSTER_HOME": str(self.home), "PYTHONPATH": str(REPOSITORY)}
        return {**kept, **ours, **self.settings}

    def start(self, name: str, *command: str, url: str = "") -> Service:
        """Start one more service by its command line."""
        log = self.folder / f"{name}-{len(self.services)}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                command,
                cwd=self.home,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        service = Service(name, process, log, url)
        self.services.append(service)
        return service

    def start_daemon(self) -> Service:
        """Start schedules, sensors, the run queue and run monitoring."""
        return self.start("daemon", "dagster-daemon", "run")

    def start_webserver(self, port: int | None = None) -> Service:
        """Start the UI and its GraphQL, and wait until it answers."""
        port = port or free_port()
        command = ["dagster-webserver", "--host", HOST, "--port", str(port)]
        service = self.start("webserver", *command, url=f"http://{HOST}:{port}")
        service.until(lambda: answers(f"{service.url}/server_info"), "the webserver's first answer")
        return service
