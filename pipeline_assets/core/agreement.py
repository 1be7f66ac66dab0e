"""How far what a fallback made agrees with what the primary made, by kind of value.

Each measure is an `Agrees`: a stage declares the one that fits its values.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence

from pipeline_assets.core.stage import Agrees, Values

_WORD = re.compile(r"\w+")


def row_by_row(measure: Callable[[Values, Values], float | None]) -> Agrees:
    """A measure that needs to see no more than the two values of one row."""

    def agrees(primary: Sequence[Values], fallback: Sequence[Values]) -> list[float | None]:
        return [measure(*pair) for pair in zip(primary, fallback, strict=True)]

    return agrees


def same(*columns: str) -> Agrees:
    """1 where all these columns are equal, else 0."""
    return row_by_row(
        lambda primary, fallback: float(all(primary[each] == fallback[each] for each in columns))
    )


def same_words(column: str) -> Agrees:
    """The share of words that two texts have in common."""
    return row_by_row(lambda primary, fallback: shared_words(primary[column], fallback[column]))


def shared_words(one: str, other: str) -> float:
    """Twice the common words by all words, each counted as often as it is there: 0..1.

    The F1 by which extractors of main text are compared. It takes a time that grows with the texts
    and no faster, where an alignment of letters takes minutes for a long document.
    """
    ours, theirs = (Counter(_WORD.findall(text.lower())) for text in (one, other))
    words = ours.total() + theirs.total()
    return 2 * (ours & theirs).total() / words if words else float(one == other)
