"""Finding the row that kills its worker: in few deaths, and none of its neighbours given up."""

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.core.narrowing import (
    DEATHS_ALONE,
    NARROW_BY,
    Suspects,
    batches,
    blames_rung,
)
from pipeline_assets.core.plan import Planned
from pipeline_assets.core.rows import RowId
from pipeline_assets_tests.core.builders import make_planned, make_stage, many

SIGSEGV = "killed by SIGSEGV"
STAGE = make_stage()


def ids(count: int) -> list[RowId]:
    """Row ids 0, 1, 2 and so on."""
    return [work.id for work in many(count)]


def planned(rows: int) -> list[Planned]:
    """As many rows to work on."""
    return [make_planned(work, STAGE) for work in many(rows)]


def batched(rows: int, size: int, limits: Mapping[RowId, int]) -> list[list[str]]:
    """The items of each batch."""
    return [
        [each.work.id[0] for each in batch]
        for batch in batches(planned(rows), size, Suspects(limits))
    ]


@pytest.mark.parametrize(
    ("rows", "limit"), [(1, 1), (2, 1), (15, 1), (16, 1), (31, 1), (32, 2), (256, 16), (5000, 312)]
)
def test_the_rows_of_a_call_that_killed_are_called_in_far_smaller_ones(
    rows: int, limit: int
) -> None:
    """Down to one; whose fault it was is not known yet."""
    suspects = Suspects().died(ids(rows), SIGSEGV)
    assert suspects.limits == dict.fromkeys(ids(rows), limit)
    assert suspects.crashed == {}
    assert suspects.deaths == ({("0",): 1} if rows == 1 else {})


@pytest.mark.parametrize("deaths", range(1, DEATHS_ALONE + 1))
def test_a_row_is_given_up_when_it_was_alone_three_times(deaths: int) -> None:
    """With the cause of the last death; twice can be bad luck."""
    suspects = Suspects().died(ids(2), "killed by SIGKILL")
    for _ in range(deaths):
        suspects = suspects.died([("1",)], SIGSEGV)
    assert suspects.deaths == {("1",): deaths}
    assert suspects.crashed == ({("1",): SIGSEGV} if deaths == DEATHS_ALONE else {})


def test_what_was_known_stays_known() -> None:
    """A second killer is found beside the first."""
    suspects = Suspects().died([("0",)], SIGSEGV)
    suspects = suspects.died(ids(64)[32:], SIGSEGV)
    assert suspects.limits[("0",)] == 1
    assert suspects.limits[("40",)] == 2
    assert suspects.deaths == {("0",): 1}


@pytest.mark.parametrize(
    ("rows", "size", "limits", "expected"),
    [
        pytest.param(0, 4, {}, [], id="nothing"),
        pytest.param(5, 2, {}, [["0", "1"], ["2", "3"], ["4"]], id="in their order"),
        pytest.param(4, 4, {"1": 1, "2": 1}, [["0", "3"], ["1"], ["2"]], id="suspects alone"),
        pytest.param(
            5, 4, {"0": 1, "1": 2, "2": 2}, [["3", "4"], ["1", "2"], ["0"]], id="the closest last"
        ),
        pytest.param(3, 2, {"0": 9}, [["0", "1"], ["2"]], id="a limit above the size is none"),
        pytest.param(2, 2, {"gone": 1}, [["0", "1"]], id="rows that are not planned any more"),
    ],
)
def test_suspects_come_last_in_batches_of_their_own(
    rows: int, size: int, limits: dict[str, int], expected: list[list[str]]
) -> None:
    """Whoever is not suspected is done before anybody dies again."""
    assert batched(rows, size, by_id(limits)) == expected


def by_id(limits: Mapping[str, int]) -> dict[RowId, int]:
    """Limits by row, from those by item."""
    return {(item,): limit for item, limit in limits.items()}


@given(
    st.dictionaries(st.integers(0, 60).map(str), st.integers(1, 300)),
    st.integers(0, 60),
    st.integers(1, 300),
)
def test_every_row_is_in_exactly_one_batch_that_it_may_be_in(
    limits: dict[str, int], rows: int, size: int
) -> None:
    """None larger than the size or than any of its rows allows; healthy ones first."""
    found = batched(rows, size, by_id(limits))
    assert sorted(item for batch in found for item in batch) == sorted(
        item for (item,) in ids(rows)
    )
    allowed = [[min(size, limits.get(item, size)) for item in batch] for batch in found]
    assert all(len(batch) <= min(each) for batch, each in zip(found, allowed, strict=True))
    assert [each[0] for each in allowed] == sorted((each[0] for each in allowed), reverse=True)


def survive(rows: int, size: int, killers: frozenset[str]) -> tuple[Suspects, set[str], int]:
    """Work on rows, some of which kill whoever calls with them: what is known, done, and died."""
    suspects, done, deaths = Suspects(), set[str](), 0
    while True:
        left = [
            each
            for each in planned(rows)
            if each.work.id not in suspects.crashed and each.work.id[0] not in done
        ]
        killed = _first_death(left, size, suspects, killers, done)
        if not killed:
            return suspects, done, deaths
        suspects, deaths = suspects.died(killed, SIGSEGV), deaths + 1


def _first_death(
    left: Sequence[Planned],
    size: int,
    suspects: Suspects,
    killers: frozenset[str],
    done: set[str],
) -> list[RowId]:
    for batch in batches(left, size, suspects):
        items = {each.work.id[0] for each in batch}
        if items & killers:
            return [each.work.id for each in batch]
        done |= items
    return []


def test_from_256_rows_to_the_one_that_kills_it_takes_five_deaths() -> None:
    """Two that narrow it down, and three of it alone."""
    suspects, done, deaths = survive(1000, 256, frozenset({"300"}))
    assert suspects.crashed == {("300",): SIGSEGV}
    assert (len(done), deaths) == (999, 5)


@given(
    st.sets(st.integers(0, 199), max_size=6),
    st.integers(1, 200),
    st.sampled_from([1, 7, 16, 64, 256, 1000]),
)
def test_just_the_killers_are_given_up_whatever_stands_beside_them(
    killers: set[int], rows: int, size: int
) -> None:
    """Every neighbour is done, and each killer costs a bounded number of deaths."""
    deadly = frozenset(str(number) for number in killers if number < rows)
    suspects, done, deaths = survive(rows, size, deadly)
    assert {item for (item,) in suspects.crashed} == deadly
    assert done == {item for (item,) in ids(rows)} - deadly
    steps = 0
    while size > 1:
        size, steps = max(1, size // NARROW_BY), steps + 1
    assert deaths <= len(deadly) * (steps + DEATHS_ALONE)


@given(st.integers(1, 300), st.sampled_from([1, 7, 64, 256]), st.data())
def test_a_worker_that_dies_once_costs_nobody_a_row(
    rows: int, size: int, data: st.DataObject
) -> None:
    """The kernel took its memory: the same rows are called again, and all is well."""
    [*batch] = data.draw(st.sampled_from(list(batches(planned(rows), size, Suspects()))))
    suspects = Suspects().died([each.work.id for each in batch], "killed by SIGKILL")
    assert suspects.crashed == {}
    again = list(batches(planned(rows), size, suspects))
    assert sum(map(len, again)) == rows


def test_a_row_that_died_alone_is_tried_after_those_that_have_not() -> None:
    """Where everything kills, no row is given up before the rung's breaker is open."""
    suspects = Suspects(limits=by_id({"0": 1, "1": 1, "2": 1}), deaths=by_id({"0": 1, "1": 2}))
    order = [each.work.id[0] for batch in batches(planned(4), 4, suspects) for each in batch]
    assert order == ["3", "2", "0", "1"]


@pytest.mark.parametrize(
    ("rows", "deaths", "blamed"),
    [(["0", "1"], {}, True), (["0"], {}, True), (["0"], {"0": 1}, False), (["0"], {"1": 2}, True)],
)
def test_a_further_death_alone_is_the_rows_own(
    rows: list[str], deaths: dict[str, int], *, blamed: bool
) -> None:
    """All others are a failure of the rung as well."""
    ids = [(row,) for row in rows]
    assert blames_rung(Suspects(deaths=by_id(deaths)), ids) is blamed
