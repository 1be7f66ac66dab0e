"""Budgets in a real state database, with a clock that is moved by hand."""

import multiprocessing
from collections.abc import Iterator
from datetime import timedelta

import pytest
import sqlalchemy as sa

from pipeline_assets.core.budget import RETRY_CAPACITY, SUCCESSES_PER_RETRY, Budget
from pipeline_assets.errors import OverBudget
from pipeline_assets.state.budgets import EVERY, FULL_FOR_S, Budgets, StageBudget, spending
from pipeline_assets.state.database import State
from pipeline_assets_tests.conftest import Clock
from pipeline_assets_tests.lengths import HANG_S
from pipeline_assets_tests.state.spending_process import COST_USD, DAYS, spend_and_retry

STAGE, OTHER = "image_labels", "embeddings"
HOURS_LEFT = timedelta(hours=18)
"""The test's clock stands at 06:00 UTC."""


@pytest.fixture
def state(database_url: str, clock: Clock) -> Iterator[State]:
    """A state database, SQLite or PostgreSQL, on the test's clock."""
    opened = State(database_url, clock=clock.seconds)
    yield opened
    opened.close()


class Statements:
    """Counts what a database is asked, and what changes it."""

    def __init__(self, state: State) -> None:
        self.asked = self.written = 0
        sa.event.listen(state.engine, "before_cursor_execute", self._seen)

    def _seen(self, _connection: object, _cursor: object, statement: str, *_more: object) -> None:
        self.asked += 1
        self.written += statement.startswith(("INSERT", "UPDATE", "DELETE", "BEGIN"))


@pytest.fixture
def statements(state: State) -> Statements:
    """Counts from here on."""
    return Statements(state)


def capped(
    state: State, clock: Clock, *, every: float | None = None, **stages: float
) -> StageBudget:
    """The budget of `STAGE` under caps, as one process has it."""
    return Budgets(state, daily_usd=every, stage_daily_usd=stages, timer=clock.seconds).stage(STAGE)


def spent(state: State) -> dict[str, float]:
    """What was spent today."""
    return {name: round(usd, 9) for name, usd in Budgets(state).spent_today().items()}


def refused(budget: StageBudget, cost_usd: float, rows: int) -> OverBudget:
    """A reservation that must be refused as a whole."""
    granted = budget.spend(cost_usd, rows)
    assert granted.rows == 0
    assert granted.refusal is not None
    return granted.refusal


def test_without_a_cap_everything_is_granted_and_counted(state: State, clock: Clock) -> None:
    """By stage and in all; a chain sees it as a `Budget`."""
    budget: Budget = capped(state, clock)
    assert budget.spend(0.25, 10).rows == 10
    assert budget.spend(0.5, 1).refusal is None
    Budgets(state).stage(OTHER).spend(1.0, 1)
    assert spent(state) == {EVERY: 4.0, STAGE: 3.0, OTHER: 1.0}


def test_free_calls_never_touch_the_database(
    state: State, clock: Clock, statements: Statements
) -> None:
    """Nor do batches without rows; not even a cap of 0 or a pause holds them up."""
    budget = capped(state, clock, every=0.0)
    assert budget.spend(0.0, 256).rows == 256
    assert budget.spend(0.25, 0).rows == 0
    budget.give_back(0.0, 256)
    budget.give_back(0.25, 0)
    assert statements.asked == 0
    Budgets(state).pause(EVERY, who="ann", why="")
    assert budget.spend(0.0, 256).refusal is None


def test_what_fits_is_granted_and_the_rest_refused(state: State, clock: Clock) -> None:
    """The reason names the cap, its value, what was spent, when it ends and how to raise it."""
    budget = capped(state, clock, image_labels=5.0)
    granted = budget.spend(0.75, 10)
    assert granted.rows == 6
    refusal = granted.refusal
    assert refusal is not None
    assert refusal.transient
    assert refusal.retry_after == HOURS_LEFT
    assert str(refusal) == (
        "no call was made: of the 5 USD that image_labels may spend on 2026-03-03 (UTC), 4.5 are "
        "spent and a row costs 0.75. It goes on by itself in 18.0 h, at 00:00 UTC, or at once "
        "where PIPELINE_STAGE_DAILY_USD is raised"
    )
    assert budget.spend(0.5, 1).rows == 1  # a cheaper call still fits
    assert "5 are spent" in str(refused(budget, 0.01, 1))


def test_the_cap_of_all_stages_holds_over_their_sum(state: State, clock: Clock) -> None:
    """One stage can use up what another would have had."""
    Budgets(state, daily_usd=2.0).stage(OTHER).spend(1.5, 1)
    granted = capped(state, clock, every=2.0, image_labels=5.0).spend(0.25, 10)
    assert granted.rows == 2
    assert "the 2 USD that all stages may spend" in str(granted.refusal)
    assert "PIPELINE_DAILY_USD is raised" in str(granted.refusal)


@pytest.mark.parametrize("caps", [{"every": 0.0}, {"image_labels": 0.0}])
def test_a_cap_of_zero_lets_nothing_be_spent(
    state: State, clock: Clock, caps: dict[str, float]
) -> None:
    """Zero means zero."""
    assert "of the 0 USD" in str(refused(capped(state, clock, **caps), 0.000001, 5))
    assert spent(state) == {EVERY: 0.0, STAGE: 0.0}


def test_a_cap_of_another_stage_does_not_bind(state: State, clock: Clock) -> None:
    """Each has its own."""
    assert capped(state, clock, embeddings=0.0).spend(1.0, 5).rows == 5


def test_a_new_day_begins_at_midnight_utc(state: State, clock: Clock) -> None:
    """On the database's clock: a moment before it is still the old one."""
    budget = capped(state, clock, image_labels=1.0)
    assert budget.spend(1.0, 1).rows == 1
    clock.advance(HOURS_LEFT.total_seconds() - 1)
    assert refused(budget, 1.0, 1).retry_after == timedelta(seconds=1)
    clock.advance(1)
    assert budget.spend(1.0, 1).rows == 1
    assert spent(state) == {EVERY: 1.0, STAGE: 1.0}


def test_a_reservation_goes_back_when_its_call_was_not_made(state: State, clock: Clock) -> None:
    """For as many of its rows; never below nothing."""
    budget = capped(state, clock, image_labels=1.0)
    budget.spend(0.25, 4)
    budget.give_back(0.25, 3)
    assert spent(state) == {EVERY: 0.25, STAGE: 0.25}
    budget.give_back(0.25, 9)
    assert spent(state) == {EVERY: 0.0, STAGE: 0.0}


def test_a_reservation_of_yesterday_frees_nothing_today(state: State, clock: Clock) -> None:
    """It goes back to the day that it was taken from."""
    budget = capped(state, clock, image_labels=1.0)
    budget.spend(0.5, 2)
    clock.advance(HOURS_LEFT.total_seconds())
    capped(state, clock, image_labels=1.0).spend(0.5, 2)
    budget.give_back(0.5, 2)
    assert refused(budget, 0.5, 1)


def test_who_reserved_nothing_gives_nothing_back(state: State, clock: Clock) -> None:
    """Another process's money is not theirs."""
    capped(state, clock).spend(0.5, 2)
    capped(state, clock).give_back(0.5, 2)
    assert spent(state)[STAGE] == 1.0


def test_a_stages_budget_remembers_what_it_reserved(state: State) -> None:
    """However often it is asked for."""
    budgets = Budgets(state)
    assert budgets.stage(STAGE) is budgets.stage(STAGE)


def test_days_long_past_are_forgotten(state: State, clock: Clock) -> None:
    """A month is kept."""
    budget = capped(state, clock)
    for _ in range(40):
        budget.spend(0.01, 1)
        clock.advance(86400)
    budget.spend(0.01, 1)
    with state.reading() as connection:
        days = set(connection.execute(sa.select(spending.c.day)).scalars())
    assert len(days) == 32
    assert max(days) - min(days) == timedelta(days=31)


def test_a_pause_refuses_paid_calls_and_retries_until_it_is_resumed(
    state: State, clock: Clock
) -> None:
    """In every process, saying who, when, why and how it ends; there is no time to wait for."""
    budget, store = capped(state, clock), Budgets(state)
    assert budget.paused() is None
    store.pause(STAGE, who="ann@host", why="the invoice looks odd")
    refusal = refused(budget, 0.01, 3)
    assert refusal.retry_after is None
    assert str(refusal) == (
        "no call was made: ann@host paused the paid calls and the retries within a run of "
        "image_labels on 2026-03-03 06:00 UTC; `pipeline-assets budget resume image_labels` ends "
        "that. Why: the invoice looks odd"
    )
    assert str(refusal) == f"no call was made: {budget.paused()}"
    assert budget.retries(3) == 0
    assert store.stage(OTHER).spend(0.01, 3).rows == 3
    store.resume(STAGE)
    assert budget.paused() is None
    assert budget.spend(0.01, 3).rows == 3
    assert budget.retries(3) == 3


def test_a_pause_of_everything_and_one_of_a_stage_are_two(state: State, clock: Clock) -> None:
    """Each ends by its own word; the wider one is named first."""
    budget, store = capped(state, clock), Budgets(state)
    store.pause(STAGE, who="ann", why="one")
    store.pause(EVERY, who="bob", why="all")
    assert "bob" in str(refused(budget, 0.01, 1))
    assert store.stage(OTHER).retries(1) == 0
    store.resume(EVERY)
    assert store.stage(OTHER).retries(1) == 1
    assert "ann" in str(refused(budget, 0.01, 1))
    store.resume(STAGE)
    store.resume(STAGE)  # what is not paused stays so
    assert store.pauses() == {}


def test_the_latest_word_about_a_pause_counts(state: State, clock: Clock) -> None:
    """With its time; and a long reason never cuts off how it ends."""
    store = Budgets(state)
    store.pause(STAGE, who="ann", why="")
    clock.advance(60)
    store.pause(STAGE, who="bob", why="because " * 100)
    pause = store.pauses()[STAGE]
    assert (pause.who, pause.since) == ("bob", clock())
    assert "budget resume image_labels` ends that" in str(refused(capped(state, clock), 0.01, 1))


def drain(budget: StageBudget) -> None:
    """Take every token."""
    assert budget.retries(10_000) == RETRY_CAPACITY


def tokens(state: State) -> int:
    """What is left for `STAGE`."""
    return Budgets(state).buckets()[STAGE].tokens


def test_retries_are_granted_until_the_tokens_are_gone(state: State, clock: Clock) -> None:
    """For all processes together; other stages have their own."""
    budget, elsewhere = capped(state, clock), capped(state, clock)
    assert budget.retries(60) == 60
    assert elsewhere.retries(60) == 40
    assert budget.retries(1) == 0
    assert Budgets(state).stage(OTHER).retries(1) == 1


def test_successes_refill_them(state: State, clock: Clock) -> None:
    """Ten for one, and never above the capacity."""
    budget = capped(state, clock)
    drain(budget)
    budget.succeeded(SUCCESSES_PER_RETRY - 1)
    assert budget.retries(1) == 0
    budget.succeeded(1)
    assert budget.retries(2) == 1
    budget.succeeded(1_000_000)
    assert tokens(state) == RETRY_CAPACITY


def test_a_full_bucket_is_not_written_and_seldom_read(
    state: State, clock: Clock, statements: Statements
) -> None:
    """It is asked once for each micro-batch."""
    budget = capped(state, clock)
    for _ in range(100):
        budget.succeeded(256)
    assert (statements.asked, statements.written) == (1, 0)
    clock.advance(FULL_FOR_S)
    budget.succeeded(256)
    assert (statements.asked, statements.written) == (2, 0)


def test_a_batch_without_a_success_asks_for_nothing(
    state: State, clock: Clock, statements: Statements
) -> None:
    """In an outage every batch is one."""
    capped(state, clock).succeeded(0)
    assert statements.asked == 0


def test_successes_count_at_once_where_one_has_taken_tokens_oneself(
    state: State, clock: Clock
) -> None:
    """A bucket that was full a moment ago is known not to be."""
    budget = capped(state, clock)
    budget.succeeded(256)
    drain(budget)
    budget.succeeded(256)
    assert tokens(state) == 25


def test_another_process_that_takes_tokens_is_noticed(state: State, clock: Clock) -> None:
    """After a moment: what is missed meanwhile is on the safe side."""
    budget = capped(state, clock)
    budget.succeeded(256)
    drain(capped(state, clock))
    budget.succeeded(256)
    assert tokens(state) == 0
    clock.advance(FULL_FOR_S)
    budget.succeeded(256)
    assert tokens(state) == 25


def test_racing_processes_never_pass_a_cap_nor_the_tokens(state: State, clock: Clock) -> None:
    """Two of each stage ask for more than there is: what is granted meets the limits exactly."""
    caps = {STAGE: 0.16, OTHER: 0.3, "all": 0.25}
    context = multiprocessing.get_context("spawn")
    meet, told = context.Barrier(4), context.Queue()
    url = state.engine.url.render_as_string(hide_password=False)
    processes = [
        context.Process(
            target=spend_and_retry, args=(url, clock.seconds(), stage, caps, meet, told)
        )
        for stage in (STAGE, OTHER, STAGE, OTHER)
    ]
    for process in processes:
        process.start()
    answers = [told.get(timeout=HANG_S) for _ in processes]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    for day in range(DAYS):
        granted = dict.fromkeys(caps, 0)
        for stage, rows, _retries in answers:
            granted[stage] += rows[day]
            granted["all"] += rows[day]
        assert granted["all"] == round(caps["all"] / COST_USD)
        assert granted[STAGE] <= round(caps[STAGE] / COST_USD)
    for name in (STAGE, OTHER):
        retried = sum(retries for stage, _rows, retries in answers if stage == name)
        assert RETRY_CAPACITY <= retried <= RETRY_CAPACITY + 2 * DAYS // SUCCESSES_PER_RETRY
