"""What forcing a fallback says about it, as a pure rule."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.core.agreement import same
from pipeline_assets.core.attempt import Attempt
from pipeline_assets.core.budget import Backoff
from pipeline_assets.core.plan import Planned, Reason
from pipeline_assets.core.rows import Made
from pipeline_assets.core.stage import Agreement
from pipeline_assets.drill.judging import (
    CALL_ROWS,
    ENOUGH,
    LEAST_AGREEMENT,
    Drilled,
    DrillLimits,
    Example,
    advice,
    alone,
    drawn,
    judged,
    verdict,
)
from pipeline_assets.errors import (
    ErrorKind,
    Internal,
    OverBudget,
    ResourceExhausted,
    RowError,
    UpstreamMissing,
)
from pipeline_assets_tests.core.builders import make_rung, make_stage, make_work

FALLBACK = make_rung("fallback", factor=0.9)
STAGE = make_stage(make_rung(), FALLBACK, agrees=same("label"))
LENIENT = DrillLimits(errors=0.05, agreement={})


def climbed(outcome: Made | RowError, seconds: float = 0.001, name: str = "a") -> Attempt:
    """A row that was forced, and what came of it."""
    climb = Attempt(Planned(make_work(name), Reason.FORCED, 1, None), called=True, seconds=seconds)
    if isinstance(outcome, Made):
        climb.made, climb.rung = outcome, 0
    else:
        climb.errors.append(outcome)
    return climb


def of_outcomes(outcomes: Sequence[Made | RowError], **options: Any) -> Drilled:
    """What a drill says where the primary made a chair of every row."""
    stage = make_stage(make_rung(), FALLBACK, **{"agrees": same("label"), **options})
    examples = [Example("2026-03-02-06", make_work(), {"label": "chair"}) for _ in outcomes]
    return judged(stage, FALLBACK, examples, [climbed(each) for each in outcomes])


def made(*labels: str) -> list[Made | RowError]:
    """Values, one after the other."""
    return [Made((label,)) for label in labels]


def drilled(**options: Any) -> Drilled:
    """A drill of 100 rows that went well, but for the options."""
    well = {"rows": 100, "made": 100, "compared": 100, "agreement": 1.0}
    return Drilled("labels", "fallback", 0.9, **{**well, **options})


IDS = st.sets(st.tuples(st.text(max_size=4), st.sampled_from(["document", "image"])), max_size=30)


@given(IDS, st.integers(0, 40), st.text(max_size=3))
def test_a_sample_is_drawn_from_the_rows_and_the_same_for_the_same_seed(
    ids: set[tuple[str, ...]], size: int, seed: str
) -> None:
    """In whatever order the rows come."""
    sample = drawn(ids, size, seed)
    assert sample <= ids
    assert len(sample) == min(size, len(ids))
    assert drawn(sorted(ids, reverse=True), size, seed) == sample


@given(IDS, st.integers(0, 20), st.integers(0, 20))
def test_a_larger_sample_has_the_smaller_one_in_it(
    ids: set[tuple[str, ...]], one: int, other: int
) -> None:
    """So that a second, longer look tells more of the same."""
    small, large = sorted((one, other))
    assert drawn(ids, small, "s") <= drawn(ids, large, "s")


def test_another_seed_draws_another_sample() -> None:
    """Not always the first items of an hour."""
    ids = [(f"item-{number}",) for number in range(1000)]
    assert drawn(ids, 100, "monday") != drawn(ids, 100, "tuesday")


def test_a_rung_is_alone_without_backoff_agreement_and_large_calls() -> None:
    """No better rung, one call for each row, and the label upstream has not fallen back."""
    rung = make_rung("fallback", backoff=Backoff(), falls_through=frozenset())
    stage = make_stage(make_rung(), rung, agreement=Agreement("labels.family", "label"))
    lone = alone(stage, rung)
    assert [each.name for each in lone.rungs] == ["fallback"]
    assert (lone.rungs[0].backoff, lone.agreement, lone.micro_batch) == (None, None, CALL_ROWS)
    assert alone(make_stage(micro_batch=3), FALLBACK).micro_batch == 3


def test_agreement_is_the_share_of_equal_values_among_those_that_were_made() -> None:
    """Rows without a value are no disagreement: they are counted as errors."""
    outcomes = [*made(*["chair"] * 21, *["table"] * 9), *[Internal("a bug")] * 3]
    found = of_outcomes(outcomes)
    assert (found.rows, found.made, found.compared) == (33, 30, 30)
    assert found.agreement == pytest.approx(0.7)
    assert found.supported == 0.7
    assert found.errors == {"internal": 3}
    assert found.error == "a bug"
    assert (found.first_hour, found.last_hour) == ("2026-03-02-06",) * 2


def test_values_are_compared_as_the_table_would_give_them_back() -> None:
    """What a rung makes of other types than the column's is no other value."""

    class Chair(str):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            return False

        __hash__ = str.__hash__

    assert of_outcomes(made(Chair("chair"))).agreement == 1.0


def test_no_rows_and_no_values_are_no_agreement() -> None:
    """Neither is an error of the drill."""
    assert of_outcomes([]) == Drilled("labels", "fallback", 0.9)
    assert of_outcomes([Internal("a bug")]).agreement is None


def test_a_stage_without_a_measure_has_errors_and_times_alone() -> None:
    """Nothing is made up for it."""
    found = of_outcomes(made("chair", "table"), agrees=None)
    assert (found.made, found.compared, found.agreement) == (2, 0, None)
    assert found.ms_p50 == pytest.approx(1)


@pytest.mark.parametrize(
    ("measure", "said"),
    [
        (lambda _primary, _fallback: [0.5], "1 agreements for 2 rows"),
        (lambda _primary, _fallback: [0.5, math.nan], "agreement of nan is outside 0..1"),
        (lambda _primary, _fallback: [0.5, 1.5], "agreement of 1.5 is outside 0..1"),
        (lambda _primary, _fallback: 1 / 0, "ZeroDivisionError: division by zero"),
    ],
)
def test_a_measure_that_fails_costs_its_own_stage_the_agreement(
    measure: Callable[..., Any], said: str
) -> None:
    """The other figures stay, and the error says where to look."""
    found = of_outcomes(made("chair", "table"), agrees=measure)
    assert (found.made, found.compared, found.agreement) == (2, 0, None)
    assert found.error is not None
    assert found.error.startswith("labels.agrees: ")
    assert said in found.error


def test_rows_that_cannot_be_compared_are_left_out() -> None:
    """Neither agreement nor disagreement."""
    measure: Any = lambda _primary, _fallback: [None, 0.5, 1.0]  # noqa: E731
    found = of_outcomes(made("a", "b", "c"), agrees=measure)
    assert (found.compared, found.agreement) == (2, 0.75)


@pytest.mark.parametrize(
    ("seconds", "p50", "p95"),
    [
        pytest.param([0.002], 2, 2, id="one row"),
        pytest.param([9.0] * CALL_ROWS, 9000, 9000, id="one call counts, for want of another"),
        pytest.param([9.0] * CALL_ROWS + [0.001], 1, 1, id="else the first loads a model"),
        pytest.param(
            [9.0] * CALL_ROWS + [n / 1000 for n in range(100, 0, -1)], 50, 95, id="percentiles"
        ),
    ],
)
def test_times_are_those_of_a_row(seconds: list[float], p50: float, p95: float) -> None:
    """In ms; each the time of a row that there was."""
    examples = [Example("h", make_work(), {"label": "chair"})] * len(seconds)
    climbs = [climbed(Made(("chair",)), each) for each in seconds]
    found = judged(STAGE, FALLBACK, examples, climbs)
    assert (found.ms_p50, found.ms_p95) == pytest.approx((p50, p95))


def test_a_row_that_no_call_was_made_for_has_no_time() -> None:
    """It had nothing to work on."""
    climb = climbed(UpstreamMissing("no text"))
    climb.called = False
    found = judged(STAGE, FALLBACK, [Example("h", make_work(), {})], [climb])
    assert (found.ms_p50, found.ms_p95) == (None, None)


@pytest.mark.parametrize(
    ("agreement", "compared", "supported"),
    [
        (0.7, 100, 0.7),
        (math.fsum([0.1] * 7), 100, 0.7),
        (sum([0.1] * 7), 100, 0.7),  # 0.7 as floats add up: 0.6999…
        (0.69, 100, 0.69),
        (0.6999, 100, 0.69),
        (1.0, 100, 1.0),
        (0.999, 100, 0.99),
        (0.0, 100, 0.0),
        (0.7, ENOUGH, 0.7),
        (0.7, ENOUGH - 1, None),
        (None, 0, None),
    ],
)
def test_a_factor_is_supported_by_enough_rows_and_rounded_down(
    agreement: float | None, compared: int, supported: float | None
) -> None:
    """To two digits: what is not measured is not claimed."""
    assert drilled(agreement=agreement, compared=compared).supported == supported


@given(st.floats(0, 1))
def test_no_factor_is_supported_above_the_agreement(agreement: float) -> None:
    """And none more than a hundredth below it."""
    supported = drilled(agreement=agreement).supported
    assert supported is not None
    assert 0 <= supported <= 1
    assert -1e-8 < agreement - supported < 0.01 + 1e-8


@pytest.mark.parametrize(
    ("made_rows", "errors", "broken"),
    [
        pytest.param(100, {}, "", id="well"),
        pytest.param(95, {"internal": 5}, "", id="as many errors as are let pass"),
        pytest.param(94, {"internal": 6}, "no value of 6 of 100 rows: why", id="one more"),
        pytest.param(94, {"timeout": 3, "unsupported": 3}, "of 6 of 100", id="of any kind"),
        pytest.param(50, {"upstream": 50}, "", id="nothing to work on is nobody's fault"),
        pytest.param(0, {"upstream": 100}, "nothing to work on in any", id="unless ever"),
        pytest.param(0, {"budget": 100}, "", id="no money is no evidence"),
        pytest.param(45, {"upstream": 50, "internal": 5}, "of 5 of 50", id="a share of those left"),
    ],
)
def test_a_fallback_is_broken_that_makes_too_few_values(
    made_rows: int, errors: dict[str, int], broken: str
) -> None:
    """The primary made each of these rows."""
    found = drilled(made=made_rows, errors=errors, error="why")
    said = verdict([drilled(), found], LENIENT)
    assert said.disagreeing == ()
    if broken:
        [line] = said.broken
        assert line.startswith("labels.fallback ")
        assert broken in line
    else:
        assert said.broken == ()


def test_where_no_error_is_let_pass_one_is_too_many() -> None:
    """Zero means zero; and a drill without a row breaks nothing."""
    strict = DrillLimits(errors=0.0, agreement={})
    assert verdict([drilled(made=99, errors={"internal": 1})], strict).broken
    assert not verdict([drilled()], strict).broken
    assert not verdict([Drilled("labels", "fallback", 0.9)], strict).broken


@pytest.mark.parametrize(
    ("agreement", "compared", "wanted", "disagrees"),
    [
        (LEAST_AGREEMENT, 100, None, False),
        (LEAST_AGREEMENT - 0.001, 100, None, True),
        (0.7, 100, 0.7, False),
        (0.699, 100, 0.7, True),
        (0.699, ENOUGH - 1, 0.7, False),
        (0.0, 100, 0.0, False),
        (0.999, 100, 1.0, True),
        (None, 0, 1.0, False),
    ],
)
def test_a_fallback_disagrees_below_what_is_wanted_of_it(
    agreement: float | None, compared: int, wanted: float | None, disagrees: bool
) -> None:
    """By its own name, else below the least; and where there are rows enough to say so."""
    of_others = {"labels.rules": 1.0}
    own = {} if wanted is None else {"labels.fallback": wanted}
    limits = DrillLimits(errors=0.05, agreement={**of_others, **own})
    said = verdict([drilled(agreement=agreement, compared=compared)], limits)
    assert bool(said.disagreeing) is disagrees
    assert said.broken == ()


def test_the_sentence_about_a_disagreement_has_its_numbers() -> None:
    """What was measured, over how many rows, and what is wanted."""
    limits = DrillLimits(errors=0.05, agreement={"labels.fallback": 0.8})
    [line] = verdict([drilled(agreement=0.7)], limits).disagreeing
    assert line == ("labels.fallback agrees with the primary by 0.700 over 100 rows, 0.8 is wanted")


@pytest.mark.parametrize(
    ("agreement", "compared", "said"),
    [
        (0.95, 100, "supported"),
        (0.9, 100, "supported"),
        (0.899, 100, "lower it"),
        (0.95, 19, "no evidence: 19 rows compared, of 20 needed"),
        (None, 0, "no evidence: 0 rows compared, of 20 needed"),
    ],
)
def test_advice_about_a_factor(agreement: float | None, compared: int, said: str) -> None:
    """Its configured factor is 0.9."""
    assert advice(drilled(agreement=agreement, compared=compared)) == said


@pytest.mark.parametrize("error", [UpstreamMissing("x"), OverBudget("x"), ResourceExhausted("x")])
def test_every_error_is_counted_by_its_kind(error: RowError) -> None:
    """Also those that are nobody's fault."""
    found = of_outcomes([error, *made("chair")])
    assert found.errors == {str(error.kind): 1}
    assert found.erred == (error.kind is ErrorKind.RESOURCE_EXHAUSTED)
