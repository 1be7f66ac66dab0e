"""An outage in the middle of an hour of 10,000 rows: what it costs, and what it leaves behind."""

import csv
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from pipeline_assets.core.rows import Made, Outcome, Work
from pipeline_assets.core.stage import Rung, RungCall, Stage
from pipeline_assets.errors import Overloaded
from pipeline_assets.stages import classify_image, embed, extract_text, fetch, store, validate
from pipeline_assets_tests.conftest import Clock, Platform, open_resources

ROWS = 10_000
BATCH = 256
SPARED = 4 * BATCH
"""The rows that the primary makes before it is gone."""
BATCH_S = 2.0
"""What a batch of the fallback takes on the breakers' clock: they probe once in this hour."""
EVENT_TIME = "2026-03-02T06:05:00Z"
LARGE, SMALL = "large", "small"


@dataclass
class Accelerator:
    """What the primary rung of a stage runs on: gone after `SPARED` rows where it has a fault."""

    fault: Callable[[], Exception] | None
    made: Callable[[str], Made]
    rows: int = 0
    failed: int = 0

    def __call__(self, _resources: Any, works: Sequence[Work]) -> list[Outcome]:
        """Make them, or fail."""
        if self.fault is not None and self.rows >= SPARED:
            self.failed += 1
            raise self.fault()
        self.rows += len(works)
        return [self.made(LARGE) for _ in works]


@dataclass
class Cpu:
    """What the fallback runs on: it is always there."""

    clock: Clock
    made: Callable[[str], Made]
    calls: list[int] = field(default_factory=list)
    """How many rows each call was given."""

    def __call__(self, _resources: Any, works: Sequence[Work]) -> list[Outcome]:
        """Make them, in their time."""
        self.calls.append(len(works))
        self.clock.advance(BATCH_S)
        return [self.made(SMALL) for _ in works]


def label(family: str) -> Made:
    """The value of `image_labels`."""
    return Made(("shirt", family), confidence=0.5)


def vector(family: str) -> Made:
    """The value of `embeddings`."""
    return Made(([0.5] * 4, family, "image"))


def without_models(real: Stage, primary: RungCall, fallback: RungCall) -> Stage:
    """A real stage, with its factors, breaker and agreement, whose first rungs load no model."""
    first, second, *rest = real.rungs
    rungs = (without_model(first, primary, LARGE), without_model(second, fallback, SMALL), *rest)
    return replace(real, applies=lambda _work: True, rungs=rungs)


def without_model(real: Rung, call: RungCall, family: str) -> Rung:
    """A rung of the real name and factor."""

    def name(_resources: Any) -> str:
        return family

    return replace(
        real,
        call=call,
        requires=lambda _work: None,
        recall=None,
        family=name if real.family else None,
        producer=name,
    )


@pytest.fixture(scope="module")
def hour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with 10,000 items that declare neither page nor picture: nothing is lost."""
    data = tmp_path_factory.mktemp("outage") / "data"
    data.mkdir()
    with (data / "feed.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["item_id", "name", "kind", "event_time"])
        writer.writerows((item(n), "Shirt", "product", EVENT_TIME) for n in range(ROWS))
    with platform_of(data) as platform:
        platform.items()
        platform.run(fetch.STAGE, validate.STAGE, extract_text.STAGE)
    return data


def item(number: int) -> str:
    """An item, in the order of the hour."""
    return f"p{number:05d}"


@contextmanager
def platform_of(data: Path) -> Iterator[Platform]:
    """The platform on a data root, with its clock standing still."""
    clock = Clock()
    resources = open_resources(data, clock)
    yield Platform(resources, clock)
    resources.close()


def overloaded() -> Exception:
    """As a model server says it."""
    return Overloaded("503")


@pytest.mark.parametrize("fault", [MemoryError, overloaded])
def test_an_outage_costs_few_calls_and_every_row_has_its_value(
    hour: Path, tmp_path: Path, fault: Callable[[], Exception]
) -> None:
    """All 10,000 rows are there: those before it at 1.0, those that it hit at 0.9 x 0.8 = 0.72.

    Whoever is not asked again costs nothing: the rows that it hit go to the fallback once, in as
    many calls as if there were no other rung.
    """
    data = tmp_path / "data"
    shutil.copytree(hour, data)
    with platform_of(data) as platform:
        labelling, embedding = Accelerator(fault, label), Accelerator(fault, vector)
        fallback = Cpu(platform.clock, label)
        platform.run(
            without_models(classify_image.STAGE, labelling, fallback),
            without_models(embed.STAGE, embedding, Cpu(platform.clock, vector)),
            store.STAGE,
        )
        labels, enriched = platform.rows("image_labels"), platform.rows("enriched_items")
    rule = classify_image.STAGE.breaker
    assert rule.failures is not None
    assert labelling.failed <= math.log2(BATCH) + rule.failures + rule.probes
    assert sum(fallback.calls) == ROWS - SPARED
    assert len(fallback.calls) == math.ceil((ROWS - SPARED) / BATCH)
    assert embedding.failed == 0  # a label of the small model leaves the large one no vector
    assert {row["status"] for row in labels.values()} == {"ok"}
    spared = {item(number) for number in range(SPARED)}
    assert {key for key, row in labels.items() if row["rung"] == "accelerator_clip"} == spared
    assert {key: round(row["quality"], 4) for key, row in enriched.items()} == {
        item(number): 1.0 if number < SPARED else 0.72 for number in range(ROWS)
    }
