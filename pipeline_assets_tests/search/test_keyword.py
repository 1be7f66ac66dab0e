"""Keyword search: that leaving out what cannot win changes nothing."""

import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline_assets.search import SearchIndex, keyword, words
from pipeline_assets.search.filters import EVERYTHING
from pipeline_assets.search.readers import Readers
from pipeline_assets_tests.search.samples import HOUR, item, table

DEPTH = 20
VOCABULARY = [f"w{n}" for n in range(60)]
SHARES = [1 / (n + 1) for n in range(60)]


@pytest.fixture
def connection(index: SearchIndex, root: Path) -> Iterator[sqlite3.Connection]:
    """A shelf whose words come as often as in a language."""
    drawn = random.Random(4)
    rows = [
        item(
            f"i{n:03}",
            " ".join(drawn.choices(VOCABULARY[20:], k=2)),
            text=" ".join(drawn.choices(VOCABULARY, SHARES, k=30)),
            quality=drawn.choice([0.5, 1.0]),
        )
        for n in range(400)
    ]
    index.replace_hour(HOUR, table(*rows))
    with Readers(root).snapshot() as snapshot:
        assert snapshot is not None
        yield snapshot.connection


def test_entries_without_an_essential_word_would_not_have_been_among_the_best(
    connection: sqlite3.Connection,
) -> None:
    """The best are the same as where everything is scored, in the same order."""
    drawn = random.Random(5)
    spared = 0
    for _ in range(200):
        query = list(dict.fromkeys(drawn.choices(VOCABULARY, SHARES, k=drawn.randint(1, 5))))
        essential, _rest = keyword._essential(connection, query, DEPTH)
        spared += len(essential) < len(query)
        found = keyword.best_matches(connection, query, DEPTH, EVERYTHING)
        assert found == keyword._best(connection, query, None, DEPTH, EVERYTHING), query
    assert spared > 20


def test_where_few_have_the_rare_word_the_others_follow(connection: sqlite3.Connection) -> None:
    """The common word alone is better than nothing."""
    found = keyword.best_matches(connection, ["w0", "w59"], 300, EVERYTHING)
    assert len(found) == 300


@pytest.mark.parametrize("query", ["", "?!", "_", "\x00"])
def test_what_has_no_word_has_no_words(query: str) -> None:
    """And is no error."""
    assert words.words_of(query) == []


def test_a_pasted_document_is_its_first_words() -> None:
    """Each once."""
    found = words.words_of(" ".join(f"a b word{n}" for n in range(1_000)))
    assert len(found) == words.MAX_WORDS
    assert found[:3] == ["a", "b", "word0"]


def test_who_types_a_name_finds_what_has_it_first(index: SearchIndex) -> None:
    """Before longer names that have more of the words, or have them more often."""
    rows = [item("whole", "Orange"), *(item(f"x{n}", f"Spoon {n}") for n in range(9))]
    longer = [item(f"j{n}", "Orange juice", description="Oranges, orange") for n in range(3)]
    index.replace_hour(HOUR, table(*rows, *longer))
    first, second, *_ = index.search("ORANGE", embedders={})
    assert (first.item_id, first.ranks["name"]) == ("whole", 1)
    assert "name" not in second.ranks
