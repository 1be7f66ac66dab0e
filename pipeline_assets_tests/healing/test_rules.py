"""Which hours are asked for again, in which order, how often, and when it is left at that."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.healing.rules import (
    LONGEST_PAUSE_S,
    REST_S,
    NotAsked,
    Outcome,
    Priority,
    Request,
    RequestLimits,
    Round,
    WantedHour,
    choose,
    lost,
    pause_s,
    settle,
)

NOW = 1_000_000.0
EPOCH = 5
LIMITS = RequestLimits(per_tick=4, in_flight=4, tries=3)
HOUR = "2026-03-02-06"
MANY = [f"2026-03-02-{hour:02}" for hour in range(24)]


def degraded(
    hour: str = HOUR,
    quality: float | None = 0.7,
    priority: Priority = Priority.BATCH,
    due_at: float = 0.0,
    rows: int = 10,
    epoch: int = EPOCH,
) -> WantedHour:
    """An hour with ten rows that may be better now."""
    return WantedHour(hour, epoch, rows, due_at, priority, quality)


def ended(outcome: Outcome | None, *, in_vain: int = 0, ago: float = 0.0) -> Request:
    """The second request for the hour in this epoch, as it ended a while ago; None: not yet."""
    at = None if outcome is None else NOW - ago
    return Request(HOUR, EPOCH, 2, NOW - ago - 60, 10, in_vain, outcome, at)


def chosen(hours: Sequence[WantedHour], *before: Request, limits: RequestLimits = LIMITS) -> Round:
    """What one look comes to."""
    return choose(hours, {each.hour: each for each in before}, limits, NOW)


def asked(found: Round) -> list[str]:
    """The hours that are asked for, in order."""
    return [request.hour for request in found.requests]


@pytest.mark.parametrize(
    ("hours", "order"),
    [
        ([degraded("a", 0.9), degraded("b", 0.5), degraded("c", 0.7)], "bca"),
        ([degraded("b"), degraded("a")], "ab"),
        ([degraded("a", 0.0), degraded("b", None)], "ba"),
        (
            [
                degraded("a", 0.5, Priority.BACKGROUND),
                degraded("b", 0.6, Priority.BATCH),
                degraded("c", 0.9, Priority.INTERACTIVE),
            ],
            "cba",
        ),
    ],
    ids=["the worst first", "the oldest of equals", "unknown is worst", "urgency before quality"],
)
def test_the_order_is_urgency_then_quality_then_age(hours: list[WantedHour], order: str) -> None:
    """Somebody who waits does not wait behind a catalogue."""
    assert "".join(asked(chosen(hours))) == order


@pytest.mark.parametrize(
    ("per_tick", "in_flight", "flying", "expected"),
    [(4, 4, 0, 4), (3, 10, 0, 3), (10, 4, 0, 4), (4, 4, 3, 1), (4, 4, 4, 0), (4, 2, 3, 0)],
)
def test_no_more_are_asked_for_than_the_limits_allow(
    per_tick: int, in_flight: int, flying: int, expected: int
) -> None:
    """The others are left for a later tick, and counted."""
    before = [replace(ended(None), hour=f"flying {number}") for number in range(flying)]
    found = chosen(
        [degraded(hour) for hour in MANY], *before, limits=RequestLimits(per_tick, in_flight, 3)
    )
    assert asked(found) == MANY[:expected]
    assert found.standing == {NotAsked.NEXT: 24 - expected}


@pytest.mark.parametrize(
    ("before", "standing"),
    [
        (ended(None), NotAsked.IN_FLIGHT),
        (ended(Outcome.BETTER), None),
        (ended(Outcome.TRIED), NotAsked.RESTS),
        (ended(Outcome.TRIED, ago=REST_S - 1), NotAsked.RESTS),
        (ended(Outcome.TRIED, ago=REST_S), None),
        (ended(Outcome.IN_VAIN, in_vain=1, ago=59), NotAsked.PAUSES),
        (ended(Outcome.IN_VAIN, in_vain=1, ago=60), None),
        (ended(Outcome.IN_VAIN, in_vain=2, ago=119), NotAsked.PAUSES),
        (ended(Outcome.IN_VAIN, in_vain=2, ago=120), None),
        (ended(Outcome.IN_VAIN, in_vain=3, ago=REST_S), NotAsked.GIVEN_UP),
    ],
)
def test_an_hour_is_asked_for_again_as_its_last_request_allows(
    before: Request, standing: NotAsked | None
) -> None:
    """With the next number."""
    found = chosen([degraded()], before)
    if standing is None:
        [request] = found.requests
        assert (request.epoch, request.number) == (EPOCH, before.number + 1)
        assert request.in_vain == before.in_vain
    else:
        assert found.requests == []
        assert found.standing == {standing: 1}
        assert found.given_up == ([before] if standing is NotAsked.GIVEN_UP else [])


@pytest.mark.parametrize(
    "before",
    [
        ended(Outcome.TRIED),
        ended(Outcome.IN_VAIN, in_vain=3),
        ended(Outcome.IN_VAIN, in_vain=1),
        ended(Outcome.BETTER),
    ],
)
def test_a_new_epoch_begins_anew(before: Request) -> None:
    """Whatever came of the one before."""
    [request] = chosen([degraded(epoch=EPOCH + 1)], before).requests
    assert request == Request(HOUR, EPOCH + 1, 1, NOW, 10)


def test_a_request_of_an_earlier_epoch_is_still_in_flight() -> None:
    """Two runs of an hour would wait for each other."""
    found = chosen([degraded(epoch=EPOCH + 1)], ended(None))
    assert found.standing == {NotAsked.IN_FLIGHT: 1}


@pytest.mark.parametrize(("due_at", "hours"), [(NOW, [HOUR]), (NOW + 0.001, [])])
def test_rows_are_not_asked_for_before_they_may_be_tried(due_at: float, hours: list[str]) -> None:
    """A run would leave them as they are."""
    assert asked(chosen([degraded(due_at=due_at)])) == hours


def test_without_a_cap_it_is_tried_ever_more_slowly() -> None:
    """The rows themselves say when it is enough."""
    limits = RequestLimits(4, 4, None)
    before = ended(Outcome.IN_VAIN, in_vain=50, ago=LONGEST_PAUSE_S)
    assert asked(chosen([degraded()], before, limits=limits)) == [HOUR]
    sooner = replace(before, ended_at=NOW - LONGEST_PAUSE_S + 1)
    assert asked(chosen([degraded()], sooner, limits=limits)) == []


def test_pauses_double_up_to_an_hour() -> None:
    """And do not overflow."""
    assert [pause_s(count, LIMITS) for count in (0, 1, 2, 3, 7, 8, 5000)] == [
        *(0.0, 60.0, 120.0, 240.0),
        *(LONGEST_PAUSE_S, LONGEST_PAUSE_S, LONGEST_PAUSE_S),
    ]
    assert pause_s(1, replace(LIMITS, pause_s=600.0)) == 600.0


def test_a_request_that_no_run_came_of_is_made_again_under_its_number() -> None:
    """It counts for nothing; should its run come after all, Dagster keeps a second one out."""
    before = lost(replace(ended(None), in_vain=2), NOW)
    [request] = chosen([degraded()], before).requests
    assert (request.number, request.in_vain) == (before.number, before.in_vain)


def test_the_last_look_keeps_an_hour_from_being_asked_for() -> None:
    """Another one has its place; who is left over is not looked at."""
    looked_at = []

    def is_wanted(hour: WantedHour) -> bool:
        looked_at.append(hour.hour)
        return hour.hour != MANY[0]

    found = choose([degraded(hour) for hour in MANY], {}, LIMITS, NOW, is_wanted=is_wanted)
    assert asked(found) == MANY[1:5]
    assert looked_at == MANY[:5]
    assert found.standing == {NotAsked.NEXT: 19}


@pytest.mark.parametrize(
    ("rows", "given", "outcome", "in_vain"),
    [
        (0, 10, Outcome.BETTER, 0),
        (0, 0, Outcome.BETTER, 0),  # another run healed them meanwhile
        (4, 6, Outcome.BETTER, 0),
        (4, 10, Outcome.TRIED, 0),
        (10, 10, Outcome.TRIED, 0),
        (10, 9, Outcome.IN_VAIN, 2),
        (10, 0, Outcome.IN_VAIN, 2),
        (12, 0, Outcome.IN_VAIN, 2),
    ],
)
def test_what_came_of_a_request_shows_in_the_rows(
    rows: int, given: int, outcome: Outcome, in_vain: int
) -> None:
    """Of ten that might have been better, `rows` still may; `given` were tried by better rungs."""
    after = settle(replace(ended(None), in_vain=1), rows, given, NOW)
    assert (after.outcome, after.in_vain, after.ended_at) == (outcome, in_vain, NOW)


hours_ = st.builds(
    WantedHour,
    hour=st.sampled_from(MANY),
    epoch=st.just(2),
    rows=st.integers(1, 100),
    priority=st.sampled_from(Priority),
    quality=st.none() | st.floats(0, 1),
    due_at=st.sampled_from([0.0, NOW, NOW + 1]),
)
requests_ = st.builds(
    Request,
    hour=st.sampled_from(MANY),
    epoch=st.integers(0, 3),
    number=st.integers(1, 9),
    asked_at=st.floats(NOW - 1000, NOW),
    rows=st.integers(1, 100),
    in_vain=st.integers(0, 5),
    outcome=st.none() | st.sampled_from(Outcome),
    ended_at=st.floats(NOW - 1000, NOW),
)


@given(
    st.lists(hours_, unique_by=lambda each: each.hour),
    st.lists(requests_, unique_by=lambda each: each.hour),
    st.builds(RequestLimits, st.integers(0, 9), st.integers(0, 9), st.none() | st.integers(1, 4)),
)
def test_every_hour_is_asked_for_once_or_counted_once(
    hours: list[WantedHour], before: list[Request], limits: RequestLimits
) -> None:
    """Within the limits, with a number that was never used, and none that rests or flies."""
    latest = {each.hour: each for each in before}
    found = choose(hours, latest, limits, NOW)
    assert len(found.requests) + sum(found.standing.values()) == len(hours)
    assert len(set(asked(found))) == len(found.requests) <= limits.per_tick
    flying = sum(each.outcome is None for each in before)
    assert not found.requests or flying + len(found.requests) <= limits.in_flight
    for request in found.requests:
        last = latest.get(request.hour)
        assert request.outcome is None
        assert last is None or last.outcome is not None
        if last is not None and last.outcome is not Outcome.LOST:
            assert (last.epoch, last.number) != (request.epoch, request.number)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=40))
def test_an_hour_is_never_asked_for_more_often_in_vain_than_the_cap(
    ends: list[tuple[int, int]],
) -> None:
    """Whatever comes of each request, an epoch ends with healing or with giving up."""
    latest: dict[str, Request] = {}
    now, rows, in_vain = NOW, 20, 0
    for left, tried in ends:
        found = choose([degraded(rows=rows)], latest, LIMITS, now)
        if not found.requests:
            assert found.standing in ({NotAsked.GIVEN_UP: 1}, {NotAsked.RESTS: 1})
            break
        [request] = found.requests
        rows = min(rows, max(1, left))
        latest[HOUR] = settle(request, rows, tried, now)
        in_vain = in_vain + 1 if latest[HOUR].outcome is Outcome.IN_VAIN else 0
        assert in_vain <= (LIMITS.tries or 0)
        now += LONGEST_PAUSE_S
