"""Batch sizes that worked: less when memory or time runs out, remembered, and grown back slowly."""

from dataclasses import dataclass, field

FIRST_PATIENCE = 2
"""Full batches in a row that must fit before the size is doubled for the first time."""
LONGEST_PATIENCE = 64
"""Each growth that runs out of memory again doubles the patience, so that a lasting limit costs
less than one call in sixty, and one that has gone is forgotten within a few batches."""


@dataclass(slots=True)
class _Size:
    """The size that worked for one rung, and how long it must work before more is tried."""

    rows: int
    fitted: int = 0
    patience: int = FIRST_PATIENCE
    grown: bool = False


@dataclass(slots=True)
class BatchSizes:
    """The size to try next for each rung, for the life of the process."""

    _sizes: dict[str, _Size] = field(default_factory=dict)

    def size(self, rung: str, largest: int) -> int:
        """The size to try, at most `largest`."""
        known = self._sizes.get(rung)
        return largest if known is None else min(known.rows, largest)

    def too_large(self, rung: str, rows: int) -> None:
        """A batch of `rows` rows ran out of memory: try half of it from now on."""
        self._shrink(rung, rows, rows // 2)

    def too_slow(self, rung: str, rows: int, share: float) -> None:
        """A batch of `rows` rows took too long; this share of it would not have."""
        self._shrink(rung, rows, int(rows * share))

    def _shrink(self, rung: str, rows: int, to: int) -> None:
        known = self._sizes.setdefault(rung, _Size(rows))
        if known.grown:
            known.patience = min(known.patience * 2, LONGEST_PATIENCE)
        known.rows, known.fitted, known.grown = max(1, to), 0, False

    def note(self, rung: str, rows: int, *, fitted: bool) -> None:
        """A batch of `rows` rows was called and memory sufficed (or one row alone failed)."""
        known = self._sizes.get(rung)
        if known is None or not fitted or rows < known.rows:
            return
        known.fitted += 1
        if known.grown:
            known.grown, known.patience = False, FIRST_PATIENCE
        if known.fitted >= known.patience:
            known.rows, known.fitted, known.grown = known.rows * 2, 0, True
