"""Idempotency keys: which input and which maker a row stands for.

A key is `<input digest>.<maker digest>`: the first half changes when an upstream field that the
row's rungs read changes, the second when stage, rung, producer or parameters do. The two halves
let a reader of the table tell a changed input (always redone) from a changed producer (redone
only for an equal or better rung).
"""

from dataclasses import dataclass
from hashlib import blake2b
from importlib.metadata import version
from typing import Any

from pipeline_assets.core.rows import Work
from pipeline_assets.core.stage import SKIP, Stage

DIGEST_BYTES = 10


def digest(value: object) -> str:
    """A short, stable hash of plain values (strings, numbers, times, tuples and lists of them)."""
    return blake2b(
        repr(value).encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES
    ).hexdigest()


def tool(*packages: str) -> str:
    """A producer's name: the packages with their installed versions."""
    return "+".join(f"{package}/{version(package)}" for package in packages)


@dataclass(frozen=True, slots=True)
class Keys:
    """Makes the keys of one stage. `producers[i]` is rung i's; the last position means no rung."""

    producers: tuple[str, ...]
    _reads: tuple[tuple[str, ...], ...]
    _makers: tuple[str, ...]

    @classmethod
    def of(cls, stage: Stage, resources: Any) -> "Keys":
        """The keys of `stage` as its rungs would make them now."""
        producers = tuple(rung.producer(resources) for rung in stage.rungs)
        makers = [
            digest((stage.name, rung.name, producer))
            for rung, producer in zip(stage.rungs, producers, strict=True)
        ]
        nobody = digest((stage.name, SKIP, producers, stage.conditions(resources)))
        count = len(stage.rungs)
        reads = tuple(stage.reads_up_to(position + 1) for position in range(count))
        return cls(producers, (*reads, stage.reads_up_to(count)), (*makers, nobody))

    def input(self, work: Work, rung: int) -> str:
        """The digest of what rungs 0..`rung` read for this row."""
        fields = work.fields
        return digest(([fields[name] for name in self._reads[rung]], work.blocked))

    def key(self, work: Work, rung: int) -> str:
        """The key of a row that rung number `rung` makes; the number of rungs means no rung."""
        return f"{self.input(work, rung)}.{self._makers[rung]}"

    def is_made_by(self, key: str | None, rung: int) -> bool:
        """Whether a row's key names what that rung is now, whatever its input was."""
        return key is not None and key.partition(".")[2] == self._makers[rung]


def same_input(key: str | None, other: str) -> bool:
    """Whether two keys stand for the same input."""
    return key is not None and key.partition(".")[0] == other.partition(".")[0]
