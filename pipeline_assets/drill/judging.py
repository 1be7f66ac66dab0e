"""The drill: what forcing a fallback on rows that the primary made says about it."""

import logging
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from pipeline_assets.core.attempt import Attempt
from pipeline_assets.core.fingerprint import digest
from pipeline_assets.core.rows import Made, RowId, Work
from pipeline_assets.core.stage import Rung, Stage, Values
from pipeline_assets.errors import ErrorKind

CALL_ROWS = 10
"""Rows in a call: ten calls of a sample of a hundred, so that there are times to compare."""
ENOUGH = 20
"""Rows under which an agreement is no evidence: of a fallback that agrees on nine rows in ten, one
sample of twenty rows in twenty shows three quarters or less."""
SUPPORTED_DIGITS = 2
LEAST_AGREEMENT = 0.15
"""Where nothing else is wanted of a fallback: half again what neighbours agree by chance. Below the
factor of every rung, since what a value is worth is more than being the same one."""
DUST = 1e-9
"""Means are not exact: a mean of 0.7 may come as 0.699…9."""
NOBODYS_FAULT = frozenset({ErrorKind.UPSTREAM, ErrorKind.BUDGET})
"""Errors that say nothing of a rung: it had nothing to work on, or no money for a call."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Example:
    """A row that the primary made: its work, and the values that a fallback is measured by."""

    hour: str
    work: Work
    values: Values


@dataclass(frozen=True, slots=True)
class Drilled:
    """What came of forcing one fallback on `rows` examples of `first_hour` to `last_hour`.

    `agreement` is the mean over `compared` rows. Times are those of a row, its share of a call.
    """

    stage: str
    rung: str
    factor: float
    rows: int = 0
    first_hour: str | None = None
    last_hour: str | None = None
    made: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)
    error: str | None = None
    ms_p50: float | None = None
    ms_p95: float | None = None
    compared: int = 0
    agreement: float | None = None
    cost_usd: float = 0.0

    @property
    def name(self) -> str:
        """The fallback's name among those of all stages, as its breaker's."""
        return f"{self.stage}.{self.rung}"

    @property
    def asked(self) -> int:
        """The rows that it could have made."""
        return self.rows - sum(self.errors.get(kind, 0) for kind in NOBODYS_FAULT)

    @property
    def erred(self) -> int:
        """The rows that it could have made, and did not: the primary made each of them."""
        return self.asked - self.made

    @property
    def supported(self) -> float | None:
        """The factor that the agreement supports, rounded down; None without enough evidence."""
        if self.agreement is None or self.compared < ENOUGH:
            return None
        shift = 10**SUPPORTED_DIGITS
        return math.floor((self.agreement + DUST) * shift) / shift


@dataclass(frozen=True, slots=True)
class DrillLimits:
    """The share of rows that a fallback may leave without a value, and how far it has to agree.

    `agreement` has the least agreement of fallbacks by name; for all others it is
    `LEAST_AGREEMENT`.
    """

    errors: float
    agreement: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class DrillVerdict:
    """What is wrong with which fallback, a sentence each."""

    broken: tuple[str, ...]
    disagreeing: tuple[str, ...]


def drawn(ids: Collection[RowId], size: int, seed: str) -> set[RowId]:
    """`size` of the ids, or all that there are: the same ones for the same seed."""
    if len(ids) <= size:
        return set(ids)
    return set(sorted(ids, key=lambda each: digest((seed, each)))[:size])


def alone(stage: Stage, rung: Rung) -> Stage:
    """The stage with nothing but this rung, called once for each row, in small calls.

    Without its agreement: in an outage what is upstream has fallen back likewise, but here it has
    not.
    """
    return replace(
        stage,
        rungs=(replace(rung, backoff=None),),
        agreement=None,
        micro_batch=min(stage.micro_batch, CALL_ROWS),
    )


def judged(
    stage: Stage, rung: Rung, examples: Sequence[Example], climbs: Sequence[Attempt]
) -> Drilled:
    """What the climbs of `alone` over the examples say of the rung."""
    failed = [each.errors[-1] for each in climbs if each.made is None]
    found = Drilled(
        stage.name,
        rung.name,
        rung.factor,
        rows=len(examples),
        first_hour=min((each.hour for each in examples), default=None),
        last_hour=max((each.hour for each in examples), default=None),
        made=len(climbs) - len(failed),
        errors=dict(Counter(str(error.kind) for error in failed).most_common()),
        error=next((str(error) for error in failed), None),
        cost_usd=sum(each.cost_usd for each in climbs),
    )
    return _compared(_timed(found, climbs), stage, examples, climbs)


def _timed(found: Drilled, climbs: Sequence[Attempt]) -> Drilled:
    """With times a row. The first call, in which a model may be loaded, counts only if alone."""
    called = [each.seconds * 1000 for each in climbs if each.called]
    times = sorted(called[CALL_ROWS:] or called)
    if not times:
        return found
    return replace(found, ms_p50=_percentile(times, 0.5), ms_p95=_percentile(times, 0.95))


def _percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _compared(
    found: Drilled, stage: Stage, examples: Sequence[Example], climbs: Sequence[Attempt]
) -> Drilled:
    pairs = [
        (example.values, each.made)
        for example, each in zip(examples, climbs, strict=True)
        if each.made is not None
    ]
    if stage.agrees is None or not pairs:
        return found
    primary = [values for values, _made in pairs]
    fallback = _as_read(stage, [made for _values, made in pairs])
    try:
        known = _known(stage.agrees(primary, fallback), len(pairs))
    except Exception as error:  # a measure that fails is no reason to know nothing of the others
        log.exception("%s: agrees could not compare %s", stage.name, found.rung)
        return replace(found, error=f"{stage.name}.agrees: {type(error).__name__}: {error}")
    agreement = math.fsum(known) / len(known) if known else None
    return replace(found, compared=len(known), agreement=agreement)


def _known(agreements: Sequence[float | None], rows: int) -> list[float]:
    """The shares among them. Raises `ValueError` for what no measure may give."""
    if len(agreements) != rows:
        raise ValueError(f"{len(agreements)} agreements for {rows} rows")
    known = [each for each in agreements if each is not None]
    for each in known:
        if not 0 <= each <= 1:
            raise ValueError(f"an agreement of {each} is outside 0..1")
    return known


def _as_read(stage: Stage, made: Sequence[Made]) -> list[dict[str, Any]]:
    """The values as a table would give them back, by name."""
    columns = zip(*(each.values for each in made), strict=True)
    pairs = zip(columns, stage.values, strict=True)
    arrays = [pa.array(column, value.type) for column, value in pairs]
    return pa.Table.from_arrays(arrays, schema=pa.schema(stage.values)).to_pylist()


def verdict(drill: Sequence[Drilled], limits: DrillLimits) -> DrillVerdict:
    """Which fallbacks cannot be relied on, and which give something else than the primary does."""
    return DrillVerdict(
        broken=tuple(filter(None, (_broken(each, limits) for each in drill))),
        disagreeing=tuple(filter(None, (_disagreeing(each, limits) for each in drill))),
    )


def _broken(found: Drilled, limits: DrillLimits) -> str | None:
    if found.rows >= ENOUGH and found.errors.get(ErrorKind.UPSTREAM, 0) == found.rows:
        return f"{found.name} found nothing to work on in any of {found.rows} rows: {found.error}"
    if found.erred <= limits.errors * found.asked:
        return None
    return f"{found.name} made no value of {found.erred} of {found.asked} rows: {found.error}"


def _disagreeing(found: Drilled, limits: DrillLimits) -> str | None:
    least = limits.agreement.get(found.name, LEAST_AGREEMENT)
    if found.supported is None or found.agreement is None or found.agreement >= least - DUST:
        return None
    return (
        f"{found.name} agrees with the primary by {found.agreement:.3f} over {found.compared} "
        f"rows, {least:g} is wanted"
    )


def advice(found: Drilled) -> str:
    """What the measurements say of a fallback's factor."""
    if found.supported is None:
        return f"no evidence: {found.compared} rows compared, of {ENOUGH} needed"
    return "supported" if found.supported >= found.factor else "lower it"
