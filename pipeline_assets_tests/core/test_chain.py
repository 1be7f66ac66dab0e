"""Climbing down a chain: which rung gets which row, what it costs, and what breakers hear."""

import asyncio
import math
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.core.attempt import Attempt
from pipeline_assets.core.environment import RungStats
from pipeline_assets.core.rows import Made, Outcome, RowId, Work
from pipeline_assets.core.sizes import BatchSizes
from pipeline_assets.core.stage import FALLS_THROUGH, Agreement, RungCall, Stage
from pipeline_assets.errors import (
    BY_KIND,
    ErrorKind,
    Forbidden,
    InvalidInput,
    Overloaded,
    RateLimited,
    RowError,
    StorageError,
    Timeout,
)
from pipeline_assets_tests.core.builders import (
    FakeGate,
    Memory,
    Recorder,
    answers,
    climb_with,
    fails,
    make_rung,
    make_stage,
    make_work,
    makes,
    many,
)

BATCH = 256
STOPS = (ErrorKind.FORBIDDEN, ErrorKind.BLOCKED)


def error_of(kind: ErrorKind) -> RowError:
    """An error of this kind."""
    return BY_KIND[kind]("as the test wants it")


def two_rungs(primary: RungCall, fallback: RungCall | None = None, **options: Any) -> Stage:
    """A stage whose rungs call these functions."""
    return make_stage(
        make_rung("primary", primary),
        make_rung("fallback", fallback or makes("stool"), factor=0.9),
        **options,
    )


def values_of(climbs: Sequence[Attempt]) -> list[Any]:
    """The label of each row, None where there is none."""
    return [each.made.values[0] if each.made else None for each in climbs]


def test_a_row_that_fails_goes_down_alone() -> None:
    """The rest of the batch keeps its result, and the next rung is given that row only."""
    fallback = Recorder(makes("stool"))
    stage = two_rungs(answers({"1": InvalidInput("no picture")}), fallback)
    climbed = climb_with(stage, many(3))
    assert values_of(climbed.climbs) == ["chair", "stool", "chair"]
    assert climbed.rungs == [0, 1, 0]
    assert fallback.calls == [["1"]]


def test_a_row_that_no_rung_can_make_keeps_every_error_on_its_way() -> None:
    """In the order of the rungs."""
    stage = two_rungs(fails(Timeout("slow")), fails(InvalidInput("not a picture")))
    (each,) = climb_with(stage, many(1)).climbs
    assert (each.made, each.rung, each.called) == (None, None, True)
    assert [str(error.kind) for error in each.errors] == ["timeout", "invalid_input"]


def test_nothing_planned_calls_nothing() -> None:
    """Zero rows are zero calls."""
    climbed = climb_with(two_rungs(fails(AssertionError())), [])
    assert (climbed.climbs, climbed.stats, climbed.gate.granted) == ([], {}, [])


@pytest.mark.parametrize("ceiling", [0, 1, 2])
def test_only_rungs_under_the_ceiling_are_called(ceiling: int) -> None:
    """An upgrade calls the rungs above the one that stands, and no other."""
    rungs = [Recorder(fails(Timeout("slow"))) for _ in range(2)]
    (each,) = climb_with(two_rungs(*rungs), many(1), ceiling=ceiling).climbs
    assert [rung.calls for rung in rungs] == [[["0"]]] * ceiling + [[]] * (2 - ceiling)
    assert len(each.errors) == ceiling
    assert each.called is (ceiling > 0)


@pytest.mark.parametrize("kind", ErrorKind)
def test_only_forbidden_and_blocked_stop_the_chain(kind: ErrorKind) -> None:
    """An opt-out is not answered with an old copy, a safety rule not with another route."""
    climbed = climb_with(two_rungs(answers({"0": error_of(kind)})), many(2))
    stopped = kind in STOPS
    assert climbed.rungs == [None if stopped else 1, 0]
    assert climbed.climbs[0].stopped is stopped


def test_a_whole_call_that_is_forbidden_stops_every_row_of_it() -> None:
    """Raised for the batch, it holds for each row."""
    climbed = climb_with(two_rungs(fails(Forbidden("no"))), many(3))
    assert climbed.rungs == [None] * 3
    assert "fallback" not in climbed.stats


def test_a_rung_may_let_fewer_kinds_fall_through() -> None:
    """What it keeps to itself ends the row's way down."""
    strictly = make_rung(
        "primary",
        answers({"0": InvalidInput("bad")}, Timeout("slow")),
        falls_through=FALLS_THROUGH - {ErrorKind.INVALID_INPUT},
    )
    assert climb_with(make_stage(strictly, make_rung("fallback")), many(2)).rungs == [None, 1]


@pytest.mark.parametrize(
    ("outcomes", "result"),
    [
        pytest.param({}, "success", id="all made"),
        pytest.param({"0": InvalidInput("bad")}, "success", id="one bad row"),
        pytest.param(
            {str(n): InvalidInput("bad") for n in range(4)}, "success", id="nothing but bad data"
        ),
        pytest.param({"0": Timeout("slow")}, "success", id="something came of it"),
        pytest.param({str(n): Timeout("slow") for n in range(4)}, "timeout", id="nothing did"),
        pytest.param(
            {**{str(n): InvalidInput("bad") for n in range(3)}, "3": Overloaded("503")},
            "overloaded",
            id="nothing did, and one of the reasons can pass",
        ),
    ],
)
def test_a_call_is_a_failure_only_if_nothing_came_of_it_and_a_reason_can_pass(
    outcomes: dict[str, Outcome], result: str
) -> None:
    """Data errors never count: a call that found bad data was answered."""
    gate = climb_with(two_rungs(answers(outcomes)), many(4)).gate
    assert gate.results[0] == ("labels.primary", result)


@pytest.mark.parametrize(
    ("call", "result"),
    [
        (answers({str(n): InvalidInput("bad") for n in (3, 99, 255)}), "success"),
        (fails(Overloaded("503")), "overloaded"),
    ],
)
def test_one_call_of_256_gives_one_result(call: RungCall, result: str) -> None:
    """Three bad rows are three errors and a success; an answer of 503 is one failure."""
    gate = climb_with(two_rungs(call), many(BATCH)).gate
    assert [each for each in gate.results if each[0] == "labels.primary"] == [
        ("labels.primary", result)
    ]


def test_an_exception_fails_all_rows_of_its_call_once_and_names_its_type() -> None:
    """Each row has one error more, and goes down."""
    climbed = climb_with(two_rungs(fails(KeyError("weights"))), many(5))
    assert climbed.kinds == [["internal"]] * 5
    assert climbed.climbs[0].errors[0].message == "primary: KeyError: 'weights'"
    assert climbed.rungs == [1] * 5


def test_a_retry_after_reaches_the_breaker() -> None:
    """The permit is given the error itself."""
    error = RateLimited("429", retry_after=timedelta(seconds=90))
    heard: list[RowError] = []

    class Listening(FakeGate):
        def permit(self, rung: str, scope: str) -> Any:
            permit = FakeGate.permit(self, rung, scope)
            return _Hearing(heard) if rung == "labels.primary" else permit

    climb_with(two_rungs(fails(error)), many(2), Listening())
    assert heard == [error]


class _Hearing:
    """A permit that keeps the error it is told."""

    def __init__(self, heard: list[RowError]) -> None:
        self._heard = heard

    def success(self, _seconds: float) -> None:
        raise AssertionError

    def failure(self, error: RowError, _seconds: float) -> None:
        """Keep it."""
        self._heard.append(error)

    def release(self) -> None:
        raise AssertionError


@pytest.mark.parametrize(
    ("given", "said"), [([], "0"), ([Made(("chair",))] * 2, "2"), (None, "None")]
)
def test_a_wrong_number_of_outcomes_is_a_bug_of_the_rung(given: Any, said: str) -> None:
    """Nobody knows which outcome is whose, so none of them is used: each row is called alone."""
    stage = two_rungs(lambda _resources, _works: given)
    climbed = climb_with(stage, many(3))
    assert climbed.kinds == [["internal"]] * 3
    assert f"gave {said}" in climbed.climbs[0].errors[0].message
    results = [said for name, said in climbed.gate.results if name == "labels.primary"]
    assert results == ["released", *["internal"] * 3]
    assert climbed.watch.calls[:4] == [("labels.primary", rows) for rows in (3, 1, 1, 1)]


def test_rows_that_make_a_call_lose_count_are_found() -> None:
    """Of a thousand neighbours none is charged with it."""

    def forgetful(_resources: Any, works: Sequence[Work]) -> list[Outcome]:
        return [Made(("chair",)) for work in works if work.id[0] not in ("17", "200")]

    climbed = climb_with(two_rungs(forgetful), many(256))
    assert [at for at, rung in enumerate(climbed.rungs) if rung == 1] == [17, 200]
    assert len([call for call in climbed.watch.calls if call[0] == "labels.primary"]) <= 1 + 3 * 16


@pytest.mark.parametrize("error", [SystemExit(1), asyncio.CancelledError(), GeneratorExit()])
def test_a_rung_that_wants_to_end_the_process_ends_its_rows(error: BaseException) -> None:
    """Whatever a library raises: a row says its type, and falls back."""

    def leave(_resources: Any, _works: Sequence[Work]) -> list[Outcome]:
        raise error

    climbed = climb_with(two_rungs(leave), many(2))
    assert climbed.rungs == [1, 1]
    assert climbed.kinds == [["internal"]] * 2
    assert type(error).__name__ in climbed.climbs[0].errors[0].message


def test_a_row_that_hung_is_not_called_with_again() -> None:
    """It has its timeout, counted as a try, and the next rung; the others are called for."""
    hung: dict[RowId, dict[str, str]] = {("1",): {"labels.primary": "no answer within 300 s"}}
    climbed = climb_with(two_rungs(answers({})), many(3), hung=hung)
    assert climbed.rungs == [0, 1, 0]
    assert climbed.kinds == [[], ["timeout"], []]
    assert climbed.climbs[1].tries == 1
    assert climbed.watch.calls[0] == ("labels.primary", 2)


@pytest.mark.parametrize("wrong", [None, "chair", ("chair",), TimeoutError("raised, not returned")])
def test_something_that_is_no_outcome_is_a_bug_of_the_rung(wrong: Any) -> None:
    """The row that got it falls through as `internal`; its neighbours keep their value."""
    climbed = climb_with(two_rungs(answers({"1": wrong})), many(3))
    assert climbed.rungs == [0, 1, 0]
    assert climbed.kinds == [[], ["internal"], []]
    assert type(wrong).__name__ in climbed.climbs[1].errors[0].message


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (Made(()), "primary made 0 values; the table has 1 columns"),
        (Made(("chair", "stool")), "primary made 2 values"),
        (Made((None,)), "primary made no label, which is required"),
        (Made(("chair",), confidence=math.nan), "confidence of nan, not 0..1"),
        (Made(("chair",), confidence=1.01), "confidence of 1.01, not 0..1"),
        (Made(("chair",), quality=-0.01), "confidence of -0.01, not 0..1"),
        (Made(("chair",), quality=math.nan), "confidence of nan, not 0..1"),
        (Made((7,)), "primary made a label that is no string: ArrowTypeError: Expected bytes"),
        (Made((["chair"],)), "primary made a label that is no string: ArrowTypeError"),
        (Made(("chair \ud800",)), "a label that is no string: UnicodeEncodeError"),
        (Made(("chair",), quality=Fraction(1, 2)), "primary made a quality that is no float"),  # type: ignore[arg-type]
    ],
)
def test_a_value_that_the_table_could_not_hold_is_a_bug_of_the_rung(
    made: Made, message: str
) -> None:
    """Found here, for one row; published, the table would be refused as a whole."""
    climbed = climb_with(two_rungs(answers({"1": made}), required=("label",)), many(3))
    assert climbed.rungs == [0, 1, 0]
    assert climbed.kinds == [[], ["internal"], []]
    assert message in climbed.climbs[1].errors[0].message


@pytest.mark.parametrize("share", [0, 0.0, 1, 1.0, None])
def test_the_ends_of_the_unit_are_within_it(share: float | None) -> None:
    """0 and 1 are answers."""
    made = Made(("chair",), confidence=share, quality=share)
    assert climb_with(two_rungs(answers({"0": made})), many(1)).rungs == [0]


@pytest.mark.parametrize("wrong", [None, 7])
def test_no_list_at_all_is_a_bug_of_the_rung(wrong: Any) -> None:
    """A rung that forgets its return statement stops nothing."""
    climbed = climb_with(two_rungs(lambda _resources, _works: wrong), many(2))
    assert climbed.kinds == [["internal"]] * 2
    assert climbed.rungs == [1, 1]


def test_our_own_full_disk_is_nobody_elses_failure() -> None:
    """The run ends; no row is blamed."""
    with pytest.raises(StorageError):
        climb_with(two_rungs(fails(StorageError("/data", "disk full"))), many(2))


def test_memory_that_runs_out_halves_the_batch_down_to_one_row() -> None:
    """256, 128, … 1: what does not fit is tried again, smaller, before it counts."""
    primary = Recorder(Memory(limit=1))
    climbed = climb_with(two_rungs(primary), many(BATCH))
    assert primary.sizes[:9] == [256, 128, 64, 32, 16, 8, 4, 2, 1]
    assert values_of(climbed.climbs) == [str(number) for number in range(BATCH)]
    assert climbed.rungs == [0] * BATCH


def test_a_call_that_ran_out_of_memory_proves_nothing_about_the_other_side() -> None:
    """Its permit goes back, and only the smaller calls are counted by the breaker."""
    gate = climb_with(two_rungs(Memory(limit=2)), many(4)).gate
    assert [result for _, result in gate.results] == ["released", "success", "success"]


def test_a_climb_begins_with_the_size_that_is_known_to_fit() -> None:
    """The next hour does not run out of memory to find out again."""
    primary, sizes = Recorder(Memory(limit=50)), BatchSizes()
    sizes.too_large("labels.primary", 64)
    climb_with(two_rungs(primary), many(33), sizes=sizes)
    assert primary.sizes == [32, 1]


def test_what_did_not_fit_is_tried_again_before_what_comes_after_it() -> None:
    """Rows are called in their order, so that progress is the beginning of the hour."""
    primary = Recorder(Memory(limit=2))
    climb_with(two_rungs(primary, micro_batch=4), many(6))
    assert primary.calls == [["0", "1", "2", "3"], ["0", "1"], ["2", "3"], ["4", "5"]]


def test_the_rows_that_were_called_are_halved_not_those_that_a_breaker_kept_back() -> None:
    """Half of eight rows may not be called: it was four rows that did not fit."""
    primary = Recorder(Memory(limit=2))
    rung = make_rung("primary", primary, scope=lambda work: str(int(work.id[0]) % 2))
    gate = FakeGate(closed_to=frozenset({"labels.primary@1"}))
    climb_with(make_stage(rung), many(8), gate)
    assert primary.calls == [["0", "2", "4", "6"], ["0", "2"], ["4", "6"]]


def test_a_row_that_cannot_fit_fails_alone() -> None:
    """Its neighbours on both sides succeed on the same rung."""
    stage = two_rungs(Memory(limit=8, weights={"5": 9}))
    climbed = climb_with(stage, many(12))
    assert climbed.rungs == [0] * 5 + [1] + [0] * 6
    assert climbed.kinds[5] == ["resource_exhausted"]
    assert [r for r in climbed.gate.results if r[1] == "resource_exhausted"] == [
        ("labels.primary", "resource_exhausted")
    ]


@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=80),
    st.integers(1, 40),
    st.sampled_from([1, 7, 64]),
)
def test_out_of_memory_never_changes_results_or_their_order(
    weights: list[int], limit: int, micro_batch: int
) -> None:
    """Exactly the rows that cannot fit alone go down; each row comes out once, in its place."""
    by_item = {str(number): weight for number, weight in enumerate(weights)}
    stage = two_rungs(Memory(limit, by_item), micro_batch=micro_batch)
    climbed = climb_with(stage, many(len(weights)))
    assert values_of(climbed.climbs) == [
        item if weight <= limit else "stool" for item, weight in by_item.items()
    ]


@pytest.mark.parametrize("rows", [1, 2, 255, 256, 257, 1000])
@pytest.mark.parametrize("threshold", [1, 5])
@pytest.mark.parametrize("error", [MemoryError(), TimeoutError(), RuntimeError("CUDA error: 999")])
def test_a_total_outage_costs_few_calls(rows: int, threshold: int, error: Exception) -> None:
    """At most log2(batch) calls to find the smallest batch, and those until the breaker opens."""
    primary = Recorder(fails(error))
    climbed = climb_with(two_rungs(primary), many(rows), FakeGate(threshold))
    assert len(primary.calls) <= math.log2(BATCH) + threshold
    assert climbed.rungs == [1] * rows
    assert climbed.gate.failures["labels.primary"] <= threshold
    assert all(len(kinds) == 1 for kinds in climbed.kinds)
    assert climbed.kinds.count(["circuit_open"]) >= rows - sum(primary.sizes)


def test_an_open_breaker_means_no_call() -> None:
    """Straight to the fallback; the row says so and the primary's attempt is not charged."""
    primary = Recorder(makes())
    gate = FakeGate(closed_to=frozenset({"labels.primary", "labels.fallback"}))
    climbed = climb_with(two_rungs(primary), many(2), gate)
    assert primary.calls == []
    assert climbed.kinds == [["circuit_open", "circuit_open"]] * 2
    assert not any(each.called for each in climbed.climbs)


def test_each_scope_of_a_call_gets_one_permit_and_its_own_result() -> None:
    """One host that is down is not another's failure, and a batch is one call to each."""
    hosts = {"0": "a", "1": "b", "2": "a", "3": "b", "4": "c"}
    primary = make_rung(
        "primary",
        answers({"1": Timeout("slow"), "3": Timeout("slow"), "2": InvalidInput("bad")}),
        scope=lambda work: hosts[work.id[0]],
    )
    gate = climb_with(make_stage(primary), many(5)).gate
    assert gate.granted == ["labels.primary@a", "labels.primary@b", "labels.primary@c"]
    assert sorted(gate.results) == [
        ("labels.primary@a", "success"),
        ("labels.primary@b", "timeout"),
        ("labels.primary@c", "success"),
    ]


def test_a_scope_whose_breaker_is_open_holds_up_no_other() -> None:
    """Its rows go down without a call; the others are called in their order."""
    recorder = Recorder(makes())
    hosts = {"0": "up", "1": "down", "2": "up"}
    primary = make_rung("primary", recorder, scope=lambda work: hosts[work.id[0]])
    gate = FakeGate(closed_to=frozenset({"labels.primary@down"}))
    climbed = climb_with(make_stage(primary, make_rung("fallback")), many(3), gate)
    assert recorder.calls == [["0", "2"]]
    assert climbed.rungs == [0, 1, 0]
    assert climbed.kinds == [[], ["circuit_open"], []]


def test_a_rung_whose_upstream_is_missing_is_not_called() -> None:
    """The reason is the one that `requires` gives; nothing is charged."""
    primary, missing = Recorder(makes()), {("1",): "no picture"}
    stage = make_stage(
        make_rung("primary", primary, requires=lambda work: missing.get(work.id)),
        make_rung("fallback"),
    )
    climbed = climb_with(stage, many(3))
    assert primary.calls == [["0", "2"]]
    assert climbed.kinds == [[], ["upstream"], []]
    assert climbed.climbs[1].errors[0].message == "no picture"


@pytest.mark.parametrize(
    ("family", "label_family", "refused"),
    [
        ("large", "large", False),
        ("large", "small", True),
        ("large", None, False),  # a label of the rules goes with every family
        (None, "small", False),  # a text hash goes with every label
    ],
)
def test_a_rung_that_would_not_agree_is_refused_without_a_call(
    family: str | None, label_family: str | None, *, refused: bool
) -> None:
    """Equal where both are given."""
    primary = Recorder(makes(family or "hash"))
    stage = make_stage(
        make_rung("primary", primary, family=(lambda _resources: family) if family else None),
        agreement=Agreement("labels.family", "label"),
    )
    climbed = climb_with(stage, [make_work(labels_family=label_family)])
    assert climbed.kinds == [["constraint"] if refused else []]
    assert len(primary.calls) == (0 if refused else 1)
    assert climbed.gate.granted == ([] if refused else ["labels.primary"])


def test_a_value_that_is_of_another_family_than_the_rung_said_is_refused_too() -> None:
    """Declared is not made: the pair that breaks the rule never reaches the table."""
    stage = make_stage(
        make_rung("primary", makes("small"), family=lambda _resources: "large"),
        make_rung("fallback", makes("hash"), factor=0.9),
        agreement=Agreement("labels.family", "label"),
    )
    climbed = climb_with(stage, [make_work(labels_family="large")])
    assert (climbed.rungs, climbed.kinds) == ([1], [["constraint"]])


def test_a_kept_result_needs_no_call_and_no_permit() -> None:
    """It counts as recalled, costs nothing, and leaves the others to be called for."""
    recorder = Recorder(makes())
    primary = make_rung(
        "primary",
        recorder,
        cost_usd=1.0,
        recall=lambda _r, works: [Made(("kept",)) if w.id == ("1",) else None for w in works],
    )
    climbed = climb_with(make_stage(primary), many(3), FakeGate())
    assert values_of(climbed.climbs) == ["chair", "kept", "chair"]
    assert recorder.calls == [["0", "2"]]
    assert [each.cost_usd for each in climbed.climbs] == [1.0, 0.0, 1.0]
    assert [each.called for each in climbed.climbs] == [True, False, True]
    assert (climbed.stats["primary"].recalled, climbed.stats["primary"].made) == (1, 2)


def test_kept_results_are_used_while_the_breaker_is_open() -> None:
    """They need nothing from the other side."""
    primary = make_rung(
        "primary", fails(AssertionError()), recall=lambda _r, works: [Made(("kept",))] * len(works)
    )
    climbed = climb_with(make_stage(primary), many(2), FakeGate(threshold=0))
    assert values_of(climbed.climbs) == ["kept", "kept"]


@pytest.mark.parametrize(
    "kept",
    [[], [Made(("kept",))] * 2, None, ["kept"] * 3, [Made(None)] * 3],  # type: ignore[arg-type]
)
def test_a_recall_that_fails_means_that_every_row_is_worked_on(kept: Any) -> None:
    """A broken cache is no reason to lose a row, nor to mix up two."""
    primary = make_rung("primary", recall=lambda _resources, _works: kept)
    assert values_of(climb_with(make_stage(primary), many(3)).climbs) == ["chair"] * 3


def test_every_call_is_counted() -> None:
    """Calls, rows given, values made, errors by kind and seconds, for each rung."""
    stage = two_rungs(
        answers({"0": Timeout("slow"), "1": InvalidInput("bad"), "2": InvalidInput("bad")}),
        answers({"0": InvalidInput("bad")}),
        micro_batch=2,
    )
    climbed = climb_with(stage, many(5))
    assert climbed.stats == {
        "primary": RungStats(3, 5, 2, 0, 3.0, Counter(timeout=1, invalid_input=2)),
        "fallback": RungStats(2, 3, 2, 0, 2.0, Counter(invalid_input=1)),
    }


def test_the_stats_of_two_shards_add_up() -> None:
    """Field by field."""
    total = RungStats(1, 2, 1, 3, 0.5, Counter(timeout=1))
    total.add(RungStats(2, 5, 4, 1, 1.5, Counter(timeout=1, network=2)))
    assert total == RungStats(3, 7, 5, 4, 2.0, Counter(timeout=2, network=2))


def test_cost_and_time_go_to_the_rows_of_the_call() -> None:
    """Each rung that is called costs its price per row; the time of a batch is shared."""
    stage = make_stage(
        make_rung("primary", answers({"0": Timeout("slow")}), cost_usd=0.25),
        make_rung("fallback", cost_usd=0.5),
    )
    first, second = climb_with(stage, many(2)).climbs
    assert (first.cost_usd, first.seconds) == (0.75, 1.5)
    assert (second.cost_usd, second.seconds) == (0.25, 0.5)


OUTCOMES = st.sampled_from([None, *ErrorKind])
"""None stands for a value."""


@given(
    st.lists(st.tuples(OUTCOMES, OUTCOMES, OUTCOMES), max_size=40),
    st.integers(1, 16),
    st.integers(0, 3),
)
def test_every_row_in_is_one_climb_out_on_the_first_rung_that_could(
    rows: list[tuple[ErrorKind | None, ...]], micro_batch: int, ceiling: int
) -> None:
    """Whatever fails: in order, each on its best rung, with the errors above it and no other."""

    def rung(number: int) -> RungCall:
        def call(_resources: Any, works: Sequence[Work]) -> Sequence[Outcome]:
            kinds = [rows[int(work.id[0])][number] for work in works]
            return [Made((str(number),)) if kind is None else error_of(kind) for kind in kinds]

        return call

    stage = make_stage(
        *(make_rung(f"rung {number}", rung(number)) for number in range(3)),
        micro_batch=micro_batch,
    )
    climbed = climb_with(stage, many(len(rows)), ceiling=ceiling)
    assert [each.planned.work.id[0] for each in climbed.climbs] == [
        str(number) for number in range(len(rows))
    ]
    for each, kinds in zip(climbed.climbs, rows, strict=True):
        way = kinds[:ceiling]
        end = next((n for n, kind in enumerate(way) if kind is None or kind in STOPS), len(way))
        made = end < len(way) and way[end] is None
        assert each.rung == (end if made else None)
        assert [error.kind for error in each.errors] == list(way[: end if made else end + 1])
    granted = len(climbed.gate.granted)
    assert granted == len(climbed.gate.results) == sum(s.calls for s in climbed.stats.values())
