"""Calling a rung: again where it helps, within budget and deadline, in batches that fit."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.core.budget import Backoff
from pipeline_assets.core.results import worked
from pipeline_assets.core.rows import Made, Outcome, Row, Work
from pipeline_assets.core.sizes import BatchSizes
from pipeline_assets.core.stage import Rung, Stage
from pipeline_assets.core.status import Status
from pipeline_assets.errors import (
    BY_KIND,
    ErrorKind,
    InvalidInput,
    Overloaded,
    RateLimited,
    ResourceExhausted,
    RowError,
    Timeout,
    TooLarge,
    UpstreamMissing,
)
from pipeline_assets_tests.core.builders import (
    NOW,
    Climbed,
    FakeBudget,
    FakeGate,
    Memory,
    Recorder,
    answers,
    climb_with,
    fails,
    make_row,
    make_rung,
    make_stage,
    make_stamp,
    many,
)

CHAIR = Made(("chair",))
SLOW, BUSY, BAD = Timeout("slow"), Overloaded("503"), InvalidInput("not a picture")
BACKOFF = Backoff(tries=3, first_s=1.0, factor=2.0, cap_s=20.0, deadline_s=60.0)


def asked_for(seconds: float) -> RateLimited:
    """An answer of 429 with Retry-After."""
    return RateLimited("429", retry_after=timedelta(seconds=seconds))


class Script:
    """A rung function that answers the nth call for an item with the nth outcome of its list.

    Past the end, and where nothing is said of an item, it makes a value.
    """

    def __init__(self, by_item: Mapping[str, Sequence[Outcome]]) -> None:
        self._by_item = by_item
        self.seen: Counter[str] = Counter()

    def __call__(self, _resources: Any, works: Sequence[Work]) -> list[Outcome]:
        """Answer."""
        return [self._next(work.id[0]) for work in works]

    def _next(self, item: str) -> Outcome:
        said = self._by_item.get(item, ())
        number = self.seen[item]
        self.seen[item] += 1
        return said[number] if number < len(said) else CHAIR


def always(*outcomes: Outcome, rows: int = 1) -> Script:
    """The same outcomes, one after the other, for each of `rows` items."""
    return Script({str(number): outcomes for number in range(rows)})


def patient(call: Any, backoff: Backoff = BACKOFF, **options: Any) -> Rung:
    """The primary, tried again within the run."""
    return make_rung("primary", call, backoff=backoff, **options)


def chain(primary: Rung, fallback: Any = None, **options: Any) -> Stage:
    """The primary, and a fallback that makes everything unless told otherwise."""
    return make_stage(primary, make_rung("fallback", fallback, factor=0.9), **options)


def rows_of(stage: Stage, climbed: Climbed) -> list[Row]:
    """The rows that the table would hold."""
    return [worked(stage, climb, make_stamp(stage)) for climb in climbed.climbs]


def test_only_what_failed_in_passing_is_called_again_and_alone() -> None:
    """Neither those that have a value, nor those that no further try can help."""
    primary = Recorder(Script({"1": [SLOW], "2": [BAD], "3": [SLOW, BUSY]}))
    climbed = climb_with(chain(patient(primary)), many(5))
    assert primary.calls == [["0", "1", "2", "3", "4"], ["1", "3"], ["3"]]
    assert climbed.rungs == [0, 0, 1, 0, 0]
    assert climbed.kinds == [[], [], ["invalid_input"], [], []]


@pytest.mark.parametrize("kind", ErrorKind)
def test_the_type_of_an_error_says_whether_it_is_worth_another_try(kind: ErrorKind) -> None:
    """A row that it can help is made by the second call."""
    primary = Recorder(always(BY_KIND[kind]("as it was")))
    climbed = climb_with(chain(patient(primary)), many(1))
    assert len(primary.calls) == (2 if BY_KIND[kind].transient else 1)
    assert (climbed.rungs == [0]) is BY_KIND[kind].transient


def test_without_a_backoff_a_row_falls_on_at_once() -> None:
    """And asks for no token."""
    budget = FakeBudget(tokens=5)
    primary = Recorder(always(SLOW))
    climbed = climb_with(chain(make_rung("primary", primary)), many(1), budget=budget)
    assert (primary.sizes, climbed.slept, budget.tokens) == ([1], [], 5)


@pytest.mark.parametrize("tries", [1, 2, 5])
def test_a_rung_that_stays_down_is_called_as_often_as_it_says(tries: int) -> None:
    """Then every row falls on, with one error."""
    primary = Recorder(fails(BUSY))
    backoff = Backoff(tries=tries, first_s=1.0, deadline_s=60.0)
    climbed = climb_with(chain(patient(primary, backoff)), many(3))
    assert primary.sizes == [3] * tries
    assert climbed.rungs == [1] * 3
    assert climbed.kinds == [["overloaded"]] * 3
    assert len(climbed.slept) == tries - 1


@pytest.mark.parametrize(
    ("said", "slept"),
    [
        pytest.param([SLOW, SLOW], [1.0, 2.0], id="growing"),
        pytest.param([asked_for(5), asked_for(0)], [6.0, 2.0], id="on top of what was asked for"),
        pytest.param([asked_for(-5)], [1.0], id="never less than no time"),
        pytest.param([], [], id="no failure, no wait"),
    ],
)
def test_waits_are_drawn_and_at_least_what_the_other_side_asked(
    said: list[RowError], slept: list[float]
) -> None:
    """The jitter here is always the most that it may be."""
    climbed = climb_with(chain(patient(always(*said))), many(1))
    assert (climbed.slept, climbed.rungs) == (slept, [0])


def test_rows_that_are_called_again_together_wait_once_for_the_longest() -> None:
    """One wait for the batch, not one for each row."""
    primary = Recorder(Script({"0": [SLOW], "1": [asked_for(7)], "2": [BUSY]}))
    climbed = climb_with(chain(patient(primary)), many(3))
    assert (climbed.slept, primary.sizes) == ([8.0], [3, 3])


def test_a_wait_that_would_pass_the_deadline_is_waited_outside() -> None:
    """The row has `retry_at`, and its attempt is not charged, whoever makes it then."""
    stage = chain(patient(always(asked_for(600))))
    climbed = climb_with(stage, many(1))
    (row,) = rows_of(stage, climbed)
    assert (climbed.slept, row.rung, row.attempts) == ([], "fallback", 0)
    assert (row.error_kind, row.retryable) == ("rate_limited", True)
    assert row.retry_at == NOW + timedelta(seconds=601)


def test_a_row_that_can_wait_is_not_held_up_by_one_that_cannot() -> None:
    """Each has its own answer."""
    primary = Recorder(Script({"0": [asked_for(600)], "1": [SLOW]}))
    stage = chain(patient(primary))
    climbed = climb_with(stage, many(2))
    assert primary.calls == [["0", "1"], ["1"]]
    assert climbed.rungs == [1, 0]
    assert [row.attempts for row in rows_of(stage, climbed)] == [0, 2]


@pytest.mark.parametrize(("deadline_s", "calls"), [(0.0, 1), (4.0, 1), (4.1, 2), (60.0, 3)])
def test_no_wait_ends_past_the_deadline(deadline_s: float, calls: int) -> None:
    """The first try takes 3 s here, and its wait is 1 s: a deadline that is met has passed."""
    primary = Recorder(fails(BUSY))
    backoff = Backoff(tries=3, first_s=1.0, deadline_s=deadline_s)
    climbed = climb_with(chain(patient(primary, backoff)), many(1))
    assert len(primary.calls) == calls
    assert sum(climbed.slept) <= deadline_s


def test_whoever_is_called_away_from_a_wait_does_not_call_before_it_is_due() -> None:
    """The row has its error and waits outside; the rung is not asked again."""
    primary = Recorder(answers({}, asked_for(5)))
    stage = make_stage(make_rung(call=primary, backoff=BACKOFF), make_rung("fallback", factor=0.9))
    climbed = climb_with(stage, many(2), called_away=True)
    assert len(primary.calls) == 1
    assert (climbed.rungs, climbed.kinds) == ([1, 1], [["rate_limited"]] * 2)
    assert [each.tries for each in climbed.climbs] == [0, 0]


def test_a_call_that_takes_the_whole_deadline_by_itself_is_charged() -> None:
    """Nobody asked for time: a row that hangs is not tried for ever."""
    hanging = Backoff(tries=3, first_s=1.0, deadline_s=1.0)
    stage = make_stage(make_rung(call=answers({}, SLOW), backoff=hanging))
    (climb,) = climb_with(stage, many(1)).climbs
    assert climb.tries == 1
    assert climb.errors[0].retry_after is not None


def test_an_endless_retry_after_is_no_reason_to_end_the_run() -> None:
    """Strangers' headers may say anything."""
    stage = chain(patient(always(RateLimited("429", retry_after=timedelta.max))))
    (row,) = rows_of(stage, climb_with(stage, many(1)))
    assert row.rung == "fallback"
    assert row.retry_at is not None
    assert row.retry_at > NOW


DEFER, VALUE = asked_for(600), CHAIR
NONE = UpstreamMissing("no copy")


@pytest.mark.parametrize(
    ("primary", "fallback", "attempts"),
    [
        pytest.param([VALUE], [], 1, id="made"),
        pytest.param([SLOW, VALUE], [], 2, id="made by the second try"),
        pytest.param([SLOW] * 3, [VALUE], 3, id="three tries, then the fallback"),
        pytest.param([BAD], [VALUE], 1, id="one climb is one attempt"),
        pytest.param([BAD], [SLOW, VALUE], 2, id="each rung's repeated calls are counted"),
        pytest.param([SLOW] * 3, [SLOW] * 3, 5, id="on both rungs"),
        pytest.param([NONE], [NONE], 0, id="nobody had anything to work on"),
        pytest.param([NONE], [VALUE], 1, id="only the fallback had"),
        pytest.param([DEFER], [VALUE], 0, id="deferred, and made by the fallback"),
        pytest.param([SLOW, DEFER], [VALUE], 1, id="deferred by the second try"),
        pytest.param([DEFER], [SLOW, VALUE], 0, id="a deferred climb is charged no more"),
        pytest.param([DEFER], [DEFER], 0, id="deferred by both"),
        pytest.param([BAD], [DEFER], 1, id="the first rung had answered"),
        pytest.param([BAD], [SLOW, DEFER], 1, id="and was not asked again"),
    ],
)
def test_attempts_are_what_was_tried_in_earnest(
    primary: list[Outcome], fallback: list[Outcome], attempts: int
) -> None:
    """One where anything was answered, one for each call again, none for being told to wait."""
    stage = make_stage(
        patient(Script({"0": primary})),
        make_rung("fallback", Script({"0": fallback}), factor=0.9, backoff=BACKOFF),
    )
    (row,) = rows_of(stage, climb_with(stage, many(1)))
    assert row.attempts == attempts


def test_attempts_go_on_from_those_of_earlier_runs() -> None:
    """A deferred try changes nothing about them."""
    stage = chain(patient(always(DEFER)), always(BAD))
    old = make_row(Status.SKIPPED, attempts=4, retryable=True, key="old")
    (climb,) = climb_with(stage, many(1), old=old, input_changed=False).climbs
    assert worked(stage, climb, make_stamp(stage)).attempts == 4


@pytest.mark.parametrize(
    ("tokens", "again"),
    [(0, []), (2, ["0", "1"]), (4, ["0", "1", "2", "3"]), (99, ["0", "1", "2", "3"])],
)
def test_rows_for_which_no_token_is_left_fall_on(tokens: int, again: list[str]) -> None:
    """With their own error; an outage is not answered with a storm."""
    primary, budget = Recorder(always(SLOW, rows=4)), FakeBudget(tokens=tokens)
    stage = chain(patient(primary))
    climbed = climb_with(stage, many(4), budget=budget)
    assert primary.calls[1:] == ([again] if again else [])
    assert climbed.rungs == [0 if str(number) in again else 1 for number in range(4)]
    assert [row.attempts for row in rows_of(stage, climbed)] == [
        2 if str(number) in again else 1 for number in range(4)
    ]
    assert budget.tokens == max(0, tokens - 4)


@pytest.mark.parametrize("backoff", [None, BACKOFF])
def test_values_that_were_made_by_a_call_pay_for_retries(backoff: Backoff | None) -> None:
    """Of the rungs that may spend them; neither failures nor the other rungs' values do."""
    primary = make_rung("primary", Script({"1": [BAD]}), backoff=backoff)
    budget = climb_with(chain(primary), many(3)).budget
    assert budget.earned == (0 if backoff is None else 2)


def test_what_the_budget_has_no_money_for_goes_on_and_the_rest_of_the_batch_is_paid() -> None:
    """To the next rung, with `budget` as the reason; nothing is charged."""
    primary, budget = Recorder(always()), FakeBudget(rows=2)
    stage = chain(make_rung("primary", primary, cost_usd=0.5))
    climbed = climb_with(stage, many(3), budget=budget)
    assert primary.calls == [["0", "1"]]
    assert (climbed.rungs, climbed.kinds) == ([0, 0, 1], [[], [], ["budget"]])
    assert [climb.cost_usd for climb in climbed.climbs] == [0.5, 0.5, 0.0]
    assert (budget.spent, climbed.gate.results[0]) == ([(0.5, 2)], ("labels.primary", "success"))


def test_where_nothing_can_be_paid_for_the_row_is_skipped() -> None:
    """No call, and the permit goes back: it proves nothing about the other side."""
    stage = make_stage(make_rung("primary", fails(AssertionError()), cost_usd=0.5))
    climbed = climb_with(stage, many(2), budget=FakeBudget(rows=0))
    (first, _) = rows_of(stage, climbed)
    assert (first.status, first.error_kind, first.retryable) == ("skipped", "budget", True)
    assert (first.attempts, first.cost_usd) == (0, 0.0)
    assert climbed.gate.results == [("labels.primary", "released")]


def test_a_free_rung_never_asks_for_money() -> None:
    """It is there for those who have none."""
    climbed = climb_with(chain(make_rung()), many(2), budget=FakeBudget(rows=0))
    assert (climbed.rungs, climbed.budget.spent) == ([0, 0], [])


def test_each_try_is_paid_for() -> None:
    """And counted in the row's cost."""
    climbed = climb_with(chain(patient(always(SLOW), cost_usd=0.5)), many(1))
    assert climbed.budget.spent == [(0.5, 1), (0.5, 1)]
    assert climbed.climbs[0].cost_usd == 1.0


def test_without_money_for_another_try_the_row_says_what_the_first_one_met() -> None:
    """That is worth more than that the money was gone."""
    stage = chain(patient(always(SLOW), cost_usd=0.5))
    climbed = climb_with(stage, many(1), budget=FakeBudget(rows=1))
    assert (climbed.rungs, climbed.kinds) == ([1], [["timeout"]])


def test_a_breaker_that_opens_between_two_tries_leaves_the_rungs_own_failure() -> None:
    """The row met it itself; the others only heard of it."""
    primary = Recorder(fails(BUSY))
    stage = chain(patient(primary), micro_batch=2)
    climbed = climb_with(stage, many(4), FakeGate(threshold=1))
    assert primary.calls == [["0", "1"]]
    assert climbed.kinds == [["overloaded"]] * 2 + [["circuit_open"]] * 2
    assert [row.attempts for row in rows_of(stage, climbed)] == [1] * 4


class Counting(FakeGate):
    """Breakers that count how often they are asked."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.asked: Counter[str] = Counter()

    def permit(self, rung: str, scope: str) -> Any:
        """Count."""
        self.asked[f"{rung}@{scope}"] += 1
        return FakeGate.permit(self, rung, scope)


def test_a_breaker_that_refused_is_not_asked_again_for_every_row() -> None:
    """Where single rows are all that fits, each would ask the database."""
    gate = Counting(threshold=2)
    stage = chain(make_rung("primary", fails(MemoryError())), micro_batch=64)
    climbed = climb_with(stage, many(64), gate)
    assert gate.asked["labels.primary@"] == len([64, 32, 16, 8, 4, 2, 1, 1]) + 1
    assert climbed.rungs == [1] * 64


def test_a_scope_that_was_refused_is_refused_alone() -> None:
    """The other scopes' rows among the rest are called, in their order."""
    sizes, primary = BatchSizes(), Recorder(always())
    sizes.too_large("labels.primary", 2)
    gate = Counting(closed_to=frozenset({"labels.primary@1"}))
    rung = make_rung("primary", primary, scope=lambda work: str(int(work.id[0]) % 2))
    climbed = climb_with(chain(rung), many(6), gate, sizes)
    assert primary.calls == [["0"], ["2"], ["4"]]
    assert gate.asked["labels.primary@1"] == 1
    assert climbed.rungs == [0, 1] * 3


def test_a_budget_that_refused_is_not_asked_again_for_every_row() -> None:
    """What it had no money for once, it has none for a moment later."""
    sizes, budget = BatchSizes(), FakeBudget(rows=2)
    sizes.too_large("labels.primary", 2)
    climbed = climb_with(chain(make_rung(cost_usd=0.5)), many(6), sizes=sizes, budget=budget)
    assert budget.spent == [(0.5, 1), (0.5, 1), (0.5, 0)]
    assert climbed.kinds == [[]] * 2 + [["budget"]] * 4


def test_memory_that_runs_out_on_a_paid_rung_costs_nothing() -> None:
    """The call that did not fit is made again in smaller ones, and those are paid for."""
    stage = chain(make_rung("primary", Memory(limit=2), cost_usd=0.5), micro_batch=4)
    climbed = climb_with(stage, many(4))
    assert climbed.budget.spent == [(0.5, 4), (0.5, -4), (0.5, 2), (0.5, 2)]
    assert [climb.cost_usd for climb in climbed.climbs] == [0.5] * 4
    assert climbed.stats["primary"].rows == 4


class Limit:
    """A rung function that refuses a call as a whole where its rows weigh too much together."""

    def __init__(self, limit: int, weights: Mapping[str, int]) -> None:
        self._limit, self._weights = limit, weights

    def __call__(self, _resources: Any, works: Sequence[Work]) -> list[Outcome]:
        """Answer, or refuse."""
        if sum(self._weights.get(work.id[0], 1) for work in works) > self._limit:
            raise TooLarge("maximum context length")
        return [Made((work.id[0],)) for work in works]


def test_a_call_that_is_too_large_is_split_down_to_the_row_that_is() -> None:
    """In order; its neighbours are made, and the money for each refused call comes back."""
    primary, sizes = Recorder(Limit(8, {"5": 9})), BatchSizes()
    stage = chain(make_rung("primary", primary, cost_usd=0.5))
    climbed = climb_with(stage, many(8), sizes=sizes)
    assert primary.calls == [
        [str(number) for number in numbers]
        for numbers in (range(8), range(4), range(4, 8), (4, 5), (4,), (5,), (6, 7))
    ]
    assert climbed.rungs == [0] * 5 + [1] + [0] * 2
    assert climbed.kinds[5] == ["too_large"]
    assert sum(rows for _cost, rows in climbed.budget.spent) == 8
    assert climbed.climbs[5].made is not None


def test_the_size_of_a_call_that_was_too_large_is_not_remembered() -> None:
    """These rows were too large together; the next ones may not be."""
    sizes = BatchSizes()
    primary = Recorder(Limit(3, {}))
    climb_with(chain(make_rung("primary", primary), micro_batch=4), many(8), sizes=sizes)
    assert primary.sizes == [4, 2, 2, 4, 2, 2]
    assert sizes.size("labels.primary", 256) == 256


def test_a_call_that_was_too_large_says_nothing_to_the_breaker() -> None:
    """The permits of the refused calls go back; one row that is too large was answered."""
    stage = chain(make_rung("primary", Limit(1, {"0": 2})))
    gate = climb_with(stage, many(2)).gate
    assert gate.results[:3] == [
        ("labels.primary", "released"),
        ("labels.primary", "success"),
        ("labels.primary", "success"),
    ]


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=40),
    st.integers(1, 8),
    st.sampled_from([1, 5, 16]),
)
def test_too_large_never_changes_results_or_their_order(
    weights: list[int], limit: int, micro_batch: int
) -> None:
    """Exactly the rows that are too large by themselves fall on."""
    by_item = {str(number): weight for number, weight in enumerate(weights)}
    stage = chain(make_rung("primary", Limit(limit, by_item)), micro_batch=micro_batch)
    climbed = climb_with(stage, many(len(weights)))
    assert climbed.rungs == [0 if weight <= limit else 1 for weight in weights]
    assert [climb.planned.work.id[0] for climb in climbed.climbs] == list(by_item)


def test_a_keyed_rung_is_given_the_key_that_its_row_will_have() -> None:
    """So that a provider knows a call that is made again; other rungs are given none."""
    given_keys: dict[str, list[str | None]] = {"primary": [], "fallback": []}

    def remember(name: str, outcome: Outcome) -> Any:
        def call(_resources: Any, works: Sequence[Work]) -> list[Outcome]:
            given_keys[name].extend(work.key for work in works)
            return [outcome] * len(works)

        return call

    stage = make_stage(
        make_rung("unkeyed", fails(BAD)),
        make_rung("primary", remember("primary", SLOW), keyed=True, backoff=BACKOFF),
        make_rung("fallback", remember("fallback", CHAIR), keyed=True),
    )
    (row,) = rows_of(stage, climb_with(stage, many(1)))
    assert row.key is not None
    assert given_keys["fallback"] == [row.key]
    (tried,) = set(given_keys["primary"])
    assert tried is not None
    assert tried != row.key
    (work,) = many(1)
    assert tried == make_stamp(stage).keys.key(work, 1)


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (RuntimeError("CUDA error: an illegal memory access was encountered"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), True),
        (RuntimeError("CUDA out of memory"), False),
        (RuntimeError("an illegal memory access"), False),
        (Timeout("CUDA error: an illegal memory access was encountered"), False),
    ],
)
def test_the_process_around_hears_of_a_context_that_is_lost(
    error: Exception, *, lost: bool
) -> None:
    """Where nobody could replace it, the rows fall on as with any other failure."""
    climbed = climb_with(chain(make_rung("primary", fails(error))), many(1))
    assert climbed.watch.lost == ([error] if lost else [])
    assert climbed.rungs == [1]


def test_the_process_around_hears_of_each_call_before_it_is_made() -> None:
    """Should it die, it is known where."""
    stage = chain(patient(Script({"0": [SLOW], "1": [BAD]})))
    assert climb_with(stage, many(3)).watch.calls == [
        ("labels.primary", 3),
        ("labels.primary", 1),
        ("labels.fallback", 1),
    ]


def test_a_rung_that_takes_rows_out_of_its_batch_ends_no_run() -> None:
    """What it is given is not its own; its bug is one like any other."""

    def without_the_first(_resources: Any, works: Any) -> list[Outcome]:
        works.remove(works[0])
        return [CHAIR for _ in works]

    climbed = climb_with(chain(make_rung("primary", without_the_first)), many(3))
    assert (climbed.rungs, climbed.kinds) == ([1] * 3, [["internal"]] * 3)


# Whatever a rung answers, in whatever order.

KINDS = [kind for kind in ErrorKind if kind not in (ErrorKind.FORBIDDEN, ErrorKind.BLOCKED)]
WAITS = st.sampled_from([None, *(timedelta(seconds=s) for s in (0, 5, 40, 3600))])
OUTCOMES = st.one_of(st.none(), st.tuples(st.sampled_from(KINDS), WAITS))
SAID = st.lists(OUTCOMES, max_size=4)
WHOLE = st.sampled_from([None, None, None, *(k for k in KINDS if k is not ErrorKind.TOO_LARGE)])
RUNGS = ("primary", "second", "third")


def outcomes_of(rung: str, said: Iterable[tuple[ErrorKind, timedelta | None] | None]) -> list[Any]:
    """Values and errors that name their rung."""
    return [
        CHAIR if each is None else BY_KIND[each[0]](f"by {rung}", retry_after=each[1])
        for each in said
    ]


class Wild:
    """A rung function that follows a script, and now and then fails as a whole."""

    def __init__(self, rung: str, script: Script, whole: Sequence[ErrorKind | None]) -> None:
        self._rung, self._script, self._whole = rung, script, whole
        self.calls: list[tuple[list[str], bool]] = []
        """The items of each call, and whether it was out of memory as a whole."""

    def __call__(self, resources: Any, works: Sequence[Work]) -> Sequence[Outcome]:
        """Answer, or raise."""
        number = len(self.calls)
        kind = self._whole[number] if number < len(self._whole) else None
        smaller = kind is ErrorKind.RESOURCE_EXHAUSTED and len(works) > 1
        self.calls.append(([work.id[0] for work in works], smaller))
        if kind is not None:
            raise BY_KIND[kind](f"by {self._rung}")
        return self._script(resources, works)

    def asked(self) -> Counter[str]:
        """How often each item was called with, not counting what was only called too large."""
        return Counter(item for items, smaller in self.calls if not smaller for item in items)


@given(
    st.lists(st.tuples(SAID, SAID, SAID), max_size=12),
    st.lists(st.lists(WHOLE, max_size=6), min_size=3, max_size=3),
    st.integers(1, 8),
    st.integers(1, 4),
    st.one_of(st.none(), st.integers(0, 6)),
    st.one_of(st.none(), st.integers(0, 12)),
    st.one_of(st.none(), st.integers(1, 4)),
)
def test_whatever_rungs_answer_every_row_comes_out_once_and_within_its_budgets(
    said: list[tuple[list[Any], ...]],
    whole: list[list[ErrorKind | None]],
    micro_batch: int,
    tries: int,
    tokens: int | None,
    paid: int | None,
    threshold: int | None,
) -> None:
    """In order; no more retries than tokens, no more calls than tries, no bill past the budget.

    A row that has a value keeps no error of the rung that made it; no permit is left behind.
    """
    backoff = Backoff(tries=tries, first_s=1.0, deadline_s=60.0)
    wild = [
        Wild(name, Script({str(n): outcomes_of(name, row[at]) for n, row in enumerate(said)}), fail)
        for at, (name, fail) in enumerate(zip(RUNGS, whole, strict=True))
    ]
    stage = make_stage(
        *(
            make_rung(name, call, backoff=backoff, cost_usd=1.0)
            for name, call in zip(RUNGS, wild, strict=True)
        ),
        micro_batch=micro_batch,
    )
    gate, budget = FakeGate(threshold), FakeBudget(rows=paid, tokens=tokens)
    climbed = climb_with(stage, many(len(said)), gate, budget=budget)
    assert [climb.planned.work.id[0] for climb in climbed.climbs] == [
        str(number) for number in range(len(said))
    ]
    asked = [each.asked() for each in wild]
    assert all(count <= tries for counts in asked for count in counts.values())
    retries = sum(count - 1 for counts in asked for count in counts.values())
    assert tokens is None or retries <= tokens
    assert paid is None or sum(climb.cost_usd for climb in climbed.climbs) <= paid
    for climb, row in zip(climbed.climbs, rows_of(stage, climbed), strict=True):
        assert climb._held is None
        above = len(RUNGS) if climb.rung is None else climb.rung
        assert len(climb.errors) == above
        named = {error.message for error in climb.errors if error.message.startswith("by ")}
        assert named <= {f"by {name}" for name in RUNGS[:above]}
        calls = sum(counts[climb.planned.work.id[0]] for counts in asked)
        assert 0 <= row.attempts <= calls
        assert climb.cost_usd == calls
    assert len(gate.granted) == len(gate.results)


def test_out_of_memory_and_backoff_go_together() -> None:
    """What does not fit is halved first; what fails then is tried again in batches that fit."""
    primary = Recorder(Memory(limit=2, weights={"3": 3}))
    climbed = climb_with(chain(patient(primary), micro_batch=4), many(4))
    assert primary.sizes[:5] == [4, 2, 2, 1, 1]
    assert primary.calls[5:] == [["3"], ["3"]]
    assert climbed.rungs == [0, 0, 0, 1]
    assert [str(error.kind) for error in climbed.climbs[3].errors] == ["resource_exhausted"]
    assert isinstance(climbed.climbs[3].errors[0], ResourceExhausted)
