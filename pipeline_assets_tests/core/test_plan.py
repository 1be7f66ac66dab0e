"""Planning: which rows need work, why, and how far up the chain they may go."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.core.fingerprint import Keys
from pipeline_assets.core.plan import (
    Decision,
    Planned,
    Reason,
    Situation,
    Standing,
    Verdict,
    plan_row,
)
from pipeline_assets.core.rows import Row, Work
from pipeline_assets.core.stage import Stage
from pipeline_assets.core.status import Status
from pipeline_assets_tests.core.builders import (
    NOW,
    make_row,
    make_rung,
    make_situation,
    make_stage,
    make_work,
)

RUNGS = ("primary", "fallback", "rules")
WORK = make_work()
LATER = NOW + timedelta(seconds=1)
DAY = timedelta(days=1)


def three_rungs(*versions: str, reads: Sequence[tuple[str, ...]] = ()) -> Stage:
    """Primary, fallback and rules, each with a version of its producer."""
    each_version = versions or ("1", "1", "1")
    each_reads = reads or [("items.name",)] * 3
    return make_stage(
        *(
            make_rung(name, version=version, reads=fields, cost_usd=1.0)
            for name, version, fields in zip(RUNGS, each_version, each_reads, strict=True)
        ),
        retry_usd=3.0,
    )


STAGE = three_rungs()


def stood(
    rung: str | None = "primary", *, stage: Stage = STAGE, work: Work = WORK, **columns: Any
) -> Row:
    """A row that a rung of `stage` made of `work`, or `skipped` where there is none."""
    status = Status.OK if rung else Status.SKIPPED
    key = Keys.of(stage, None).key(work, stage.index(rung))
    return make_row(**{"status": status, "rung": rung, "key": key, **columns})


def decide(old: Row | None, work: Work = WORK, stage: Stage = STAGE, **situation: Any) -> Any:
    """The reason and the ceiling, or why the row stands."""
    decision = plan_row(stage, work, old, make_situation(stage, **situation))
    if isinstance(decision, Planned):
        assert decision.work == work
        assert decision.old == old
        return decision.reason, decision.ceiling
    return decision


RETRYABLE: dict[str, Any] = {"retryable": True, "attempts": 1}
PENDING = make_row(Status.PENDING)


@pytest.mark.parametrize(
    ("old", "decision"),
    [
        pytest.param(None, (Reason.PENDING, 3), id="no row yet"),
        pytest.param(PENDING, (Reason.PENDING, 3), id="interrupted before this row"),
        pytest.param(
            stood(None, status=Status.PENDING), (Reason.PENDING, 3), id="pending, same input"
        ),
        pytest.param(stood(), Standing.CURRENT, id="made by the primary"),
        pytest.param(stood("fallback"), Standing.CURRENT, id="nothing better can help"),
        pytest.param(stood(None, status=Status.FAILED), Standing.CURRENT, id="a dead letter"),
        pytest.param(
            stood(None, status=Status.NOT_APPLICABLE), Standing.CURRENT, id="nothing to do"
        ),
        pytest.param(stood("fallback", **RETRYABLE), (Reason.UPGRADE, 1), id="upgrade by one"),
        pytest.param(stood("rules", **RETRYABLE), (Reason.UPGRADE, 2), id="upgrade by two"),
        pytest.param(stood(None, **RETRYABLE), (Reason.RETRY_DUE, 3), id="retry on every rung"),
        pytest.param(
            stood("fallback", retryable=True, attempts=2), (Reason.UPGRADE, 1), id="one more try"
        ),
        pytest.param(
            stood("fallback", retryable=True, attempts=3), (Reason.UPGRADE, 1), id="never given up"
        ),
        pytest.param(
            stood("fallback", **RETRYABLE, retry_at=LATER), Standing.WAITING, id="not yet due"
        ),
        pytest.param(
            stood("fallback", **RETRYABLE, retry_at=NOW), (Reason.UPGRADE, 1), id="due right now"
        ),
        pytest.param(
            stood("fallback", retryable=True, attempts=3, retry_at=LATER),
            Standing.WAITING,
            id="used up: slowly",
        ),
        pytest.param(
            stood("primary", **RETRYABLE), Standing.NO_BETTER_RUNG, id="nothing is better"
        ),
        pytest.param(
            stood("gone", **RETRYABLE, key=Keys.of(STAGE, None).key(WORK, 3)),
            (Reason.UPGRADE, 3),
            id="its rung was taken out of the stage",
        ),
    ],
)
def test_each_row_has_one_decision(old: Row | None, decision: Any) -> None:
    """On the same input, with every rung available."""
    assert decide(old) == decision


@pytest.mark.parametrize(
    ("rung", "available", "decision"),
    [
        ("rules", (True, False, True), (Reason.UPGRADE, 2)),
        ("rules", (False, True, True), (Reason.UPGRADE, 2)),
        ("rules", (False, False, True), Standing.NO_BETTER_RUNG),
        ("fallback", (False, True, True), Standing.NO_BETTER_RUNG),
        (None, (False, False, True), (Reason.RETRY_DUE, 3)),
        (None, (False, False, False), Standing.NO_BETTER_RUNG),
    ],
)
def test_a_row_is_improved_only_where_a_better_rung_is_available(
    rung: str | None, available: tuple[bool, ...], decision: Any
) -> None:
    """In an outage nothing is planned that could not be done."""
    assert decide(stood(rung, **RETRYABLE), available=available) == decision


NEW_WORK = make_work("b")
NEW_PRODUCERS = three_rungs("2", "2", "2")
WORST_OLD = stood(None, retryable=True, attempts=99, retry_at=LATER)
"""Retryable, but exhausted and not yet due."""


@pytest.mark.parametrize(
    ("old", "work", "stage", "force", "reason"),
    [
        pytest.param(WORST_OLD, NEW_WORK, NEW_PRODUCERS, True, Reason.FORCED, id="forced first"),
        pytest.param(stood(), WORK, STAGE, True, Reason.FORCED, id="even what is current"),
        pytest.param(
            make_row(Status.PENDING), NEW_WORK, NEW_PRODUCERS, False, Reason.PENDING, id="pending"
        ),
        pytest.param(
            WORST_OLD, NEW_WORK, NEW_PRODUCERS, False, Reason.INPUT_CHANGED, id="input changed"
        ),
        pytest.param(
            stood("fallback", **RETRYABLE),
            WORK,
            NEW_PRODUCERS,
            False,
            Reason.PRODUCER_CHANGED,
            id="a changed producer before an upgrade, which it includes",
        ),
        pytest.param(
            stood(None, **RETRYABLE), WORK, STAGE, False, Reason.RETRY_DUE, id="retry due"
        ),
        pytest.param(
            stood("fallback", **RETRYABLE), WORK, STAGE, False, Reason.UPGRADE, id="upgrade last"
        ),
    ],
)
def test_reasons_are_looked_for_in_their_order(
    old: Row, work: Work, stage: Stage, *, force: bool, reason: Reason
) -> None:
    """Where several hold, the first of them is given."""
    assert decide(old, work, stage, force=force)[0] is reason


@pytest.mark.parametrize("rung", [*RUNGS, None])
def test_a_changed_input_is_redone_on_every_rung(rung: str | None) -> None:
    """Fresh bytes beat everything: budgets, waits and outages."""
    old = stood(rung, retryable=False, attempts=99, retry_at=LATER)
    assert decide(old, NEW_WORK, available=[False] * 3) == (Reason.INPUT_CHANGED, 3)


def test_only_what_the_rungs_up_to_its_own_read_makes_a_row_stale() -> None:
    """A picture's label does not read the text; the label of the rules does."""
    picture, text = ("items.image",), ("items.text",)
    stage = three_rungs(reads=(picture, picture, text))
    before = make_work(items_image="a.jpg", items_text="one")
    healed = make_work(items_image="a.jpg", items_text="two")
    by_picture = stood("fallback", stage=stage, work=before)
    by_text = stood("rules", stage=stage, work=before)
    assert decide(by_picture, healed, stage) is Standing.CURRENT
    assert decide(by_text, healed, stage) == (Reason.INPUT_CHANGED, 3)


@pytest.mark.parametrize(
    ("rung", "available", "decision"),
    [
        ("primary", (True, True, True), (Reason.PRODUCER_CHANGED, 1)),
        ("primary", (False, True, True), Standing.NO_BETTER_RUNG),
        ("fallback", (True, False, True), (Reason.PRODUCER_CHANGED, 2)),
        ("fallback", (False, True, True), (Reason.PRODUCER_CHANGED, 2)),
        ("fallback", (False, False, True), Standing.NO_BETTER_RUNG),
        (None, (False, False, True), (Reason.PRODUCER_CHANGED, 3)),
    ],
)
def test_a_changed_producer_is_asked_only_for_an_equal_or_better_value(
    rung: str | None, available: tuple[bool, ...], decision: Any
) -> None:
    """A new model during an outage must not downgrade the catalogue."""
    assert decide(stood(rung), stage=NEW_PRODUCERS, available=available) == decision


@pytest.mark.parametrize(
    ("columns", "decision"),
    [
        ({"attempts": STAGE.attempts}, (Reason.PRODUCER_CHANGED, 1)),
        ({"retry_at": NOW + timedelta(seconds=1)}, Standing.WAITING),
        ({"retry_at": NOW}, (Reason.PRODUCER_CHANGED, 1)),
    ],
)
def test_a_row_that_a_new_producer_cannot_make_is_not_asked_for_for_ever(
    columns: dict[str, Any], decision: Any
) -> None:
    """Its failure sets retry_at, which holds for it as for any other work."""
    assert decide(stood(**columns), stage=NEW_PRODUCERS) == decision


def test_another_rungs_producer_makes_no_value_stale() -> None:
    """A new fallback model is no reason to redo what the primary made."""
    assert decide(stood(), stage=three_rungs("1", "2", "2")) is Standing.CURRENT
    assert decide(stood("rules"), stage=three_rungs("2", "2", "1")) is Standing.CURRENT


BLOCKED = make_work(blocked="items failed: bad time", refused=True)
LATE = make_work(blocked="validated has no row for it yet")


def test_a_value_outlives_an_upstream_that_is_missing_or_late() -> None:
    """A table that was lost must not take the good rows of those behind it along."""
    assert decide(stood(), LATE) is Standing.BLOCKED
    assert decide(stood(), LATE, force=True) is Standing.BLOCKED
    assert decide(None, LATE) == (Reason.PENDING, 3)


def test_a_blocked_row_that_is_pending_for_that_reason_stays() -> None:
    """It was said once; nothing is written again."""
    old = stood(None, work=BLOCKED, status=Status.PENDING)
    assert decide(old, BLOCKED) is Standing.BLOCKED


@pytest.mark.parametrize(
    ("old", "work", "decision"),
    [
        pytest.param(None, BLOCKED, (Reason.PENDING, 3), id="to be written as pending"),
        pytest.param(
            make_row(Status.PENDING), BLOCKED, (Reason.PENDING, 3), id="to be given its reason"
        ),
        pytest.param(
            stood(None, work=BLOCKED, status=Status.PENDING),
            replace(BLOCKED, blocked="items failed: empty name"),
            (Reason.PENDING, 3),
            id="blocked for another reason",
        ),
        pytest.param(
            stood(None, work=BLOCKED, status=Status.PENDING),
            WORK,
            (Reason.PENDING, 3),
            id="no longer blocked",
        ),
        pytest.param(stood(), BLOCKED, (Reason.INPUT_CHANGED, 3), id="newly blocked"),
    ],
)
def test_blocked_rows_are_planned_when_something_changes(
    old: Row | None, work: Work, decision: Any
) -> None:
    """Becoming blocked and being freed are changes of the input."""
    assert decide(old, work) == decision


def decided(verdict: Verdict, old: Row, **columns: Any) -> dict[str, Any]:
    """A situation in which a person has decided about the row as it stands, or as told."""
    assert old.key is not None
    about = {"input": old.key.partition(".")[0], "seen": old.updated_at, **columns}
    return {"decisions": {WORK.id: Decision(verdict, **about)}}


DEAD = stood(None, status=Status.FAILED)
REQUEUED, DISCARDED = (decided(verdict, DEAD) for verdict in Verdict)


@pytest.mark.parametrize(
    ("old", "work", "situation", "decision"),
    [
        pytest.param(DEAD, WORK, {}, Standing.CURRENT, id="undecided"),
        pytest.param(DEAD, WORK, REQUEUED, (Reason.REQUEUED, 3), id="requeued"),
        pytest.param(
            DEAD,
            WORK,
            {**REQUEUED, "available": [False] * 3},
            (Reason.REQUEUED, 3),
            id="requeued in an outage: the chain says what is open",
        ),
        pytest.param(
            DEAD._replace(retry_at=LATER, retryable=True),
            WORK,
            REQUEUED,
            (Reason.REQUEUED, 3),
            id="a person does not wait for retry_at",
        ),
        pytest.param(
            DEAD._replace(updated_at=LATER), WORK, REQUEUED, Standing.CURRENT, id="requeue spent"
        ),
        pytest.param(DEAD, WORK, DISCARDED, Standing.DISCARDED, id="discarded"),
        pytest.param(
            DEAD._replace(updated_at=LATER),
            WORK,
            DISCARDED,
            Standing.DISCARDED,
            id="forced, failed again, discarded still",
        ),
        pytest.param(
            stood("fallback", **RETRYABLE),
            WORK,
            DISCARDED,
            (Reason.UPGRADE, 1),
            id="forced, and made a value: no dead letter any more",
        ),
        pytest.param(
            DEAD, WORK, {**DISCARDED, "force": True}, (Reason.FORCED, 3), id="discarded, forced"
        ),
        pytest.param(
            DEAD, WORK, {**REQUEUED, "force": True}, (Reason.FORCED, 3), id="requeued, forced"
        ),
        pytest.param(DEAD, NEW_WORK, DISCARDED, (Reason.INPUT_CHANGED, 3), id="discarded, changed"),
        pytest.param(DEAD, NEW_WORK, REQUEUED, (Reason.INPUT_CHANGED, 3), id="requeued, changed"),
        pytest.param(
            stood(None, status=Status.FAILED, work=NEW_WORK),
            NEW_WORK,
            DISCARDED,
            Standing.CURRENT,
            id="the discard has lapsed with the input",
        ),
        pytest.param(DEAD, LATE, REQUEUED, Standing.BLOCKED, id="requeued, blocked"),
        pytest.param(DEAD, LATE, DISCARDED, Standing.BLOCKED, id="discarded, blocked"),
        pytest.param(
            stood(None, status=Status.PENDING),
            WORK,
            DISCARDED,
            (Reason.PENDING, 3),
            id="no longer blocked: it has yet to fail again",
        ),
        pytest.param(None, WORK, DISCARDED, (Reason.PENDING, 3), id="its table was lost"),
    ],
)
def test_a_persons_decision_holds_for_the_row_that_it_was_about(
    old: Row | None, work: Work, situation: dict[str, Any], decision: Any
) -> None:
    """A requeue until the row is written again, a discard until its input changes."""
    assert decide(old, work, **situation) == decision


@pytest.mark.parametrize(
    ("verdict", "decision"),
    [
        (Verdict.DISCARD, Standing.DISCARDED),
        (Verdict.REQUEUE, (Reason.REQUEUED, 3)),
    ],
)
def test_a_decision_comes_before_a_changed_producer(verdict: Verdict, decision: Any) -> None:
    """A new model is no reason to take up what a person gave up."""
    assert decide(DEAD, stage=NEW_PRODUCERS, **decided(verdict, DEAD)) == decision


def test_a_decision_is_about_one_row() -> None:
    """Its neighbour stands."""
    decisions = {("other",): decided(Verdict.REQUEUE, DEAD)["decisions"][WORK.id]}
    assert decide(DEAD, decisions=decisions) is Standing.CURRENT


STATUSES = st.sampled_from([status for status in Status if status is not Status.PENDING])
AVAILABLE = st.lists(st.booleans(), min_size=3, max_size=3)
TRIED = st.fixed_dictionaries(
    {
        "retryable": st.booleans(),
        "attempts": st.integers(0, 9),
        "retry_at": st.sampled_from([None, NOW - timedelta(days=1), NOW, LATER]),
    }
)


def situation_of(stage: Stage, available: Sequence[bool]) -> Situation:
    """Nothing forced."""
    return make_situation(stage, available=available)


@given(STATUSES, st.sampled_from([*RUNGS, None]), TRIED, AVAILABLE)
def test_a_current_row_is_never_planned(
    status: Status, rung: str | None, tried: dict[str, Any], available: list[bool]
) -> None:
    """What has the key that its rung would make now and cannot be improved stands."""
    if status is not Status.OK:
        rung = None
    old = stood(rung, **{**tried, "status": status, "retryable": False})
    assert decide(old, available=available) is Standing.CURRENT


@given(
    status=STATUSES,
    rung=st.sampled_from(RUNGS),
    tried=TRIED,
    available=AVAILABLE,
    new_producers=st.booleans(),
)
def test_an_input_change_is_always_planned(
    status: Status, rung: str, tried: dict[str, Any], available: list[bool], *, new_producers: bool
) -> None:
    """Whatever else is true of the row."""
    old = stood(rung if status is Status.OK else None, status=status, **tried)
    stage = NEW_PRODUCERS if new_producers else STAGE
    planned = plan_row(stage, NEW_WORK, old, situation_of(stage, available))
    assert isinstance(planned, Planned)
    assert (planned.ceiling, planned.input_changed) == (3, True)


@given(rung=st.sampled_from(RUNGS), tried=TRIED, available=AVAILABLE, new_producers=st.booleans())
def test_on_the_same_input_no_rung_below_the_present_one_is_called(
    rung: str, tried: dict[str, Any], available: list[bool], *, new_producers: bool
) -> None:
    """An upgrade calls only rungs above, a changed producer at most the same rung again."""
    stage = NEW_PRODUCERS if new_producers else STAGE
    planned = plan_row(stage, WORK, stood(rung, **tried), situation_of(stage, available))
    if isinstance(planned, Planned):
        assert planned.ceiling <= STAGE.index(rung) + new_producers
        assert any(available[: planned.ceiling])
        assert not planned.input_changed


WITHOUT_VALUE = st.sampled_from([Status.FAILED, Status.SKIPPED])


@given(status=WITHOUT_VALUE, tried=TRIED, available=AVAILABLE, new_producers=st.booleans())
def test_what_is_discarded_is_planned_only_by_force_or_for_another_input(
    status: Status, tried: dict[str, Any], available: list[bool], *, new_producers: bool
) -> None:
    """Whatever else is true of the row."""
    stage = NEW_PRODUCERS if new_producers else STAGE
    old = stood(None, status=status, **tried)
    known = {"available": available, "stage": stage, **decided(Verdict.DISCARD, old)}
    assert decide(old, **known) is Standing.DISCARDED
    assert decide(old, force=True, **known) == (Reason.FORCED, 3)
    assert decide(old, NEW_WORK, **known) == (Reason.INPUT_CHANGED, 3)


@given(
    status=WITHOUT_VALUE,
    tried=TRIED,
    available=AVAILABLE,
    new_producers=st.booleans(),
    took=st.timedeltas(-DAY, DAY).filter(bool),
)
def test_what_is_requeued_is_planned_until_it_is_worked_on_and_not_after(
    status: Status,
    tried: dict[str, Any],
    available: list[bool],
    took: timedelta,
    *,
    new_producers: bool,
) -> None:
    """Even where the clock of the run is behind."""
    stage = NEW_PRODUCERS if new_producers else STAGE
    old = stood(None, status=status, **tried)
    known: dict[str, Any] = {"available": available, "stage": stage}
    requeued = decided(Verdict.REQUEUE, old)
    assert decide(old, **known, **requeued) == (Reason.REQUEUED, 3)
    worked_on = old._replace(updated_at=NOW + took)
    assert decide(worked_on, **known, **requeued) == decide(worked_on, **known)
