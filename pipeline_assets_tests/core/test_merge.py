"""Merging a new result into what the table holds: never worse, idempotent, order-free."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline_assets.core.merge import merge
from pipeline_assets.core.rows import Row
from pipeline_assets.core.stage import Stage
from pipeline_assets.core.status import Status
from pipeline_assets.errors import ErrorKind
from pipeline_assets_tests.core.builders import NOW, make_row, make_rung, make_stage

RUNGS = ("primary", "fallback", "rules")
STAGE = make_stage(*(make_rung(name) for name in RUNGS))
LATER = NOW + timedelta(hours=1)

TIMEOUT: dict[str, Any] = {"error_kind": ErrorKind.TIMEOUT, "error": "slow", "retryable": True}
NETWORK: dict[str, Any] = {
    "error_kind": ErrorKind.NETWORK,
    "error": "no route",
    "retryable": True,
    "retry_at": LATER,
}


def made_by(rung: str, **columns: Any) -> Row:
    """An `ok` row."""
    if rung == "primary":
        return make_row(rung=rung, values=(rung,), **columns)
    return make_row(
        **{"rung": rung, "fallback_used": rung, "values": (rung,), "quality": 0.9, **columns}
    )


def without(status: Status, **columns: Any) -> Row:
    """A row without a value."""
    return make_row(status, **{"quality": None if status is Status.PENDING else 0.5, **columns})


PRIMARY = made_by("primary")
FALLBACK = made_by("fallback", **TIMEOUT)
RULES = made_by("rules", **TIMEOUT)
SKIPPED = without(Status.SKIPPED, **TIMEOUT)
FAILED = without(Status.FAILED, error_kind=ErrorKind.NOT_FOUND, error="404")
PENDING = without(Status.PENDING)
BEST_FIRST = (PRIMARY, FALLBACK, RULES, SKIPPED, PENDING)


@pytest.mark.parametrize("new", BEST_FIRST)
def test_the_first_row_is_taken_as_it_is(new: Row) -> None:
    """There is nothing to compare it with."""
    assert merge(STAGE, None, new, input_changed=True) == new


@pytest.mark.parametrize("worse", range(1, len(BEST_FIRST)))
@pytest.mark.parametrize("better", range(len(BEST_FIRST) - 1))
def test_on_the_same_input_the_better_value_stays(better: int, worse: int) -> None:
    """Whichever was there first, and whichever is later."""
    if better >= worse:
        return
    for late, early in ((LATER, NOW), (NOW, LATER)):
        good = BEST_FIRST[better]._replace(updated_at=late)
        bad = BEST_FIRST[worse]._replace(updated_at=early)
        for old, new in ((good, bad), (bad, good)):
            kept = merge(STAGE, old, new, input_changed=False)
            assert (kept.status, kept.rung, kept.values) == (good.status, good.rung, good.values)


@pytest.mark.parametrize("new", [FALLBACK, SKIPPED, FAILED, PENDING])
def test_a_changed_input_always_replaces_even_by_worse(new: Row) -> None:
    """Attempts begin again; what was spent was spent."""
    old = PRIMARY._replace(attempts=4, cost_usd=2.0)
    kept = merge(STAGE, old, new._replace(attempts=1), input_changed=True)
    assert kept == new._replace(attempts=1, cost_usd=2.0)


def test_of_two_results_of_the_same_rung_the_later_is_kept() -> None:
    """A new producer's value replaces the old one's."""
    old = made_by("primary", producer="primary/1")
    new = made_by("primary", producer="primary/2", updated_at=LATER)
    assert merge(STAGE, old, new, input_changed=False).producer == "primary/2"
    assert merge(STAGE, new, old, input_changed=False).producer == "primary/2"


def test_a_failed_upgrade_leaves_the_value_and_its_latest_reason() -> None:
    """The fallback stands; why the primary fails, and when to ask again, is today's answer."""
    new = without(Status.SKIPPED, **NETWORK, updated_at=LATER, attempts=2, cost_usd=0.5)
    kept = merge(STAGE, FALLBACK, new, input_changed=False)
    assert kept == FALLBACK._replace(**NETWORK, attempts=2, cost_usd=0.5)


def test_attempts_that_are_used_up_are_known_to_the_kept_row() -> None:
    """Else it would be planned for ever."""
    new = without(Status.SKIPPED, **{**TIMEOUT, "retryable": False}, updated_at=LATER)
    assert not merge(STAGE, FALLBACK, new, input_changed=False).retryable


def test_an_older_failure_explains_nothing() -> None:
    """The reason on the row is the newest that is known."""
    old = without(Status.SKIPPED, **NETWORK, updated_at=NOW - timedelta(hours=1))
    assert merge(STAGE, FALLBACK, old, input_changed=False) == FALLBACK


def test_a_primary_value_needs_no_reason() -> None:
    """A later failure (of a forced run) is not written onto a perfect row."""
    new = without(Status.SKIPPED, **NETWORK, updated_at=LATER)
    kept = merge(STAGE, PRIMARY, new, input_changed=False)
    assert kept == PRIMARY._replace(retry_at=new.retry_at)


def test_a_value_of_a_rung_that_the_stage_no_longer_has_beats_no_value() -> None:
    """Taking a rung out of a stage must not lose values in the next outage."""
    old = made_by("retired")
    new = without(Status.SKIPPED, **TIMEOUT, updated_at=LATER)
    assert merge(STAGE, old, new, input_changed=False).values == ("retired",)
    rules = made_by("rules", updated_at=LATER)
    assert merge(STAGE, old, rules, input_changed=False).rung == "rules"


def test_nothing_to_do_is_as_good_as_done() -> None:
    """On the same input, a skip cannot replace it."""
    old = without(Status.NOT_APPLICABLE, quality=1.0)
    new = without(Status.SKIPPED, **TIMEOUT, updated_at=LATER)
    assert merge(STAGE, old, new, input_changed=False) == old


BLOCKED = without(Status.FAILED, error_kind=ErrorKind.BLOCKED, error="noai")


@pytest.mark.parametrize("standing", [PRIMARY, FALLBACK, SKIPPED, FAILED, PENDING])
def test_a_refusal_that_is_meant_replaces_whatever_stood(standing: Row) -> None:
    """What we may no longer have is not kept; what was made afterwards is."""
    refusal = BLOCKED._replace(updated_at=LATER)
    assert merge(STAGE, standing, refusal, input_changed=False).values == refusal.values
    assert merge(STAGE, refusal, standing, input_changed=False).error_kind is ErrorKind.BLOCKED
    again = PRIMARY._replace(updated_at=LATER + timedelta(hours=1))
    assert merge(STAGE, refusal, again, input_changed=False).values == PRIMARY.values


@pytest.mark.parametrize("kind", [ErrorKind.FORBIDDEN, ErrorKind.NOT_FOUND])
def test_a_bare_refusal_takes_nothing_away(kind: ErrorKind) -> None:
    """Sites give a 403 to robots in passing."""
    refusal = without(Status.FAILED, error_kind=kind, error="403", updated_at=LATER)
    assert merge(STAGE, PRIMARY, refusal, input_changed=False).values == PRIMARY.values


@st.composite
def results(draw: st.DrawFn) -> Row:
    """Any result of a climb of one row, on one input."""
    kind = draw(st.sampled_from([*RUNGS, Status.SKIPPED, Status.FAILED, Status.PENDING]))
    columns: dict[str, Any] = {
        "attempts": draw(st.integers(0, 5)),
        "cost_usd": draw(st.sampled_from([0.0, 0.25, 1.0])),
        "updated_at": NOW + timedelta(seconds=draw(st.integers(0, 50))),
        "run_id": draw(st.sampled_from(["one", "two"])),
        "key": draw(st.sampled_from(["k.1", "k.2"])),
    }
    if kind not in ("primary", Status.PENDING):
        columns |= draw(st.sampled_from([TIMEOUT, NETWORK]))
    if kind is Status.FAILED and draw(st.booleans()):
        columns["error_kind"] = ErrorKind.BLOCKED
    return without(kind, **columns) if isinstance(kind, Status) else made_by(kind, **columns)


def rank(stage: Stage, row: Row) -> int:
    """How far down the chain a row's value was made; what has none is furthest."""
    return stage.index(row.rung) if row.status is Status.OK else len(stage.rungs)


@given(results(), results())
def test_never_worse_on_the_same_input(old: Row, new: Row) -> None:
    """The kept value is as good as the better of the two, but for a refusal that is meant."""
    assume(ErrorKind.BLOCKED not in (old.error_kind, new.error_kind))
    kept = merge(STAGE, old, new, input_changed=False)
    assert rank(STAGE, kept) == min(rank(STAGE, old), rank(STAGE, new))
    assert kept.values in (old.values, new.values)


@given(results(), results())
def test_merging_the_same_result_again_changes_nothing(old: Row, new: Row) -> None:
    """A shard may be folded in twice."""
    once = merge(STAGE, old, new, input_changed=False)
    assert merge(STAGE, once, new, input_changed=False) == once
    assert merge(STAGE, once, old, input_changed=False) == once
    assert merge(STAGE, once, once, input_changed=False) == once


@given(old=results(), new=results(), old_is_there=st.booleans())
def test_replacing_by_the_same_result_again_changes_nothing(
    old: Row, new: Row, *, old_is_there: bool
) -> None:
    """After an input change as well."""
    once = merge(STAGE, old if old_is_there else None, new, input_changed=True)
    assert merge(STAGE, once, new, input_changed=True) == once


@given(results(), results())
def test_the_order_of_two_results_of_different_times_does_not_matter(one: Row, two: Row) -> None:
    """On the same input, both orders leave the same row."""
    if one.updated_at == two.updated_at:
        two = two._replace(updated_at=LATER)
    assert merge(STAGE, one, two, input_changed=False) == merge(
        STAGE, two, one, input_changed=False
    )


@given(old=results(), new=results(), input_changed=st.booleans())
def test_attempts_and_cost_only_grow(old: Row, new: Row, *, input_changed: bool) -> None:
    """Attempts restart with the input, cost never does."""
    kept = merge(STAGE, old, new, input_changed=input_changed)
    assert kept.cost_usd == max(old.cost_usd, new.cost_usd)
    assert kept.attempts == (new.attempts if input_changed else max(old.attempts, new.attempts))
