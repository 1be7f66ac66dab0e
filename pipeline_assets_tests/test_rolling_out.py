"""Rolling out labels and a model, as `docs/rolling-out.md` tells it: plan, run, outage, back again.

The story is played once through the commands; the tests look at what each step said and left.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline_assets.accelerator.accelerator import Fault, InjectedFault
from pipeline_assets.commands.accelerator import heal
from pipeline_assets.commands.plan import NOTHING_TO_DO
from pipeline_assets.commands.plan_range import FOLLOWS, plan_range
from pipeline_assets.commands.search import search
from pipeline_assets.core.plan import Reason
from pipeline_assets.models.clip import SHIPPED_MODELS
from pipeline_assets.resources import MODEL_FACT, Resources
from pipeline_assets.sample.drawing import SAMPLE_LABELS, Subject
from pipeline_assets.stages import classify_image
from pipeline_assets_tests import hours
from pipeline_assets_tests.conftest import (
    HOUR,
    Clock,
    FickleShop,
    Goods,
    Platform,
    Reports,
    called,
    open_resources,
)
from pipeline_assets_tests.hours import Row

ITEMS = 30
NEW_LABEL = "watch"
OLD_LABELS = tuple(label for label in SAMPLE_LABELS if label != NEW_LABEL)
NEW_LABELS = (*OLD_LABELS, NEW_LABEL)
LABELS, VECTORS, ENRICHED = REMADE = ("image_labels", "embeddings", "enriched_items")
BEFORE = ("fetched", "validated", "extracted_text")


@dataclass(frozen=True)
class Step:
    """One step of a roll-out: what the plan said, what the run did, and the tables after it."""

    planned: dict[str, Any]
    reports: Reports
    tables: dict[str, dict[str, Row]]

    @property
    def called(self) -> dict[str, int]:
        """The rows that each rung was given."""
        return called(self.reports)

    def reasons(self, stage: str) -> dict[str, int]:
        """The rows of a stage that were planned, by reason."""
        return dict(self.planned["rows"].get(stage, {}))

    def worked_on(self, stage: str) -> int:
        """The rows of a stage that the run took up."""
        return self.reports[stage].planned.total()

    def values(self, stage: str, *columns: str) -> dict[str, tuple[Any, ...]]:
        """These columns of a table, by row."""
        rows = self.tables[stage].items()
        return {key: tuple(row[column] for column in columns) for key, row in rows}


@dataclass(frozen=True)
class Story:
    """The hour as it was, and every step after that."""

    before: Step
    labels: Step
    found_meanwhile: list[str]
    outage: Step
    model: Step
    back: Step


@dataclass(frozen=True)
class Root:
    """A data root that is opened under one setting after the other."""

    data: Path
    clock: Clock
    shop: FickleShop

    @contextmanager
    def opened(self, **settings: Any) -> Iterator[Platform]:
        """The platform under these settings."""
        resources = open_resources(self.data, self.clock, self.shop, **settings)
        yield Platform(resources, self.clock)
        resources.close()

    def step(self, **settings: Any) -> Step:
        """Plan the hour and run it, under these settings."""
        with self.opened(**settings) as platform:
            platform.items()
            told = plan_range(platform.resources, [HOUR], items=frozenset(), force=False)
            reports = platform.run()
            enriched = platform.resources.tables.read(ENRICHED, HOUR)
            platform.resources.search.replace_hour(HOUR, enriched)
            tables = {stage: platform.rows(stage) for stage in REMADE}
        return Step(told["total"], reports, tables)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, shop: FickleShop) -> Story:
    """New labels, then a new model in an outage and after it, then the old model again."""
    folder = tmp_path_factory.mktemp("rolling-out")
    root, model = Root(folder / "data", Clock(), shop), folder / "clip-2"
    hours.write_goods(root.data, hours.goods_of_an_hour(shop.url, ITEMS))
    shutil.copytree(SHIPPED_MODELS["sample-fallback"], model)
    other = {"labels": NEW_LABELS, "primary_model": f"local-dir:{model}"}
    before, labels = root.step(labels=OLD_LABELS), root.step(labels=NEW_LABELS)
    with root.opened(**other) as platform:
        hits = search(platform.resources, "red shirt", mode="vector", top=5)
        platform.resources.accelerator.fail(InjectedFault(Fault.UNAVAILABLE))
    outage = root.step(**other)
    with root.opened() as platform:
        heal(platform.resources)
    found = [hit["item_id"] for hit in hits]
    return Story(before, labels, found, outage, root.step(**other), root.step(labels=NEW_LABELS))


def test_new_labels_redo_the_labels_and_what_reads_them(story: Story) -> None:
    """Nothing is fetched, decoded or embedded again; the plan counts what the run then works on."""
    labels = story.labels
    assert set(labels.reasons(LABELS)) == {Reason.PRODUCER_CHANGED, NOTHING_TO_DO}
    assert labels.worked_on(LABELS) == sum(labels.reasons(LABELS).values())
    assert labels.reasons(VECTORS) == {FOLLOWS: labels.reasons(LABELS)[Reason.PRODUCER_CHANGED]}
    assert not any(labels.worked_on(stage) for stage in (*BEFORE, VECTORS))
    assert 0 < labels.worked_on(ENRICHED) <= sum(labels.reasons(ENRICHED).values())


def test_new_labels_need_no_model_while_vectors_are_kept(story: Story) -> None:
    """The new one is found by comparing it with them."""
    old, new = (
        {row["label"] for row in step.tables[LABELS].values()}
        for step in (story.before, story.labels)
    )
    assert NEW_LABEL in new - old
    assert "image_labels.accelerator_clip" not in story.labels.called


def test_what_the_earlier_model_embedded_is_found_until_it_is_embedded_anew(story: Story) -> None:
    """Its model is remembered, although no setting names it any more."""
    assert story.found_meanwhile


@pytest.mark.parametrize(
    "name", ["local-dir:/no-such-folder", "sample-fallback"], ids=["it is gone", "it is another"]
)
def test_an_earlier_model_that_is_not_there_as_it_was_is_no_model(
    resources: Resources, name: str
) -> None:
    """Its vectors are left out; what another model makes of a query does not compare."""
    resources.state.remember(f"{MODEL_FACT}{name}:then", "earlier@00000000")
    assert resources.model_of("earlier@00000000") is None


def test_an_outage_during_a_roll_out_makes_nothing_worse(story: Story) -> None:
    """Every row stays with the model that made it, and is in the plan after that."""
    outage, labels, model = story.outage, story.labels, story.model
    for stage in REMADE:
        columns = ("status", "rung", "producer", "quality")
        assert outage.values(stage, *columns) == labels.values(stage, *columns)
    changed = outage.reasons(LABELS)[Reason.PRODUCER_CHANGED]
    assert model.reasons(LABELS) == {Reason.PRODUCER_CHANGED: changed}


def test_a_new_model_redoes_labels_and_vectors(story: Story) -> None:
    """The plan counts what the run then works on, and no vector of the old model is left."""
    model = story.model
    for stage in REMADE:
        assert model.worked_on(stage) == sum(model.reasons(stage).values()) > 0
    assert not any(model.worked_on(stage) for stage in BEFORE)
    assert all(row["space"].startswith("clip-2@") for row in model.tables[VECTORS].values())
    for rung, rows in model.called.items():
        assert rows <= model.planned["calls_at_most"][rung]


def test_a_label_brings_its_vector_along(story: Story) -> None:
    """Just the items without a picture are embedded by a call of their own."""
    labelled = story.model.called["image_labels.accelerator_clip"]
    embedded = story.model.called["embeddings.accelerator_clip"]
    assert labelled > 0
    assert labelled + embedded <= story.model.worked_on(VECTORS)


def test_the_old_model_again_costs_no_call(story: Story) -> None:
    """Its results are still kept: the rows are what they were before."""
    back = story.back
    assert back.reasons(LABELS)[Reason.PRODUCER_CHANGED] > 0
    assert not {"image_labels.accelerator_clip", "embeddings.accelerator_clip"} & set(back.called)
    for stage, value in ((LABELS, "label"), (VECTORS, "embedding")):
        columns = (value, "rung", "producer", "quality", "key")
        assert back.values(stage, *columns) == story.labels.values(stage, *columns)


def test_the_time_is_estimated_once_something_was_measured(story: Story) -> None:
    """Before the first hour nobody can say."""
    assert story.before.planned["seconds"] is None
    assert story.model.planned["seconds"] > 0


def test_a_new_label_has_its_vector_though_the_accelerator_is_gone_by_then(
    platform: Platform, goods: Goods, shop: FickleShop
) -> None:
    """It was kept with the label; an item without a picture stays with the earlier model."""
    platform.feed([goods.product("pictured"), goods.product("named", has_image=False)])
    platform.items()
    platform.run()
    root = Root(platform.resources.data, platform.clock, shop)
    with root.opened(primary_model="sample-fallback") as changed:
        changed.run(classify_image.STAGE)
        changed.resources.accelerator.fail(InjectedFault(Fault.UNAVAILABLE))
        changed.run()
        spaces = {key: row["space"] for key, row in changed.rows(VECTORS).items()}
        new = changed.resources.primary.producer
    assert spaces == {"pictured": new, "named": platform.resources.primary.producer}


def test_what_is_degraded_heals_also_before_its_hour_is_rolled_out(
    platform: Platform, goods: Goods, shop: FickleShop
) -> None:
    """By the new labels; rows that are as good as they can be wait for the backfill."""
    platform.feed([goods.product(f"p{n}", Subject("shirt", "red", n)) for n in range(6)])
    platform.items()
    platform.resources.accelerator.fail(InjectedFault(Fault.OOM, after_rows=2))
    platform.run()
    heal(platform.resources)
    with Root(platform.resources.data, platform.clock, shop).opened(labels=OLD_LABELS) as changed:
        report = changed.run(only_improvable=True, run="heal")[LABELS]
        rows = changed.rows(LABELS).values()
    assert report.planned == {Reason.PRODUCER_CHANGED: 4}
    assert [row["rung"] for row in rows] == ["accelerator_clip"] * 6
    assert sum(row["run_id"] == "heal" for row in rows) == 4
