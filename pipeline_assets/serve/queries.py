"""What may be asked for: the parameters of each request, with their limits."""

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import QueryParams

from pipeline_assets.core.hours import hour_name, parse_hour
from pipeline_assets.core.status import Status
from pipeline_assets.search import Filters
from pipeline_assets.serve.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_QUERY_CHARS = 1000
MAX_ID_CHARS = 1000
MAX_TOP = 100
MAX_ROWS = 1000
MAX_HOURS = 744
"""A month."""

Q = TypeVar("Q", bound="Query")


def _hour(text: str) -> str:
    return hour_name(parse_hour(text))


def _stage_status(text: str) -> str:
    stage, _, status = text.partition("=")
    if not stage or status not in set(Status):
        allowed = ", ".join(Status)
        raise ValueError(f"give a stage and one of {allowed}, as in image_labels=skipped")
    return text


Hour = Annotated[str, AfterValidator(_hour)]
StageStatus = Annotated[str, AfterValidator(_stage_status)]
ItemId = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS)]


class Query(BaseModel):
    """The parameters of a request; one that is empty is as one that is not there."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Nothing(Query):
    """No parameters."""


class Filtered(Query):
    """Which items may be found, and how many."""

    top: int = Field(default=10, ge=1, le=MAX_TOP, description="At most so many items.")
    kind: str | None = Field(default=None, max_length=100, description="Only this kind.")
    label: str | None = Field(default=None, max_length=200, description="Only with this label.")
    first: Hour | None = Field(
        default=None, alias="from", description="Only of this hour (UTC) or later."
    )
    last: Hour | None = Field(
        default=None, alias="to", description="Only of this hour (UTC) or earlier."
    )
    min_quality: float | None = Field(
        default=None, ge=0, le=1, description="Only of at least this quality."
    )
    status: list[StageStatus] = Field(
        default=[],
        max_length=20,
        description="Only where a stage has a status: image_labels=skipped; may be repeated.",
    )

    @property
    def filters(self) -> Filters:
        """The same, for the index."""
        pairs = (each.partition("=") for each in self.status)
        return Filters(
            kind=self.kind,
            label=self.label,
            first_hour=self.first,
            last_hour=self.last,
            min_quality=self.min_quality,
            stages={stage: Status(status) for stage, _, status in pairs},
        )


class Search(Filtered):
    """Words, or an item that others should be like, and which items may be found."""

    q: str | None = Field(default=None, max_length=MAX_QUERY_CHARS, description="What to look for.")
    like: ItemId | None = Field(default=None, description="Instead of words: items like this item.")
    mode: Literal["keyword", "vector", "hybrid"] = Field(
        default="hybrid", description="By words, by meaning, or both."
    )


class OneItem(Query):
    """An item."""

    id: ItemId = Field(description="The item's id.")


class HoursQuery(Query):
    """How far back to look."""

    hours: int = Field(default=48, ge=1, le=MAX_HOURS, description="So many of the newest hours.")


class Rows(Query):
    """How many rows to list."""

    limit: int = Field(default=100, ge=1, le=MAX_ROWS, description="At most so many rows.")


class Letters(Rows):
    """Which dead letters."""

    reason: str | None = Field(
        default=None, max_length=100, description="Only with this error kind."
    )
    stage: str | None = Field(default=None, max_length=200, description="Only of this stage.")
    hour: Hour | None = Field(default=None, description="Only of this hour (UTC).")


def parsed(kind: type[Q], given: QueryParams) -> Q:
    """The parameters as they are meant. Raises `BadRequest` for the first that is wrong."""
    try:
        return kind.model_validate(_values(kind, given))
    except ValidationError as error:
        raise _bad(error, sorted(_names(kind))) from None


def _values(kind: type[Query], given: QueryParams) -> dict[str, Any]:
    repeatable = {name for name, field in kind.model_fields.items() if field.default == []}
    values: dict[str, Any] = {}
    for name, value in given.multi_items():
        if not value.strip():
            continue
        if name in repeatable:
            values.setdefault(name, []).append(value)
        elif name in values:
            raise BadRequest(name, value, "give it once")
        else:
            values[name] = value
    return values


def _names(kind: type[Query]) -> list[str]:
    return [field.alias or name for name, field in kind.model_fields.items()]


def _bad(error: ValidationError, names: list[str]) -> BadRequest:
    first: Mapping[str, Any] = error.errors()[0]
    field = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        return BadRequest(field, first["input"], f"there is only {', '.join(names) or 'nothing'}")
    if first["type"] == "missing":
        return BadRequest(field, "", "it has to be given")
    return BadRequest(field, first["input"], first["msg"].removeprefix("Value error, "))
