"""The JSON API: each operation once, as data that both the routes and the description come from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from pydantic import BaseModel

from pipeline_assets.commands import breakers as breaker_commands
from pipeline_assets.commands import dead_letters as letter_commands
from pipeline_assets.commands import queues
from pipeline_assets.commands import search as search_commands
from pipeline_assets.core.names import ENRICHED
from pipeline_assets.errors import ErrorKind
from pipeline_assets.resources import Resources
from pipeline_assets.serve import figures, items, metrics
from pipeline_assets.serve.answers import (
    Breaker,
    Breakers,
    DeadLetter,
    DeadLetters,
    Found,
    HealthOut,
    Item,
    Quality,
    RetryOut,
    RetryQueue,
)
from pipeline_assets.serve.errors import BadRequest
from pipeline_assets.serve.queries import (
    Filtered,
    HoursQuery,
    Letters,
    Nothing,
    OneItem,
    Query,
    Rows,
    Search,
)
from pipeline_assets.serve.runs import Runs
from pipeline_assets.serve.traffic import Traffic
from pipeline_assets.stages import stage_tables

JSON = "application/json"
ONE_OF = "give either q or like"


@dataclass(frozen=True, slots=True)
class Served:
    """What answers come from: a data root, Dagster's runs, and what was asked so far."""

    resources: Resources
    runs: Runs
    traffic: Traffic


@dataclass(frozen=True, slots=True)
class Operation:
    """Something that can be asked for.

    `act` is given what is served, the parameters as `query` has them, and the body where `takes`
    says what may be sent. It gives an `answer`, or a text of the type `gives`. It is `beside`
    searches, not one after them, if it computes next to nothing.
    """

    path: str
    name: str
    summary: str
    query: type[Query]
    act: Callable[[Served, Any, bytes], BaseModel | str]
    answer: type[BaseModel] | None
    takes: tuple[str, ...] = ()
    gives: str = JSON
    beside: bool = False

    @property
    def method(self) -> str:
        """What is sent is sent by POST; nothing is changed by either."""
        return "POST" if self.takes else "GET"


def search(served: Served, asked: Search, _body: bytes = b"") -> Found:
    """Items by words, or like an item. Raises `BadRequest` for none of these, or both."""
    if (asked.q is None) == (asked.like is None):
        raise BadRequest("q", asked.q or "", ONE_OF)
    if asked.like is not None:
        hits = search_commands.search_like(
            served.resources, asked.like, top=asked.top, filters=asked.filters
        )
    else:
        hits = search_commands.search(
            served.resources, asked.q or "", mode=asked.mode, top=asked.top, filters=asked.filters
        )
    return Found.model_validate({"hits": hits})


def search_picture(served: Served, asked: Filtered, body: bytes) -> Found:
    """Items like a picture. Raises `RowError` for what is none."""
    with NamedTemporaryFile(prefix="pipeline-assets-") as file:
        file.write(body)
        file.flush()
        hits = search_commands.search_picture(
            served.resources, Path(file.name), top=asked.top, filters=asked.filters
        )
    return Found.model_validate({"hits": hits})


def item(served: Served, asked: OneItem, _body: bytes = b"") -> Item:
    """One item."""
    return items.item(served.resources, asked.id)


def quality(served: Served, asked: HoursQuery, _body: bytes = b"") -> Quality:
    """The figures of the newest hours."""
    return figures.quality(served.resources, asked.hours)


def breakers(served: Served, _asked: Nothing, _body: bytes = b"") -> Breakers:
    """Every breaker."""
    rows = breaker_commands.breakers(served.resources)
    return Breakers(breakers=[Breaker(**row) for row in rows])


def dead_letters(served: Served, asked: Letters, _body: bytes = b"") -> DeadLetters:
    """Dead letters with their reasons. Raises `BadRequest` for one, or a stage, that is none."""
    _check("reason", asked.reason, list(ErrorKind))
    _check("stage", asked.stage, stage_tables(served.resources.settings))
    wanted = letter_commands.LetterFilter(asked.reason, asked.stage, asked.hour)
    rows = letter_commands.dead_letters(served.resources, wanted, asked.limit)
    return DeadLetters(dead_letters=[DeadLetter.model_validate(row) for row in rows])


def _check(field: str, value: str | None, allowed: Sequence[str]) -> None:
    if value is not None and value not in allowed:
        raise BadRequest(field, value, f"one of {', '.join(allowed)}")


def retry_queue(served: Served, asked: Rows, _body: bytes = b"") -> RetryQueue:
    """Rows that wait to be healed."""
    rows = queues.retry_queue(served.resources, asked.limit)
    return RetryQueue(retry_queue=[RetryOut.model_validate(row) for row in rows])


def health(served: Served, _asked: Nothing, _body: bytes = b"") -> HealthOut:
    """That tables, state database and index answer. Raises what is wrong with the first not to."""
    hours = served.resources.tables.hours(ENRICHED)
    served.resources.breakers.now()
    search_commands.search(served.resources, "", mode="keyword", top=1)
    return HealthOut(
        status="ok", items=served.resources.search.count(), newest_hour=hours[-1] if hours else None
    )


def scraped(served: Served, _asked: Nothing, _body: bytes = b"") -> str:
    """What Prometheus is told."""
    return metrics.prometheus_text(served.resources, served.runs.since) + served.traffic.text()


OPERATIONS = (
    Operation("/api/search", "search", "Items by words, or like an item", Search, search, Found),
    Operation(
        "/api/search/picture",
        "search_picture",
        "Items like the picture that is sent",
        Filtered,
        search_picture,
        Found,
        takes=("image/jpeg", "image/png", "image/webp", "image/gif", "application/octet-stream"),
    ),
    Operation("/api/item", "item", "All that is known of an item", OneItem, item, Item),
    Operation("/api/quality", "quality", "Quality by hour and stage", HoursQuery, quality, Quality),
    Operation(
        "/api/breakers",
        "breakers",
        "The circuit breakers",
        Nothing,
        breakers,
        Breakers,
        beside=True,
    ),
    Operation(
        "/api/dead-letters",
        "dead_letters",
        "Rows that trying again cannot help",
        Letters,
        dead_letters,
        DeadLetters,
    ),
    Operation(
        "/api/retry-queue", "retry_queue", "Rows that may be better", Rows, retry_queue, RetryQueue
    ),
    Operation(
        "/healthz",
        "health",
        "Whether the service can answer",
        Nothing,
        health,
        HealthOut,
        beside=True,
    ),
    Operation(
        "/metrics",
        "metrics",
        "What Prometheus is told",
        Nothing,
        scraped,
        None,
        gives=metrics.CONTENT_TYPE,
        beside=True,
    ),
)
