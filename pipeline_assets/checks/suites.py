"""The seam to Great Expectations: a table and expectations in, a `SuiteResult` out.

The library takes seconds to import, so that happens when the first suite runs. Every suite gets a
context of its own in memory: nothing is stored, shown as progress, or sent anywhere.
"""

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from pipeline_assets.core.quality import COMPARED_DIGITS
from pipeline_assets.errors import PipelineError

SAMPLE_ROWS = 5


class Measure(StrEnum):
    """Which number of an expectation's result is worth keeping, and plotting."""

    VALUE = "value"
    SHARE = "share"  # of rows that are as expected
    COUNT = "count"  # of rows that are not


@dataclass(frozen=True, slots=True)
class FailedExpectation:
    """One rule that the data breaks.

    `unexpected` counts the offending rows and `sample` has the keys of at most five; a rule about
    the whole column (a mean) has neither, but what was observed. Where the rule is about a share of
    the rows, `broken` says what is so instead, and `judged` of how many rows.
    """

    rule: str
    expectation: str
    column: str
    unexpected: int | None = None
    sample: tuple[str, ...] = ()
    observed: float | None = None
    broken: str = ""
    judged: int | None = None


@dataclass(frozen=True, slots=True)
class SuiteResult:
    """What came of a suite: how many expectations, which failed, the numbers by name."""

    passed: bool
    evaluated: int
    failures: tuple[FailedExpectation, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))


class SuiteError(PipelineError):
    """An expectation could not be evaluated at all: nothing is known about the data."""

    def __init__(self, suite: str, expectation: str, reason: str) -> None:
        self.suite, self.expectation, self.reason = suite, expectation, reason
        super().__init__(f"{suite}: {expectation} could not be evaluated: {reason}")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What suites are written with: `expect.ExpectColumn…` and `column(name) == value`."""

    expect: Any
    column: Any


Suite = Callable[[Vocabulary], Sequence[Any]]


def rule(
    text: str, number: str = "", measure: Measure = Measure.VALUE, broken: str = ""
) -> dict[str, str]:
    """The `meta` of an expectation: its rule in words, and the name of its number, if any.

    `broken` says what is so where the rule is not kept. No two expectations of a suite have the
    same rule.
    """
    return {"rule": text, "number": number, "measure": measure, "broken": broken}


def run_suite(name: str, table: pa.Table, key: Sequence[str], suite: Suite) -> SuiteResult:
    """Evaluate `suite` on `table`; the columns `key` name its rows in samples.

    Raises `SuiteError` when an expectation cannot be evaluated, which is no data failure.
    """
    library = _library()
    expectations = list(suite(library.vocabulary))
    batch = _batch(library, name, table)
    results = _evaluate(library, batch, name, expectations)
    broken = [e for e, result in zip(expectations, results, strict=True) if not result.success]
    numbered = ((result.expectation_config.meta["number"], _number(result)) for result in results)
    return SuiteResult(
        passed=not broken,
        evaluated=len(results),
        failures=tuple(
            _failure(result, key)
            for result in (_evaluate(library, batch, name, broken, rows=True) if broken else ())
        ),
        numbers=MappingProxyType({n: value for n, value in numbered if n and value is not None}),
    )


def _evaluate(
    library: "_Library", batch: Any, name: str, expectations: Sequence[Any], *, rows: bool = False
) -> Sequence[Any]:
    # Collecting rows doubles the work, so only what failed is evaluated again for its sample.
    form = {
        "result_format": "BASIC",
        "partial_unexpected_count": SAMPLE_ROWS,
        "include_unexpected_rows": rows,
    }
    suite = library.gx.ExpectationSuite(name=name, expectations=list(expectations))
    results = batch.validate(suite, result_format=form).results
    for result in results:
        _raise_if_broken(name, result)
    # They come grouped by column; the rules tell them apart.
    place = {expectation.meta["rule"]: n for n, expectation in enumerate(expectations)}
    return sorted(results, key=lambda result: place[result.expectation_config.meta["rule"]])


@dataclass(frozen=True, slots=True)
class _Library:
    gx: Any
    vocabulary: Vocabulary
    config: Callable[[], Any]


@cache
def _library() -> _Library:
    logger = logging.getLogger("great_expectations")
    if logger.level == logging.NOTSET:  # else someone wants to see what it says
        logger.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the modules that it imports
        # ruff: disable[PLC0415] - seconds, which only a run that checks something shall pay
        import great_expectations as gx
        from great_expectations.data_context.types import base
        from great_expectations.expectations.row_conditions import Column
        # ruff: enable[PLC0415]

    def config() -> Any:
        return base.DataContextConfig(
            store_backend_defaults=base.InMemoryStoreBackendDefaults(),
            analytics_enabled=False,
            progress_bars=base.ProgressBarsConfig(globally=False),
        )

    return _Library(gx, Vocabulary(gx.expectations, Column), config)


def _batch(library: _Library, name: str, table: pa.Table) -> Any:
    context = library.gx.get_context(mode="ephemeral", project_config=library.config())
    asset = context.data_sources.add_pandas("memory").add_dataframe_asset(name)
    definition = asset.add_batch_definition_whole_dataframe("whole")
    return definition.get_batch({"dataframe": table.to_pandas()})


def _raise_if_broken(suite: str, result: Any) -> None:
    info = result.exception_info or {}
    # One report for the expectation, or one for each of its metrics.
    reports = [info, *(value for value in info.values() if isinstance(value, Mapping))]
    for report in reports:
        if report.get("raised_exception"):
            reason = str(report.get("exception_message"))
            raise SuiteError(suite, result.expectation_config.type, reason)


def _number(result: Any) -> float | None:
    found = result.result
    match result.expectation_config.meta["measure"]:
        case Measure.COUNT:
            return float(found["unexpected_count"])
        case Measure.SHARE:
            percent = found.get("unexpected_percent")
            return None if percent is None else round(1 - percent / 100, COMPARED_DIGITS)
    value = found.get("observed_value")
    if isinstance(value, Mapping):  # quantiles come as two lists
        value = value["values"][0]
    return round(float(value), COMPARED_DIGITS) if isinstance(value, int | float) else None


def _failure(result: Any, key: Sequence[str]) -> FailedExpectation:
    config, found = result.expectation_config, result.result
    aggregate = "observed_value" in found
    return FailedExpectation(
        rule=config.meta["rule"],
        expectation=config.type,
        column=_column(config.kwargs),
        unexpected=None if aggregate else found["unexpected_count"],
        sample=() if aggregate else _sample(found["unexpected_rows"], key),
        observed=_number(result) if aggregate else None,
        broken=config.meta["broken"],
        judged=found["element_count"] - found["missing_count"] if config.meta["broken"] else None,
    )


def _column(arguments: Mapping[str, Any]) -> str:
    for name in ("column", "column_B"):
        if name in arguments:
            return str(arguments[name])
    return ", ".join(arguments.get("column_list", ()))


def _sample(rows: Any, key: Sequence[str]) -> tuple[str, ...]:
    shown = rows[list(key)].head(SAMPLE_ROWS).itertuples(index=False)
    return tuple("/".join(str(part) for part in row) for row in shown)
