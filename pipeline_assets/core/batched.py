"""Some at a time, as `itertools.batched` of Python 3.12 does."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def batched(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of at most `size` values, in order."""
    rest = iter(values)
    while some := list(islice(rest, size)):
        yield some
