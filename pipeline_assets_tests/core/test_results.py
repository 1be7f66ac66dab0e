"""From a climb to a row: status, quality, error, and what a retry can do."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.core.attempt import Attempt
from pipeline_assets.core.contract import broken_rules
from pipeline_assets.core.fingerprint import same_input
from pipeline_assets.core.plan import Planned, Reason, Standing, plan_row
from pipeline_assets.core.quality import score
from pipeline_assets.core.results import SLOW_RETRY, decisive, untried, worked
from pipeline_assets.core.rows import Made, Row, Work, from_table, to_table
from pipeline_assets.core.stage import Stage
from pipeline_assets.core.status import Status
from pipeline_assets.errors import (
    BY_KIND,
    MAX_ERROR_CHARS,
    CircuitOpen,
    ConstraintBroken,
    DataError,
    ErrorKind,
    Forbidden,
    Internal,
    InvalidInput,
    NotFound,
    Overloaded,
    RateLimited,
    ResourceExhausted,
    RowError,
    Timeout,
    UpstreamMissing,
    WorkerCrash,
)
from pipeline_assets_tests.core.builders import (
    NOW,
    answers,
    climb_with,
    make_planned,
    make_row,
    make_rung,
    make_situation,
    make_stage,
    make_stamp,
    make_work,
)

RUNGS = ("primary", "fallback", "rules")
STAGE = make_stage(
    make_rung("primary", cost_usd=1.0),
    make_rung("fallback", factor=0.9),
    make_rung("rules", factor=0.7),
    skip_factor=0.5,
    retry_usd=3.0,
)
STRICT = replace(STAGE, strict=True)
CHAIR = Made(("chair",))
EARLIER = NOW - timedelta(hours=1)


def result(
    *errors: RowError,
    rung: int | None = None,
    made: Made = CHAIR,
    stage: Stage = STAGE,
    planned: dict[str, Any] | None = None,
    **climbed: Any,
) -> Row:
    """The row of a climb that met `errors`; a value was made only if `rung` is given."""
    climb = Attempt(
        make_planned(make_work(), stage, **(planned or {})),
        **{
            "made": None if rung is None else made,
            "rung": rung,
            "errors": list(errors),
            "called": True,
            "tries": 1,
            "cost_usd": 0.25,
            "seconds": 2.0,
            **climbed,
        },
    )
    return worked(stage, climb, make_stamp(stage))


SLOW, BAD, BUG = Timeout("slow"), InvalidInput("bad"), Internal("KeyError: 'x'")
NO_UPSTREAM = UpstreamMissing("no picture")


@pytest.mark.parametrize(
    ("errors", "rung", "status", "kind", "quality", "retryable"),
    [
        pytest.param((), 0, Status.OK, None, 1.0, False, id="primary"),
        pytest.param((SLOW,), 1, Status.OK, "timeout", 0.9, True, id="fallback for a while"),
        pytest.param((BAD,), 1, Status.OK, "invalid_input", 0.9, False, id="fallback for good"),
        pytest.param((SLOW, BAD), 2, Status.OK, "timeout", 0.7, True, id="second fallback"),
        pytest.param((BAD, SLOW), 2, Status.OK, "invalid_input", 0.7, True, id="one can pass"),
        pytest.param((NO_UPSTREAM,), 1, Status.OK, "upstream", 1.0, False, id="charged upstream"),
        pytest.param((NO_UPSTREAM, SLOW), 2, Status.OK, "timeout", 0.7, True, id="charged here"),
        pytest.param((SLOW, NO_UPSTREAM), 2, Status.OK, "timeout", 0.7, True, id="here too"),
        pytest.param((BUG,), 1, Status.OK, "internal", 0.9, True, id="a bug that was survived"),
        pytest.param((SLOW,) * 3, None, Status.SKIPPED, "timeout", 0.5, True, id="no rung could"),
        pytest.param(
            (NO_UPSTREAM,) * 3, None, Status.SKIPPED, "upstream", 1.0, False, id="nothing to use"
        ),
        pytest.param((BAD,) * 3, None, Status.FAILED, "invalid_input", 0.5, False, id="bad data"),
        pytest.param(
            (Forbidden("no"),), None, Status.FAILED, "forbidden", 0.5, False, id="opted out"
        ),
        pytest.param(
            (BAD, SLOW, SLOW), None, Status.SKIPPED, "invalid_input", 0.5, True, id="may yet pass"
        ),
        pytest.param(
            (ConstraintBroken("differs"), SLOW, SLOW),
            None,
            Status.SKIPPED,
            "constraint",
            0.5,
            True,
            id="the best rung's error is shown",
        ),
        pytest.param(
            (NO_UPSTREAM, BAD),
            None,
            Status.FAILED,
            "invalid_input",
            0.5,
            False,
            id="not missing: bad",
        ),
        pytest.param(
            (BAD, BUG, SLOW), None, Status.SKIPPED, "internal", 0.5, True, id="a bug wins"
        ),
        pytest.param(
            (CircuitOpen("open"),) * 3, None, Status.SKIPPED, "circuit_open", 0.5, True, id="outage"
        ),
    ],
)
def test_each_climb_has_its_row(
    errors: tuple[RowError, ...],
    rung: int | None,
    status: Status,
    kind: str | None,
    quality: float,
    *,
    retryable: bool,
) -> None:
    """Status, error, quality and whether a retry can help."""
    row = result(*errors, rung=rung)
    assert (row.status, row.error_kind, row.quality) == (status, kind, quality)
    assert row.retryable is retryable
    assert row.rung == (None if rung is None else RUNGS[rung])
    assert row.fallback_used == (RUNGS[rung] if rung else None)
    assert row.values == (("chair",) if rung is not None else (None,))
    assert row.producer == (None if rung is None else f"{RUNGS[rung]}/1")


def test_label_and_embedding_of_the_cpu_fallback_are_worth_0_72() -> None:
    """The label at 0.9, the embedding at 0.8, as the contract says."""
    label = result(ResourceExhausted("out of memory"), rung=1)
    embed = make_stage(make_rung(), make_rung("cpu", factor=0.8))
    vector = result(ResourceExhausted("out of memory"), rung=1, stage=embed)
    assert score([result(rung=0).quality, label.quality, vector.quality]) == 0.72


@pytest.mark.parametrize("errors", [(SLOW,), (BAD,), (NO_UPSTREAM,)])
def test_a_strict_stage_fails_where_another_would_skip(errors: tuple[RowError, ...]) -> None:
    """Correctness is mandatory there."""
    assert result(*errors, stage=STRICT).status is Status.FAILED


@pytest.mark.parametrize(
    ("errors", "shown"),
    [
        ((), None),
        ((SLOW, BAD), SLOW),
        ((BAD, BUG, SLOW), BUG),
        ((NO_UPSTREAM, SLOW), SLOW),
        ((NO_UPSTREAM, UpstreamMissing("no text")), NO_UPSTREAM),
        ((NO_UPSTREAM, BUG), BUG),
    ],
)
def test_a_bug_wins_then_the_best_rung_that_could_have_made_it(
    errors: tuple[RowError, ...], shown: RowError | None
) -> None:
    """A rung that had nothing to work on explains only where no other does."""
    assert decisive(errors) is shown


@pytest.mark.parametrize(
    ("attempts", "charged", "slowly"),
    [(0, True, False), (1, True, False), (2, True, True), (2, False, False), (3, False, True)],
)
def test_a_row_whose_attempts_are_used_up_is_tried_again_slowly(
    attempts: int, *, charged: bool, slowly: bool
) -> None:
    """Three here; a look that found nothing has not used one. Never given up in silence."""
    old = make_row(Status.SKIPPED, updated_at=EARLIER, attempts=attempts, quality=0.5)
    row = result(SLOW, planned={"old": old, "input_changed": False}, tries=int(charged))
    assert (row.attempts, row.retryable) == (attempts + charged, True)
    assert row.retry_at == (NOW + SLOW_RETRY if slowly else None)


@pytest.mark.parametrize(("error", "slowly"), [(BAD, True), (SLOW, False)])
def test_what_a_new_producer_cannot_make_is_not_asked_for_by_every_run(
    error: RowError, *, slowly: bool
) -> None:
    """Unless circumstances were at fault: then the next run may try."""
    old = make_row(Status.OK, rung="primary", updated_at=EARLIER, values=("chair",), quality=1.0)
    planned = {"old": old, "input_changed": False, "reason": Reason.PRODUCER_CHANGED, "ceiling": 1}
    row = result(error, planned=planned)
    assert (row.status, row.values) == (Status.OK, ("chair",))
    assert row.retry_at == (NOW + SLOW_RETRY if slowly else None)


@pytest.mark.parametrize(("attempts", "slowly"), [(1, False), (2, True), (3, True)])
def test_a_new_producer_that_makes_nothing_uses_up_attempts_too(
    attempts: int, *, slowly: bool
) -> None:
    """Else the old row, whose key stays, would be made again by every run for ever."""
    old = make_row(Status.OK, rung="primary", updated_at=EARLIER, attempts=attempts)
    planned = {"old": old, "input_changed": False, "reason": Reason.PRODUCER_CHANGED, "ceiling": 1}
    row = result(SLOW, planned=planned)
    assert (row.rung, row.attempts) == ("primary", attempts + 1)
    assert row.retry_at == (NOW + SLOW_RETRY if slowly else None)


def test_bad_data_is_skipped_while_a_lower_rung_may_yet_make_it() -> None:
    """Only what no rung can make is a dead letter."""
    old = make_row(Status.SKIPPED, updated_at=EARLIER, attempts=2, quality=0.5)
    row = result(BAD, SLOW, planned={"old": old, "input_changed": False})
    assert (row.status, row.retryable) == (Status.SKIPPED, True)
    assert result(BAD, BAD).status is Status.FAILED


@pytest.mark.parametrize("input_changed", [False, True])
def test_cost_is_over_all_runs_and_attempts_since_the_input_changed(*, input_changed: bool) -> None:
    """What was spent on the old bytes was spent."""
    old = make_row(Status.SKIPPED, updated_at=EARLIER, attempts=1, cost_usd=1.0, quality=0.5)
    row = result(rung=0, planned={"old": old, "input_changed": input_changed})
    assert row.cost_usd == 1.25
    assert row.attempts == (1 if input_changed else 2)


@pytest.mark.parametrize(
    ("error", "retry_at"),
    [
        (RateLimited("429", retry_after=timedelta(hours=1)), NOW + timedelta(hours=1)),
        (Overloaded("503", retry_after=timedelta(seconds=30)), NOW + timedelta(seconds=30)),
        (Overloaded("503"), None),
        (NotFound("404", retry_after=timedelta(hours=1)), None),  # nothing to be retried
    ],
)
def test_retry_at_comes_from_retry_after(error: RowError, retry_at: Any) -> None:
    """The time on the row is when the other side wants to be asked again."""
    assert result(error).retry_at == retry_at


def test_retry_at_waits_for_the_last_of_the_rungs_that_can_pass() -> None:
    """Also where the row shows another rung's error."""
    errors = [
        InvalidInput("bad bytes"),
        RateLimited("429", retry_after=timedelta(minutes=1)),
        RateLimited("429", retry_after=timedelta(hours=1)),
    ]
    assert result(*errors).retry_at == NOW + timedelta(hours=1)


@pytest.mark.parametrize(
    ("made", "confidence", "quality"),
    [
        (Made(("chair",)), None, 0.9),
        (Made(("chair",), confidence=0.25), 0.25, 0.9),
        (Made(("chair",), quality=0.0), None, 0.0),
        (Made(("chair",), quality=0.95), None, 0.95),
    ],
)
def test_a_rung_that_knows_a_rows_quality_says_so(
    made: Made, confidence: float | None, quality: float
) -> None:
    """Else the rung's own factor counts; zero is an answer."""
    row = result(SLOW, rung=1, made=made)
    assert (row.confidence, row.quality) == (confidence, quality)


def test_what_a_fallback_remarks_stands_behind_the_reason_for_it() -> None:
    """Whole, however long the reason is."""
    made = Made(("chair",), remark="from the day before")
    row = result(Timeout("slow " * 200), rung=1, made=made)
    assert row.error is not None
    assert row.error.startswith("slow slow")
    assert row.error.endswith("; from the day before")
    assert len(row.error) == MAX_ERROR_CHARS


@pytest.mark.parametrize(("error", "confidence"), [(SLOW, 0.0), (BAD, None)])
def test_confidence_is_zero_where_skipped_and_nothing_where_failed(
    error: RowError, confidence: float | None
) -> None:
    """As the contract has it."""
    assert result(error).confidence == confidence


@pytest.mark.parametrize(("called", "duration_ms"), [(True, 2000.0), (False, None)])
def test_the_time_in_the_rungs_is_known_only_where_one_was_called(
    duration_ms: float | None, *, called: bool
) -> None:
    """Nothing was called: nothing was measured."""
    assert result(SLOW, called=called).duration_ms == duration_ms


def test_the_row_is_stamped() -> None:
    """Run, time and the key that its own rung makes."""
    row, stamp = result(SLOW, rung=1), make_stamp(STAGE)
    assert (row.run_id, row.updated_at) == ("run", NOW)
    assert row.key == stamp.keys.key(make_work(), 1)
    assert result(SLOW).key == stamp.keys.key(make_work(), 3)


def test_a_failed_upgrade_keeps_the_value() -> None:
    """The result of a climb is merged with what stood."""
    old = result(SLOW, rung=1)._replace(updated_at=EARLIER)
    row = result(Overloaded("503"), planned={"old": old, "input_changed": False, "ceiling": 1})
    assert (row.status, row.rung, row.values) == (Status.OK, "fallback", ("chair",))
    assert (row.error_kind, row.attempts, row.cost_usd) == ("overloaded", 2, 0.5)


OLD = make_row(attempts=2, cost_usd=1.5)


@pytest.mark.parametrize(
    ("blocked", "status", "kind", "quality"),
    [
        (None, Status.NOT_APPLICABLE, None, 1.0),
        ("items failed: bad time", Status.PENDING, "upstream", None),
    ],
)
@pytest.mark.parametrize("old", [None, OLD])
def test_work_that_no_rung_is_called_for_has_a_row_that_says_why(
    blocked: str | None, status: Status, kind: str | None, quality: float | None, old: Row | None
) -> None:
    """Nothing to do, or kept waiting by upstream; what was spent before stays spent."""
    planned = make_planned(make_work(blocked=blocked), STAGE, old=old)
    row = untried(STAGE, planned, make_stamp(STAGE))
    assert (row.status, row.error_kind, row.error, row.quality) == (status, kind, blocked, quality)
    assert row.values == (None,)
    assert (row.attempts, row.cost_usd) == (0, old.cost_usd if old else 0.0)
    assert broken_rules(to_table([row], STAGE.schema), ("label",)) == []


def test_a_blocked_row_is_written_once() -> None:
    """The next plan finds it as it should be."""
    work = make_work(blocked="items failed: bad time")
    row = untried(STAGE, make_planned(work, STAGE), make_stamp(STAGE))
    assert plan_row(STAGE, work, row, make_situation(STAGE)) is Standing.BLOCKED


KINDS = [kind for kind in ErrorKind if kind is not ErrorKind.UPSTREAM]
OUTCOMES = st.tuples(*[st.sampled_from([None, *KINDS])] * 3)
RUNS = st.lists(st.tuples(st.sampled_from("abc"), OUTCOMES), min_size=1, max_size=12)


def one_run(old: Row | None, work: Work, kinds: tuple[ErrorKind | None, ...], hour: int) -> Row:
    """Plan one row, climb with these outcomes, and give the row that then stands."""
    now = NOW + timedelta(hours=hour)
    outcomes = [CHAIR if kind is None else BY_KIND[kind]("as drawn") for kind in kinds]
    stage = replace(
        STAGE,
        rungs=tuple(
            replace(rung, call=answers({}, outcome), cost_usd=1.0)
            for rung, outcome in zip(STAGE.rungs, outcomes, strict=True)
        ),
    )
    planned = plan_row(stage, work, old, make_situation(stage, now=now))
    if not isinstance(planned, Planned):
        assert old is not None
        return old
    how = {name: getattr(planned, name) for name in ("reason", "ceiling", "old", "input_changed")}
    (climb,) = climb_with(stage, [work], **how).climbs
    row = worked(stage, climb, make_stamp(stage, now=now))
    assert row.cost_usd == (old.cost_usd if old else 0.0) + climb.cost_usd
    return row


@given(RUNS)
def test_whatever_happens_in_whatever_runs_the_row_keeps_its_promises(
    runs: list[tuple[str, tuple[ErrorKind | None, ...]]],
) -> None:
    """Plan, climb and merge together, over runs that fail in any way and inputs that change.

    Always: one row that keeps the contract; on the same input never a worse rung (but for a refusal
    that is meant), fewer attempts or a quick try after the attempts are used up; on another input
    the new result; cost only grows.
    """
    row: Row | None = None
    before: str | None = None
    for hour, (name, kinds) in enumerate(runs):
        work = Work(("a",), {"items.name": name})
        after = one_run(row, work, kinds, hour)
        assert broken_rules(to_table([after], STAGE.schema), ("label",)) == []
        assert from_table(to_table([after], STAGE.schema), 1)[0].status is after.status
        assert same_input(after.key, make_stamp(STAGE).keys.key(work, STAGE.index(after.rung)))
        used_up = after.retryable and after.attempts > STAGE.attempts
        assert not used_up or after.retry_at is not None
        if row is not None and name == before:
            refused = after.status is Status.FAILED and after.error_kind is ErrorKind.BLOCKED
            assert refused or (STAGE.index(after.rung), -after.attempts) <= (
                STAGE.index(row.rung),
                -row.attempts,
            )
            assert after.attempts >= row.attempts
        elif row is not None:
            assert after.updated_at == NOW + timedelta(hours=hour)
            assert after.attempts in (0, 1)
        assert after.cost_usd >= (row.cost_usd if row else 0.0)
        row, before = after, name


@given(st.lists(st.sampled_from(KINDS), min_size=1, max_size=3))
def test_only_data_errors_alone_make_a_row_fail(kinds: list[ErrorKind]) -> None:
    """Where the shown error is about the data, or the row kills workers, and nothing can pass."""
    errors = [BY_KIND[kind]("as drawn") for kind in kinds]
    shown = decisive(errors)
    terminal = isinstance(shown, DataError | WorkerCrash)
    failed = terminal and not any(error.transient for error in errors)
    assert result(*errors).status is (Status.FAILED if failed else Status.SKIPPED)
