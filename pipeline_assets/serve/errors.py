"""What the service refuses, and how it says so.

PipelineError
├── BadRequest    a parameter is not usable: field, value, what is allowed
├── NoItem        no hour has an item of that id
├── TooLargeBody  more was sent than is read
├── Busy          as many requests as may are being answered or wait
└── CannotListen  there is no address to answer at
"""

import logging
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from pipeline_assets.errors import (
    InvalidInput,
    PipelineError,
    TooLarge,
    Unsupported,
    without_secrets,
)
from pipeline_assets.search import IndexDamaged, NoSuchFilter, NotIndexed

log = logging.getLogger(__name__)

SHOWN_CHARS = 80
RETRY_AFTER_S = 1


class BadRequest(PipelineError):
    """A parameter is not usable. Names it, its value and what is allowed."""

    def __init__(self, field: str, value: object, allowed: str) -> None:
        self.field, self.value, self.allowed = field, value, allowed
        super().__init__(f"{field}={str(value)[:SHOWN_CHARS]!r} is not usable: {allowed}")


class NoItem(PipelineError):
    """No hour has an item of that id."""

    def __init__(self, item_id: str) -> None:
        self.item_id = item_id
        super().__init__(f"no hour has an item {item_id!r}; a search finds items by words")


class TooLargeBody(PipelineError):
    """More was sent than is read."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        super().__init__(
            f"the body is over the limit of {limit_bytes} bytes: send a smaller picture"
        )


class Busy(PipelineError):
    """As many requests as may are being answered or wait."""

    def __init__(self, requests: int) -> None:
        self.requests = requests
        super().__init__(
            f"{requests} requests are being answered or wait: try again in {RETRY_AFTER_S} s"
        )


class CannotListen(PipelineError):
    """The service has no address to answer at."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        self.host, self.port, self.reason = host, port, reason
        super().__init__(
            f"cannot listen at {host}, port {port}: {reason}. Give another with --port or --host."
        )


KNOWN: tuple[tuple[tuple[type[Exception], ...], int, str], ...] = (
    ((BadRequest, NoSuchFilter), 400, "bad_request"),
    ((NoItem, NotIndexed), 404, "no_item"),
    ((TooLargeBody, TooLarge), 413, "too_large"),
    ((Unsupported,), 415, "unsupported"),
    ((InvalidInput,), 422, "invalid_input"),
    ((Busy,), 503, "busy"),
    ((IndexDamaged,), 503, "index_damaged"),
    ((TimeoutError,), 504, "timeout"),
    ((PipelineError, SQLAlchemyError, OSError), 503, "unavailable"),
)
"""Errors, the HTTP status of each, and its kind; the first that fits."""

OF_THE_REQUEST = (
    BadRequest,
    NoSuchFilter,
    NoItem,
    NotIndexed,
    TooLargeBody,
    TooLarge,
    Unsupported,
    Busy,
)
"""Errors that say nothing but what is wrong with what was asked."""


@dataclass(frozen=True, slots=True)
class RefusalOut:
    """An error as the client is told of it: HTTP status, a stable kind, and what to do."""

    status: int
    kind: str
    message: str


def refusal(error: Exception, timeout_s: float) -> RefusalOut:
    """What a client is told; what is wrong here and not there is logged, too."""
    if isinstance(error, HTTPException):
        return _of_http(error)
    for types, status, kind in KNOWN:
        if isinstance(error, types):
            message = _message(error, timeout_s)
            if status >= 500:
                log.warning("a request was not answered: %s", str(error) or message)
            return RefusalOut(status, kind, message)
    log.error("a request failed", exc_info=error)
    return RefusalOut(500, "internal", "an unexpected error; the log of the service has it")


def _message(error: Exception, timeout_s: float) -> str:
    if isinstance(error, TimeoutError):
        return f"not answered within {timeout_s:g} s: ask for less, or try again"
    if isinstance(error, OF_THE_REQUEST):
        return without_secrets(str(error))
    if isinstance(error, InvalidInput):
        return without_secrets(f"{error}; send a JPEG, PNG, WebP or GIF")
    # What others say has folders of the server, which are nobody's business over there.
    if isinstance(error, IndexDamaged):
        return (
            "the search index cannot be read; the server's log says why. On the server, "
            "`pipeline-assets index rebuild` makes it anew from enriched_items"
        )
    return (
        "this cannot be answered now; the server's log says why. On the server, "
        "`pipeline-assets doctor` says what to mend"
    )


def _of_http(error: HTTPException) -> RefusalOut:
    if error.status_code == 404:
        return RefusalOut(
            404, "not_found", "there is nothing here; /openapi.json lists what there is"
        )
    if error.status_code == 405:
        return RefusalOut(405, "method_not_allowed", "not with this method; see /openapi.json")
    return RefusalOut(error.status_code, "bad_request", error.detail)
