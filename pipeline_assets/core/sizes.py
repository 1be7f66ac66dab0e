"""Batch sizes that worked: halved when memory runs out, remembered, and grown back slowly."""

from dataclasses import dataclass, field

GROW_AFTER = 2
"""Full batches in a row that must fit before the size is doubled."""


@dataclass(slots=True)
class BatchSizes:
    """The size to try next for each rung, for the life of the process."""

    _sizes: dict[str, int] = field(default_factory=dict)
    _fitted: dict[str, int] = field(default_factory=dict)

    def size(self, rung: str, largest: int) -> int:
        """The size to try, at most `largest`."""
        return min(self._sizes.get(rung, largest), largest)

    def too_large(self, rung: str, rows: int) -> None:
        """A batch of `rows` rows ran out of memory: try half of it from now on."""
        self._sizes[rung] = max(1, rows // 2)
        self._fitted[rung] = 0

    def note(self, rung: str, rows: int, *, fitted: bool) -> None:
        """A batch of `rows` rows was called and memory sufficed (or one row alone failed)."""
        if rung not in self._sizes:
            return
        if not fitted or rows < self._sizes[rung]:
            return
        self._fitted[rung] += 1
        if self._fitted[rung] >= GROW_AFTER:
            self._sizes[rung] *= 2
            self._fitted[rung] = 0
