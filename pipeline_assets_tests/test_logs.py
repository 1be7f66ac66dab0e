"""The commands' log: for people or machines, and never with a secret."""

import json
import logging
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline_assets.errors import SettingsError
from pipeline_assets.logs import JsonLines, TextLines
from pipeline_assets.settings import load_settings

ADDRESS = "https://user:pa55word@example.com/a?token=t0ken"


def record(message: str, *arguments: object, **more: Any) -> logging.LogRecord:
    """A record as a logger makes it."""
    made = logging.getLogger("pipeline_assets.adapters.leases").makeRecord(
        "pipeline_assets.adapters.leases", logging.WARNING, "f", 1, message, arguments, **more
    )
    made.process = 7
    made.created = 1_772_431_200.5
    return made


def raised() -> Any:
    """What `exc_info` is of an error with a secret in it."""
    try:
        int(f"cannot fetch {ADDRESS}")
    except ValueError:
        return sys.exc_info()


def test_a_line_of_json_has_what_machines_look_for() -> None:
    """Time in UTC, level, logger, message, process, and what `extra` says."""
    line = JsonLines().format(
        record("%s of %d", "fetched", 3, exc_info=None, extra={"hour": "2026-03-02-06"})
    )
    assert json.loads(line) == {
        "hour": "2026-03-02-06",
        "time": "2026-03-02T06:00:00.500000+00:00",
        "level": "warning",
        "logger": "pipeline_assets.adapters.leases",
        "message": "fetched of 3",
        "process": 7,
    }
    assert "\n" not in line


def test_what_json_does_not_know_is_written_as_text() -> None:
    """A log line is never the reason for a failure."""
    at = datetime(2026, 3, 2)  # noqa: DTZ001 - any object
    line = JsonLines().format(record("x", exc_info=None, extra={"at": at, "path": Path("a")}))
    assert json.loads(line)["at"] == "2026-03-02 00:00:00"


@pytest.mark.parametrize("form", [JsonLines(), TextLines()])
def test_no_secret_gets_into_the_log(form: logging.Formatter) -> None:
    """Neither by a message, nor by its arguments, nor by an error's text."""
    line = form.format(record("cannot reach %s, %s", ADDRESS, [ADDRESS], exc_info=raised()))
    assert "cannot fetch" in line
    assert "pa55word" not in line
    assert "t0ken" not in line


def test_no_secret_gets_in_by_extra_either() -> None:
    """As text, and as an object that says one."""
    extra = {"url": ADDRESS, "urls": [ADDRESS], "error": ValueError(ADDRESS)}
    line = JsonLines().format(record("x", exc_info=None, extra=extra))
    assert "example.com" in line
    assert "pa55word" not in line
    assert "t0ken" not in line


@pytest.mark.parametrize(("form", "is_json"), [("json", True), ("text", False)])
def test_a_command_writes_as_it_is_told(form: str, tmp_path: Path, *, is_json: bool) -> None:
    """To stderr, so that what it prints stays what was asked for."""
    code = (
        "import logging, sys; from pipeline_assets import cli\n"
        "cli.app = lambda: logging.getLogger('library').warning('said %s', 'so')\n"
        "cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PIPELINE_LOG_FORMAT": form, "PATH": ""},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == ""
    if is_json:
        assert json.loads(done.stderr)["message"] == "said so"
    else:
        assert done.stderr == "WARNING library: said so\n"


def test_another_format_is_refused() -> None:
    """By the setting's name."""
    with pytest.raises(SettingsError, match="PIPELINE_LOG_FORMAT"):
        load_settings(log_format="xml")
