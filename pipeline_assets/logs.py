"""The log: lines for people, or JSON for machines (PIPELINE_LOG_FORMAT).

Whatever is logged, by us or by a library, no credentials of an address get into it. Worker
processes hand their records over to the process that started them, so this is the one place.
Dagster's webserver and daemon write JSON themselves (`--log-format json`), whose names for time,
level, logger and message are ours, too.
"""

import json
import logging
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pipeline_assets.errors import without_secrets

LEVEL = logging.WARNING
LIBRARIES_OWN = frozenset(
    {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "color_message"}
)
"""What a record has by itself; the rest somebody gave as `extra`."""

TRACEBACK = "error_traceback"
"""Where an error is in JSON: a name that nobody gives as `extra`, which would be refused then."""

DAGSTER = "dagster"
SERVICES = ("dagster.daemon", "dagster.code_server", "dagster-webserver")
OF_A_RUN = "dagster_meta"
"""What Dagster gives the records of a run."""

RUNS_OWN = frozenset({OF_A_RUN, "dagster_event", "dagster_event_batch_metadata"})
NAMED_OF_A_RUN = ("run_id", "job_name", "step_key")


class LogFormat(StrEnum):
    """How a record is written."""

    TEXT = "text"
    JSON = "json"


def configure_logging(form: LogFormat) -> None:
    """Have the process write its log to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form is LogFormat.JSON else TextLines())
    logging.basicConfig(level=LEVEL, handlers=[handler])


def configure_dagster(form: LogFormat) -> None:
    """Have Dagster's lines of this process, a code server's or a run's, be JSON where ours are.

    The people's form is Dagster's own.
    """
    if form is LogFormat.JSON:
        configure_logging(form)
        logging.getLogger(DAGSTER).handlers.clear()  # its records go on to the root's
        # Each run and tick makes a logger of its own for the console, which dagster.yaml and a
        # run's configuration can add to, and not replace.
        logging.setLoggerClass(JsonLogger)


def configure_services() -> None:
    """Have Dagster's services say what went wrong, and no secret, in whichever format they write.

    By themselves they write `<traceback object>` for an error in JSON.
    """
    logging.setLogRecordFactory(ServiceRecord)


class ServiceRecord(logging.LogRecord):
    """A record that has its error as text, if it is of a service: a run's are Dagster's to read."""

    def __init__(self, name: str | None, *arguments: Any, **more: Any) -> None:
        super().__init__(name or "", *arguments, **more)  # a copy is of nobody at first
        if self.name.startswith(SERVICES):
            with suppress(Exception):  # arguments that do not fit, of which logging itself tells
                self.msg, self.args = without_secrets(self.getMessage()), ()
            if self.exc_info:
                said = without_secrets(logging.Formatter().formatException(self.exc_info))
                # The one is for their JSON, the other for lines for people.
                setattr(self, TRACEBACK, said)
                self.exc_text, self.exc_info = said, None


class JsonLogger(logging.Logger):
    """A logger whose streams are JSON lines, however they are set up."""

    def addHandler(self, hdlr: logging.Handler) -> None:  # noqa: N802 - the library's name
        """Add one; files are left as they are."""
        if isinstance(hdlr, logging.StreamHandler) and not isinstance(hdlr, logging.FileHandler):
            hdlr.setFormatter(JsonLines())
        super().addHandler(hdlr)


class TextLines(logging.Formatter):
    """Level, logger and message; a traceback after it."""

    def __init__(self) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The record, without secrets."""
        return without_secrets(super().format(record))


class JsonLines(logging.Formatter):
    """An object a line: timestamp, level, logger, event (the message), process, and more.

    Namely what `extra` says, an error, and of a run's line the run, job, step and type of event.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record, without secrets."""
        known = LIBRARIES_OWN | RUNS_OWN
        extra = {key: value for key, value in vars(record).items() if key not in known}
        said = {
            **extra,
            **_of_a_run(getattr(record, OF_A_RUN, None)),
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            "process": record.process,
        }
        if record.exc_info:
            said[TRACEBACK] = self.formatException(record.exc_info)
        return json.dumps(_cleaned(said), ensure_ascii=False)


def _of_a_run(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Where a line comes from, in Dagster's own names."""
    if given is None:
        return {}
    named = {name: given[name] for name in NAMED_OF_A_RUN if given[name] is not None}
    event = given["dagster_event"]
    return named if event is None else {**named, "event_type": event.event_type_value}


def _cleaned(value: object) -> object:
    """What JSON knows, and any other object as text; without secrets however deep."""
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): _cleaned(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(each) for each in value]
    return without_secrets(str(value))
