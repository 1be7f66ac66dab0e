"""What is answered: the shape of each JSON object, which the OpenAPI description is made of."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from pipeline_assets.search import Hit


class ApiModel(BaseModel):
    """A JSON object."""

    model_config = ConfigDict(frozen=True)


class Problem(ApiModel):
    """Why there is no answer: a stable kind, and a sentence that says what to do."""

    error: str
    message: str


class Found(ApiModel):
    """The items found, best first."""

    hits: list[Hit]


class FactorOut(ApiModel):
    """One stage's share in an item's quality: the rung or status, what it cost, and why."""

    stage: str
    rung_or_status: str
    factor: float | None
    reason: str | None


class Item(ApiModel):
    """All that is known of an item in its newest hour: the rows of each stage, upstream first.

    A row has its stage's own values, then the columns that all stages have: status, rung, quality,
    confidence, error_kind, error, attempts and so on. Of an embedding it says just the length.
    """

    item_id: str
    hour: str
    quality: float | None
    quality_factors: list[FactorOut]
    stages: dict[str, list[dict[str, Any]]]


class HourQuality(ApiModel):
    """How good the items of an hour are: how many have which quality.

    `perfect` is 1.0, `good` at least 0.8, `fair` at least 0.5, `poor` under that; `pending` is not
    known yet.
    """

    hour: str
    items: int
    mean: float | None
    perfect: int
    good: int
    fair: int
    poor: int
    pending: int


class StageQuality(ApiModel):
    """What became of the rows of a stage: made by its best rung, by a fallback, or not at all.

    `hour` is null where several hours are summed up; `mean` is of the rows' own factors.
    """

    hour: str | None
    stage: str
    rows: int
    mean: float | None
    primary: int
    fallback: int
    not_applicable: int
    skipped: int
    failed: int
    pending: int


class ReasonOut(ApiModel):
    """How many dead letters a stage has for a reason."""

    error_kind: str
    stage: str
    rows: int


class Quality(ApiModel):
    """Quality by hour, by stage, and by both, and dead letters by reason, of the newest hours."""

    hours: list[HourQuality]
    stages: list[StageQuality]
    stages_by_hour: list[StageQuality]
    dead_letters: list[ReasonOut]


class Breaker(ApiModel):
    """A circuit breaker: whether its rung is called, and when it is called again."""

    breaker: str
    mode: str
    failures: int
    next_call_in_s: float | None
    reopenings: int
    generation: int


class Breakers(ApiModel):
    """Every breaker that has ever recorded something."""

    breakers: list[Breaker]


class DeadLetter(ApiModel):
    """A row that trying again cannot help; `stands` says whether a person's decision still does."""

    hour: str
    item_id: str
    stage: str
    role: str | None
    error_kind: str | None
    error: str | None
    attempts: int
    cost_usd: float
    first_seen: datetime | None
    last_seen: datetime | None
    decision: str | None
    decided_at: datetime | None
    why: str | None
    stands: bool | None


class DeadLetters(ApiModel):
    """Dead letters, newest hour first; how many there are by reason is in the quality."""

    dead_letters: list[DeadLetter]


class RetryOut(ApiModel):
    """An improvable row of an item under the threshold."""

    hour: str
    item_id: str
    priority: str
    item_quality: float
    stage: str
    role: str | None
    status: str
    rung: str | None
    error_kind: str | None
    error: str | None
    attempts: int
    retry_at: datetime | None


class RetryQueue(ApiModel):
    """Improvable rows of items under the threshold, worst item first."""

    retry_queue: list[RetryOut]


class HealthOut(ApiModel):
    """That the service can answer, and of what."""

    status: str
    items: int
    newest_hour: str | None
