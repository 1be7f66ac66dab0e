"""The log of the commands: lines for people, or JSON for machines (PIPELINE_LOG_FORMAT).

Whatever is logged, by us or by a library, no credentials of an address get into it. Worker
processes hand their records over to the command that started them, so this is the one place.
Dagster's own lines are events of its runs, and go where its configuration says.
"""

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum

from pipeline_assets.errors import without_secrets

LEVEL = logging.WARNING
LIBRARIES_OWN = frozenset(
    {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "color_message"}
)
"""What a record has by itself; the rest somebody gave as `extra`."""


class LogFormat(StrEnum):
    """How a record is written."""

    TEXT = "text"
    JSON = "json"


def configure_logging(form: LogFormat) -> None:
    """Have the process write its log to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form is LogFormat.JSON else TextLines())
    logging.basicConfig(level=LEVEL, handlers=[handler])


class TextLines(logging.Formatter):
    """Level, logger and message; a traceback after it."""

    def __init__(self) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The record, without secrets."""
        return without_secrets(super().format(record))


class JsonLines(logging.Formatter):
    """An object a line: time, level, logger, message, process; what `extra` says; an error."""

    def format(self, record: logging.LogRecord) -> str:
        """The record, without secrets."""
        extra = {key: value for key, value in vars(record).items() if key not in LIBRARIES_OWN}
        said = {
            **extra,
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.process,
        }
        if record.exc_info:
            said["error"] = self.formatException(record.exc_info)
        return json.dumps(_cleaned(said), ensure_ascii=False)


def _cleaned(value: object) -> object:
    """What JSON knows, and any other object as text; without secrets however deep."""
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): _cleaned(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(each) for each in value]
    return without_secrets(str(value))
