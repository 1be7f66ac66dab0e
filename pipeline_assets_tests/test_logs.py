"""The commands' log: for people or machines, and never with a secret."""

import json
import logging
import subprocess
import sys
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline_assets.errors import SettingsError
from pipeline_assets.logs import JsonLines, ServiceRecord, TextLines
from pipeline_assets.settings import load_settings

ADDRESS = "https://user:pa55word@example.com/a?token=t0ken"


def record(message: str, *arguments: object, **more: Any) -> logging.LogRecord:
    """A record as a logger makes it."""
    made = logging.getLogger("pipeline_assets.state.leases").makeRecord(
        "pipeline_assets.state.leases", logging.WARNING, "f", 1, message, arguments, **more
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
    """Time in UTC, level, logger, message as Dagster calls them, process, and `extra`."""
    line = JsonLines().format(
        record("%s of %d", "fetched", 3, exc_info=None, extra={"hour": "2026-03-02-06"})
    )
    assert json.loads(line) == {
        "hour": "2026-03-02-06",
        "timestamp": "2026-03-02T06:00:00.500000+00:00",
        "level": "warning",
        "logger": "pipeline_assets.state.leases",
        "event": "fetched of 3",
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


def test_a_line_of_a_run_says_which_run_job_and_step_it_is_of() -> None:
    """In Dagster's names, and without the event itself, which its storage has."""
    meta = {"run_id": "a-run", "job_name": "hour", "step_key": None, "job_tags": {"a": "b"}}
    event = SimpleNamespace(event_type_value="STEP_START")
    extra = {"dagster_meta": {**meta, "dagster_event": event}, "dagster_event": event}
    said = json.loads(JsonLines().format(record("x", exc_info=None, extra=extra)))
    said = {name: said[name] for name in said.keys() - {"timestamp", "level", "logger", "process"}}
    assert said == {
        "run_id": "a-run",
        "job_name": "hour",
        "event_type": "STEP_START",
        "event": "x",
    }


DAGSTERS = """
import logging
import dagster as dg
from dagster._utils.log import configure_loggers
from pipeline_assets.logs import LogFormat, configure_dagster
configure_loggers()
configure_dagster(LogFormat("{form}"))
logging.getLogger("dagster.code_server").info("loaded %d jobs", 2)

@dg.job
def hour(): pass

hour.execute_in_process()
"""


A_SERVICE = """
import logging
from dagster._utils.log import configure_loggers
from pipeline_assets.logs import configure_services
configure_services()
configure_loggers(formatter="{form}")
try:
    int("{address}")
except ValueError:
    logging.getLogger("dagster.daemon.SensorDaemon").exception("cannot reach %s", "{address}")
"""


def test_a_services_json_has_the_error_and_no_secret() -> None:
    """Though it is Dagster that writes it; without us it has neither a traceback nor a scruple."""
    code = A_SERVICE.format(form="json", address=ADDRESS)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    line = json.loads(done.stdout)
    assert line["logger"] == "dagster.daemon.SensorDaemon"
    assert line["event"].startswith("cannot reach https://")
    assert "Traceback (most recent call last)" in line["error_traceback"]
    assert "ValueError: invalid literal" in line["error_traceback"]
    assert "pa55word" not in done.stdout
    assert "t0ken" not in done.stdout


def test_a_services_text_has_the_error_and_no_secret() -> None:
    """Its own option says how it writes, whatever PIPELINE_LOG_FORMAT says to us."""
    code = A_SERVICE.format(form="colored", address=ADDRESS)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "cannot reach https://" in done.stdout
    assert done.stdout.count("Traceback (most recent call last)") == 1
    assert "ValueError: invalid literal" in done.stdout
    assert "pa55word" not in done.stdout + done.stderr
    assert "t0ken" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("message", "arguments", "said"),
    [
        ("GET %s?token=%s&page=%d", ("/a", "t0ken", 2), "GET /a?token=***&page=2"),
        ("%d rows", (Decimal(3),), "3 rows"),
        ("%.2f of %d", (np.float32(0.5), np.int64(4)), "0.50 of 4"),
        ("%(rows)d rows", ({"rows": 3},), "3 rows"),
        ("100% of ?token=t0ken&page=%d", (), "100% of ?token=***&page=%d"),
    ],
)
def test_a_services_message_is_made_first_and_cleaned_then(
    message: str, arguments: tuple[object, ...], said: str
) -> None:
    """A secret shows only in the whole; and the arguments are what the format expects."""
    made = ServiceRecord("dagster.daemon", logging.INFO, "f", 1, message, arguments, None)
    assert made.getMessage() == said


def test_arguments_that_do_not_fit_are_left_to_logging() -> None:
    """Which says so, and goes on."""
    made = ServiceRecord("dagster.daemon", logging.INFO, "f", 1, "%d rows", ("three",), None)
    assert (made.msg, made.args) == ("%d rows", ("three",))


def test_a_service_may_log_an_error_with_an_extra_of_that_name() -> None:
    """The caller gets no error of ours for it."""
    before = logging.getLogRecordFactory()
    logging.setLogRecordFactory(ServiceRecord)
    try:
        made = logging.getLogger("dagster.daemon").makeRecord(
            "dagster.daemon", logging.ERROR, "f", 1, "x", (), raised(), extra={"error": "mine"}
        )
    finally:
        logging.setLogRecordFactory(before)
    said = json.loads(JsonLines().format(made))
    assert said["error"] == "mine"
    assert "ValueError" in said["error_traceback"]


def test_records_of_others_keep_their_errors() -> None:
    """A run's are what Dagster makes its events from."""
    made = ServiceRecord("dagster", logging.ERROR, "f", 1, "%s", (ADDRESS,), raised())
    assert made.exc_info is not None
    assert made.args == (ADDRESS,)


@pytest.mark.parametrize("form", ["json", "text"])
def test_dagsters_own_lines_follow_in_a_process_that_loads_the_definitions(form: str) -> None:
    """A code server's, and those of its runs, whatever their configuration; once each."""
    done = subprocess.run(
        [sys.executable, "-c", DAGSTERS.format(form=form)],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = (done.stdout + done.stderr).splitlines()
    assert sum("loaded 2 jobs" in line for line in lines) == 1
    assert sum("Started execution of run" in line for line in lines) == 1
    if form == "json":
        names = {"timestamp", "level", "logger", "event", "process"}
        assert all(json.loads(line).keys() >= names for line in lines)
    else:
        assert not [line for line in lines if line.startswith("{")]


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
        assert json.loads(done.stderr)["event"] == "said so"
    else:
        assert done.stderr == "WARNING library: said so\n"


def test_another_format_is_refused() -> None:
    """By the setting's name."""
    with pytest.raises(SettingsError, match="PIPELINE_LOG_FORMAT"):
        load_settings(log_format="xml")
