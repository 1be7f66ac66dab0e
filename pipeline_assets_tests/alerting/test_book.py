"""What was said and what is to be delivered, on either database."""

from collections.abc import Iterator

import pytest

from pipeline_assets.alerting.book import AlertBook
from pipeline_assets.alerting.notifier import Notifier
from pipeline_assets.alerting.rules import SUMMARY, Alert, Severity
from pipeline_assets.state.database import State
from pipeline_assets_tests.alerting.fake_notifier import FakeNotifier
from pipeline_assets_tests.conftest import Clock

MOST = 5


@pytest.fixture
def book(database_url: str, clock: Clock) -> Iterator[AlertBook]:
    """An empty book."""
    state = State(database_url, clock=clock.seconds)
    yield AlertBook(state)
    state.close()


def alert(key: str, since: float = 0.0) -> Alert:
    """A condition."""
    return Alert(key, Severity.ERROR, f"{key} is wrong", "It happened.", "Mend it.", since)


def tick(book: AlertBook, notifiers: list[Notifier], *keys: str) -> None:
    """One look and one delivery."""
    book.look([alert(key) for key in keys], notifiers)
    book.deliver(notifiers, MOST)


def test_each_notifier_gets_each_message_once(book: AlertBook) -> None:
    """And one when it is over."""
    one, other = FakeNotifier("one"), FakeNotifier("other")
    for keys in (["run:a"], ["run:a", "run:b"], ["run:b"], ["run:b"]):
        tick(book, [one, other], *keys)
    titles = ["run:a is wrong", "run:b is wrong", "over: run:a is wrong"]
    assert [message.title for message in one.sent] == titles
    assert one.sent == other.sent
    assert [each.key for each in book.standing()] == ["run:b"]


def test_a_notifier_that_fails_gets_it_with_the_next_tick_and_holds_nobody_up(
    book: AlertBook,
) -> None:
    """Nothing is lost, nothing comes twice."""
    broken, well = FakeNotifier("broken", broken=True), FakeNotifier("well")
    tick(book, [broken, well], "run:a", "run:b")
    assert (len(broken.sent), len(well.sent)) == (0, 2)
    [refused, taken] = book.deliver([broken, well], MOST)
    assert (refused.waiting, refused.refused) == (2, "it is broken on request")
    assert (taken.taken, taken.waiting) == (0, 0)
    broken.broken = False
    tick(book, [broken, well], "run:a", "run:b")
    assert broken.sent == well.sent


def test_a_notifier_that_was_down_for_long_is_not_met_with_a_storm(
    book: AlertBook, clock: Clock
) -> None:
    """What it missed is summed up."""
    broken = FakeNotifier(broken=True)
    for number in range(30):
        tick(book, [broken], *(f"run:{each:02}" for each in range(number + 1)))
        clock.advance(60)
    broken.broken = False
    book.deliver([broken], MOST)
    assert len(broken.sent) == MOST + 1
    assert {key for message in broken.sent for key in message.keys} == {
        f"run:{each:02}" for each in range(30)
    }
    book.deliver([broken], MOST)
    assert len(broken.sent) == MOST + 1


def test_many_conditions_at_once_are_a_few_messages(book: AlertBook) -> None:
    """And a few more when all of them are over."""
    fake = FakeNotifier()
    tick(book, [fake], *(f"run:{number}" for number in range(50)))
    assert [message.key for message in fake.sent].count(SUMMARY) == 1
    assert len(fake.sent) == MOST + 1
    tick(book, [fake])
    assert len(fake.sent) == 2 * (MOST + 1)
    assert book.standing() == []


def test_a_notifier_that_is_no_longer_set_leaves_nothing_behind(
    book: AlertBook, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says so."""
    gone, new = FakeNotifier("gone", broken=True), FakeNotifier("new")
    tick(book, [gone], "run:a")
    book.deliver([new], MOST)
    assert "1 alerts waited for notifiers" in caplog.text
    gone.broken = False
    [nothing] = book.deliver([gone], MOST)
    assert (nothing.taken, gone.sent) == (0, [])


def test_a_message_that_was_sent_and_not_noted_is_sent_again(book: AlertBook) -> None:
    """At least once: a process may die between the two."""

    class Dying(FakeNotifier):
        """A fake that takes a message and dies."""

        def send(self, alert: Alert) -> None:
            """Keep it, and die."""
            super().send(alert)
            raise KeyboardInterrupt

    dying, well = Dying("same"), FakeNotifier("same")
    book.look([alert("run:a")], [dying])
    with pytest.raises(KeyboardInterrupt):
        book.deliver([dying], MOST)
    book.deliver([well], MOST)
    assert dying.sent == well.sent
