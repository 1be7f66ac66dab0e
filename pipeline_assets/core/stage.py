"""A stage is data: its table, what it reads, an ordered tuple of rungs, factors and limits."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import pyarrow as pa

from pipeline_assets.core.breaker import BreakerRule
from pipeline_assets.core.budget import Backoff, attempts
from pipeline_assets.core.contract import ITEM_KEY, RESOURCE_KEY, stage_schema
from pipeline_assets.core.rows import Made, Outcome, Work
from pipeline_assets.errors import ErrorKind

Recall = Callable[[Any, Sequence[Work]], Sequence[Made | None]]
"""(resources, works) → for each work what is kept of the rung's result, or None."""

RungCall = Callable[[Any, Sequence[Work]], Sequence[Outcome]]
"""(resources, works) → one outcome per work, in order. May raise for the whole call."""

Values = Mapping[str, Any]
"""The value columns of a row, by name, as the table gives them back."""

Agrees = Callable[[Sequence[Values], Sequence[Values]], Sequence[float | None]]
"""(the primary's values, a fallback's values of the same rows) → for each row how far they agree,
0..1, or None where the two cannot be compared."""

FALLS_THROUGH = frozenset(ErrorKind) - {ErrorKind.FORBIDDEN, ErrorKind.BLOCKED}
"""The most that a rung may let through: an opt-out is not answered with an old copy, and a safety
rule not with another route."""

SKIP = "skip"


def _nothing_missing(_work: Work) -> None:
    return None


CALL_DEADLINE_S = 300.0
"""What takes longer than this is taken for hanging."""

Deadline: TypeAlias = float | Callable[[Any, Sequence[Work]], float]
"""Seconds that a call may take, or what gives them for resources and the works of a call."""


def _no_conditions(_resources: Any) -> str:
    return ""


def _always(_work: Work) -> bool:
    return True


def _nothing_derived(_fields: Mapping[str, Any]) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One way of making a stage's value.

    `reads` are the upstream fields whose change makes the value stale. `producer` names tool,
    version and parameters. `requires` gives the reason why a row's upstream leaves this rung
    nothing to work on (then no call is made). `family` is what an `Agreement` compares; a rung
    without one goes with all. `scope` splits the breaker, for example by host. `recall` gives
    results that are kept from equal work: they need no call, and so no permit. `accelerated` rungs
    are back when the accelerator is. `backoff` tries what failed in passing again within the run;
    without it the row falls on at once. `keyed` hands each work its idempotency key, for a provider
    that bills: an answer lost on the way is then not paid for twice. `cost_usd` is per row and
    call. `deadline_s` is how long a call may take before its process is ended, where that is not
    the stage's.
    """

    name: str
    factor: float
    call: RungCall
    reads: tuple[str, ...]
    producer: Callable[[Any], str]
    requires: Callable[[Work], str | None] = _nothing_missing
    family: Callable[[Any], str] | None = None
    scope: Callable[[Work], str] | None = None
    recall: Recall | None = None
    falls_through: frozenset[ErrorKind] = FALLS_THROUGH
    accelerated: bool = False
    backoff: Backoff | None = None
    keyed: bool = False
    cost_usd: float = 0.0
    deadline_s: Deadline | None = None

    @property
    def has_more_code(self) -> bool:
        """Whether it has code of its own that runs before a call, and might hang in it."""
        return self.recall is not None or self.requires is not _nothing_missing


@dataclass(frozen=True, slots=True)
class Agreement:
    """The rung's family and the upstream `field` must be equal where both are given.

    `column` is the stage's own column that tells a row's family.
    """

    field: str
    column: str


@dataclass(frozen=True, kw_only=True)  # no slots: a few properties are worked out once
class Stage:
    """A chain and its table.

    `values` are the stage's own columns; those in `required` are never null on an `ok` row.
    `carries` are upstream fields that rungs use but whose change makes nothing stale (where the
    bytes lie). `derive` computes further fields from those in `derives_from`, for `reads` to
    name: the digest then sees just what a rung truly depends on. `applies` says whether there is
    anything to do. `per_resource` stages have a row for each (item, role), the others one for each
    item. `conditions` names what may turn a failure into a value without any rung changing (a
    setting that forbade it): rows without a value are planned again when it changes. A `strict`
    stage never falls back to skip: it fails, and what depends on it stays pending. `retry_usd` is
    what all attempts at a row may cost together. `workers` is the most worker processes that share
    an hour; None means all that there are. `agrees` measures a fallback against the primary, in the
    weekly drill; without it the drill knows of errors and times alone. `call_deadline_s` is how
    long a call of a rung may take: past it the worker process is ended, and the rows that it was
    called with are narrowed down to the one that hangs, which is a `timeout`. Calls are kept to a
    fifth of it by smaller batches, so that slow is not taken for hanging. `meanings` says what the
    stage's own columns hold, for the UI.
    """

    name: str
    description: str
    values: tuple[pa.Field, ...]
    rungs: tuple[Rung, ...]
    skip_factor: float
    required: tuple[str, ...] = ()
    carries: tuple[str, ...] = ()
    derive: Callable[[Mapping[str, Any]], Mapping[str, Any]] = _nothing_derived
    derives_from: tuple[str, ...] = ()
    applies: Callable[[Work], bool] = _always
    agreement: Agreement | None = None
    per_resource: bool = False
    conditions: Callable[[Any], str] = _no_conditions
    strict: bool = False
    micro_batch: int = 256
    retry_usd: float = 0.01
    workers: int | None = None
    agrees: Agrees | None = None
    call_deadline_s: float = CALL_DEADLINE_S
    breaker: BreakerRule = field(default_factory=BreakerRule)
    group: str = "enrichment"
    kinds: tuple[str, ...] = ("parquet",)
    meanings: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        names = [rung.name for rung in self.rungs]
        if not names or len(set(names)) != len(names) or SKIP in names:
            raise ValueError(f"stage {self.name!r}: rungs need distinct names other than 'skip'")
        for factor in (*(rung.factor for rung in self.rungs), self.skip_factor):
            if not 0 <= factor <= 1:
                raise ValueError(f"stage {self.name!r}: factor {factor} is outside 0..1")
        for cost in (self.retry_usd, *(rung.cost_usd for rung in self.rungs)):
            if not 0 <= cost < math.inf:
                raise ValueError(f"stage {self.name!r}: {cost} is no amount of USD")
        if not self.call_deadline_s > 0:
            raise ValueError(f"stage {self.name!r}: {self.call_deadline_s} s is no deadline")
        for rung in self.rungs:
            if not rung.falls_through <= FALLS_THROUGH:
                never = ", ".join(sorted(rung.falls_through - FALLS_THROUGH))
                raise ValueError(f"stage {self.name!r}: {never} may not fall through {rung.name!r}")
        unknown = set(self.required) - {value.name for value in self.values}
        if unknown:
            raise ValueError(f"stage {self.name!r}: required columns it does not have: {unknown}")

    @property
    def key_fields(self) -> tuple[pa.Field, ...]:
        """The key columns of the table."""
        return RESOURCE_KEY if self.per_resource else ITEM_KEY

    @property
    def key_names(self) -> tuple[str, ...]:
        """The names of the key columns."""
        return tuple(key.name for key in self.key_fields)

    @cached_property
    def required_at(self) -> tuple[int, ...]:
        """The positions of the value columns that an `ok` row always has."""
        return tuple(at for at, value in enumerate(self.values) if value.name in self.required)

    @cached_property
    def _family_at(self) -> int:
        names = [value.name for value in self.values]
        return names.index(self.agreement.column) if self.agreement else -1

    @cached_property
    def attempts(self) -> int:
        """How often a row is tried in earnest, over all runs; then once a day."""
        return attempts(self.retry_usd, max(rung.cost_usd for rung in self.rungs))

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema of the stage's table."""
        return stage_schema(self.key_fields, self.values)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Every upstream field that the stage is given, `table.column` or `table.role.column`."""
        read = [name for rung in self.rungs for name in rung.reads if "." in name]
        return tuple(dict.fromkeys([*read, *self.derives_from, *self.carries]))

    @property
    def upstream(self) -> tuple[str, ...]:
        """The tables that the stage reads; `items` comes first, since every row begins there."""
        return tuple(dict.fromkeys(["items", *(name.split(".")[0] for name in self.inputs)]))

    def reads_up_to(self, rungs: int) -> tuple[str, ...]:
        """The fields that the first `rungs` rungs read: what a row made there depends on."""
        return tuple(dict.fromkeys(name for rung in self.rungs[:rungs] for name in rung.reads))

    def deadline_s(self, rung: Rung, resources: Any, works: Sequence[Work]) -> float:
        """How many seconds a call of the rung with these works may take."""
        limit = self.call_deadline_s if rung.deadline_s is None else rung.deadline_s
        return limit(resources, works) if callable(limit) else limit

    def index(self, rung: str | None) -> int:
        """The position of a rung by name; the number of rungs for none or one no longer there."""
        for position, candidate in enumerate(self.rungs):
            if candidate.name == rung:
                return position
        return len(self.rungs)

    def disagreement(self, rung: Rung, values: Sequence[Any], work: Work) -> str | None:
        """How a value that `rung` made breaks the agreement with upstream, if it does."""
        if self.agreement is None or rung.family is None:
            return None
        wanted, given = work[self.agreement.field], values[self._family_at]
        if wanted is None or wanted == given:
            return None
        return f"{rung.name} gives {given!r}, but {self.agreement.field} is {wanted!r}"

    def empty_values(self) -> tuple[None, ...]:
        """The value columns of a row without a value."""
        return (None,) * len(self.values)
