"""What is known of the feed's files, on both databases."""

from collections.abc import Iterator

import pytest

from pipeline_assets.feed.changes import Tally
from pipeline_assets.feed.index import FileIndex, Share, Span
from pipeline_assets.feed.indexes import PROBLEM_HOLDS_S, FeedIndexes
from pipeline_assets.feed.text import Start
from pipeline_assets.state.database import State
from pipeline_assets_tests.conftest import Clock


@pytest.fixture
def indexes(database_url: str, clock: Clock) -> Iterator[FeedIndexes]:
    """An empty memory of files."""
    state = State(database_url, clock=clock.seconds)
    yield FeedIndexes(state)
    state.close()


def index(problem: str | None = None, lost: int = 0) -> FileIndex:
    """An index of one hour with large numbers."""
    share = Share(Tally(3, (1 << 128) - 1, 5), 1 << 400)
    return FileIndex(problem, [Span(Start(5, 2), 3)], {492_000: share}, lost)


def test_what_is_kept_of_a_file_replaces_what_was(indexes: FeedIndexes) -> None:
    """And comes back as it was."""
    indexes.keep("a", "1", index())
    indexes.keep("a", "2", index(lost=4))
    indexes.keep("b", "1", index())
    assert indexes.known(problems=False) == {"a": "2", "b": "1"}
    assert indexes.load(["a", "c"])["a"].stored() == index(lost=4).stored()
    assert indexes.lost() == (4, 0)
    indexes.forget_all_but(["b"])
    assert indexes.known(problems=False) == {"b": "1"}


def test_a_file_that_cannot_be_read_is_left_alone_for_a_while(
    indexes: FeedIndexes, clock: Clock
) -> None:
    """Not where it is the only one."""
    indexes.keep("a", "1", index("damaged"))
    assert indexes.lost() == (0, 1)
    assert indexes.known(problems=False) == {}
    assert indexes.known(problems=True) == {"a": "1"}
    clock.advance(PROBLEM_HOLDS_S)
    assert indexes.known(problems=True) == {}


def test_nothing_is_lost_of_a_feed_that_nobody_looked_at(indexes: FeedIndexes) -> None:
    """As far as anybody knows."""
    assert indexes.lost() == (0, 0)
