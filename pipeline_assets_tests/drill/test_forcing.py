"""The drill over a finished hour: real rungs and real tables, of which none is touched."""

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline_assets.accelerator.accelerator import Fault, InjectedFault
from pipeline_assets.commands.breakers import breakers, events, open_breaker
from pipeline_assets.commands.budget import budgets, pause
from pipeline_assets.core.agreement import same
from pipeline_assets.core.rows import Made, Outcome, Work
from pipeline_assets.core.stage import RungCall, Stage
from pipeline_assets.drill.forcing import (
    DrillRequest,
    drill,
    drills,
    fallbacks,
    keep,
    last_drill,
    limits,
)
from pipeline_assets.drill.judging import Drilled, DrillLimits, verdict
from pipeline_assets.errors import SettingsError, UpstreamMissing
from pipeline_assets.resources import Resources
from pipeline_assets.sample.catalogue import catalogue
from pipeline_assets.sample.shop import Shop
from pipeline_assets.stages import STAGES
from pipeline_assets_tests.conftest import (
    HOUR,
    HOUR_START,
    ITEMS,
    NEXT_HOUR,
    SEED,
    Clock,
    Goods,
    Platform,
    open_resources,
)
from pipeline_assets_tests.core.builders import Memory, Recorder, fails, make_rung, make_stage

ALL = [
    "fetched.last_good_copy",
    "validated.header_only",
    "extracted_text.plain",
    "image_labels.cpu_clip",
    "image_labels.rules",
    "embeddings.cpu_clip",
    "embeddings.text_hash",
]


def names_of(platform: Platform, stage: str) -> set[str]:
    """The rows of a table that its primary made."""
    primary = next(each.rungs[0].name for each in STAGES if each.name == stage)
    return {name for name, row in platform.rows(stage).items() if row["rung"] == primary}


def drill_all(resources: Resources, **options: Any) -> dict[str, Drilled]:
    """Drill everything; what came of each fallback by name."""
    wanted = DrillRequest(**{"items": 1000, "seed": "seed", **options})
    return {found.name: found for found in drill(resources, wanted)}


def files(data: Path) -> dict[str, str]:
    """The digest of every file, but for the state database and the drill's own table."""
    return {
        str(path.relative_to(data)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(data.rglob("*"))
        if path.is_file() and not path.name.startswith("state.db")
    }


def breakers_of(resources: Resources) -> list[Any]:
    """All that is known of breakers."""
    return [resources.breakers.all(), breakers(resources), events(resources, None, 100)]


@dataclass(frozen=True)
class Everything:
    """A drill that has ended: what came of each fallback, and what there was before it."""

    platform: Platform
    found: dict[str, Drilled]
    before: dict[str, str]
    breakers: list[Any]


@pytest.fixture
def toy(finished_copy: Platform, monkeypatch: pytest.MonkeyPatch) -> "Toy":
    """A stage of one's own in the finished hour: the length of each item's name."""
    return Toy(finished_copy, monkeypatch)


class Toy:
    """Names what items are called; the fallback is what the test is about."""

    def __init__(self, platform: Platform, patch: pytest.MonkeyPatch) -> None:
        self.platform, self.resources, self._patch = platform, platform.resources, patch
        self.items = sorted(platform.rows("items"))

    def stage(self, call: RungCall, **rung: Any) -> Stage:
        """The stage with this fallback."""
        primary = make_rung(call=lambda _resources, works: [Made((w.id[0],)) for w in works])
        fallback = make_rung("fallback", call, factor=0.9, **rung)
        return make_stage(primary, fallback, agrees=same("label"))

    def drill(self, call: RungCall, *, items: int = 1000, **rung: Any) -> Drilled:
        """Materialize the stage, and drill its fallback."""
        stage = self.stage(call, **rung)
        self.platform.run(stage)
        return self.drill_stage(stage, items)

    def drill_stage(self, stage: Stage, items: int = 1000) -> Drilled:
        """Drill the stage, and no other."""
        self._patch.setattr("pipeline_assets.drill.forcing.all_stages", lambda _settings: (stage,))
        [found] = drill(self.resources, DrillRequest(items, "seed"))
        return found


def named_by_number(right: Sequence[str]) -> RungCall:
    """Right for these items, and wrong for all others."""

    def call(_resources: Any, works: Sequence[Work]) -> list[Outcome]:
        return [Made((work.id[0] if work.id[0] in right else "wrong",)) for work in works]

    return call


@pytest.fixture(scope="module")
def everything(
    finished_root: Path, tmp_path_factory: pytest.TempPathFactory, shop: Shop
) -> Iterator[Everything]:
    """A drill of all fallbacks on all rows of the finished hour."""
    data = tmp_path_factory.mktemp("drilled") / "data"
    shutil.copytree(finished_root, data)
    clock = Clock()
    resources = open_resources(data, clock, shop)
    before, known = files(data), breakers_of(resources)
    found = drill_all(resources)
    yield Everything(Platform(resources, clock), found, before, known)
    resources.close()


def test_every_fallback_is_forced_on_the_rows_that_the_primary_made(everything: Everything) -> None:
    """On all of them where so many are wanted."""
    platform, found = everything.platform, everything.found
    assert list(found) == ALL == fallbacks(platform.resources.settings)
    for each in found.values():
        assert each.rows == len(names_of(platform, each.stage)) > 0
        assert (each.first_hour, each.last_hour) == (HOUR, HOUR)
        assert each.ms_p50 is not None
        assert each.ms_p95 is not None
        assert 0 < each.ms_p50 <= each.ms_p95
        assert each.agreement is not None
        assert 0 < each.agreement <= 1
        assert 0 < each.compared <= each.made


def test_the_fallbacks_of_the_package_work(everything: Everything) -> None:
    """Words name no label of a product or two: then there is nothing to go by."""
    settings = everything.platform.resources.settings
    said = verdict(list(everything.found.values()), limits(settings))
    assert (said.broken, said.disagreeing) == ((), ())
    for each in everything.found.values():
        assert each.made == each.asked
        assert set(each.errors) <= ({"upstream"} if each.rung == "rules" else set())


def test_what_is_measured_is_what_the_primary_made(everything: Everything) -> None:
    """A copy has the bytes that were fetched; what decoding shows, a header says."""
    found = everything.found
    assert found["fetched.last_good_copy"].agreement == 1.0
    assert found["validated.header_only"].agreement == 1.0
    assert 0.5 < (found["extracted_text.plain"].agreement or 0) < 1
    assert 0.5 < (found["image_labels.cpu_clip"].agreement or 0) < 1


def test_a_drill_changes_no_table_no_file_and_no_breaker(everything: Everything) -> None:
    """It adds its own table, and nothing else; a run afterwards has nothing to do."""
    platform, resources = everything.platform, everything.platform.resources
    assert files(resources.data) == everything.before
    keep(resources, everything.found.values(), resources.clock(), "run")
    after = files(resources.data)
    assert {name: after.get(name) for name in everything.before} == everything.before
    new = [name for name in after.keys() - everything.before.keys() if name.startswith("tables/")]
    assert new == ["tables/fallback_drill/hour=all/part.parquet"]
    assert breakers_of(resources) == everything.breakers
    assert not any(report.planned for report in platform.run().values())


def test_breakers_that_are_open_keep_no_drill_away(finished_copy: Platform) -> None:
    """An outage of the primary does neither."""
    resources = finished_copy.resources
    open_breaker(resources, "image_labels.cpu_clip", None)
    resources.accelerator.fail(InjectedFault(Fault.UNAVAILABLE))
    known = breakers_of(resources)
    found = drill_all(resources)["image_labels.cpu_clip"]
    assert (found.made, found.errors) == (found.rows, {})
    assert breakers_of(resources) == known


def test_a_fallback_that_agrees_on_seven_rows_of_ten_is_measured_so(toy: Toy) -> None:
    """Exactly, and that is the factor which the drill supports."""
    right = toy.items[: ITEMS * 7 // 10]
    found = toy.drill(named_by_number(right))
    assert (found.rows, found.made, found.compared) == (ITEMS, ITEMS, ITEMS)
    assert found.agreement == pytest.approx(0.7)
    assert found.supported == 0.7
    assert found.factor == 0.9
    wanted = {"labels.fallback": 0.7}
    assert not verdict([found], DrillLimits(errors=0.0, agreement=wanted)).disagreeing
    more = {"labels.fallback": 0.71}
    assert verdict([found], DrillLimits(errors=0.0, agreement=more)).disagreeing


def test_a_sample_is_as_large_as_it_is_wanted(toy: Toy) -> None:
    """The same rows each time, in calls of ten."""
    recorder = Recorder(named_by_number(toy.items))
    first = toy.drill(recorder, items=25)
    assert first.rows == 25
    assert recorder.sizes == [10, 10, 5]
    drawn = sorted(item for call in recorder.calls for item in call)
    assert drawn != toy.items[:25]
    again = Recorder(named_by_number(toy.items))
    toy.drill_stage(toy.stage(again), items=25)
    assert again.calls == recorder.calls


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), "resource_exhausted"),
        (RuntimeError("no idea"), "internal"),
        (TimeoutError(), "timeout"),
        (ConnectionResetError(), "network"),
    ],
)
def test_a_fallback_that_raises_is_caught_counted_and_broken(
    toy: Toy, error: Exception, kind: str
) -> None:
    """No breaker hears of it."""
    known = breakers_of(toy.resources)
    found = toy.drill(fails(error))
    assert (found.rows, found.made, found.compared) == (ITEMS, 0, 0)
    assert found.errors == {kind: ITEMS}
    [line] = verdict([found], limits(toy.resources.settings)).broken
    assert line.startswith(f"labels.fallback made no value of {ITEMS} of {ITEMS} rows: ")
    assert [each["breaker"] for each in breakers_of(toy.resources)[1]] == [
        each["breaker"] for each in known[1]
    ]


def test_a_batch_that_does_not_fit_into_memory_is_halved_as_in_a_run(toy: Toy) -> None:
    """That is no error of the fallback, and no size to remember."""
    found = toy.drill(Memory(limit=4))
    assert (found.made, found.errors) == (ITEMS, {})
    assert toy.resources.sizes.size("labels.fallback", 256) == 256


def test_kept_results_are_not_recalled(toy: Toy) -> None:
    """The work is done; memory proves nothing."""

    def recall(_resources: Any, _works: Sequence[Work]) -> list[Made | None]:
        raise AssertionError("nothing is recalled")

    recorder = Recorder(named_by_number(toy.items))
    toy.drill(recorder, recall=recall)
    assert sum(recorder.sizes) == ITEMS


def test_a_row_without_what_the_fallback_needs_is_nobodys_fault(toy: Toy) -> None:
    """It is said, and fails no check, as long as others have it."""
    lucky = toy.items[0]
    found = toy.drill(
        named_by_number(toy.items), requires=lambda w: "nothing" if w.id[0] == lucky else None
    )
    assert found.errors == {"upstream": 1}
    assert found.made == ITEMS - 1
    assert not verdict([found], DrillLimits(errors=0.0, agreement={})).broken
    found = toy.drill(fails(UpstreamMissing("there is none")))
    assert verdict([found], DrillLimits(errors=1.0, agreement={})).broken


def test_paid_calls_are_paid_for_and_not_made_while_they_are_paused(toy: Toy) -> None:
    """A cap is a cap, whoever spends; without money nothing was learned."""
    recorder = Recorder(named_by_number(toy.items))
    found = toy.drill(recorder, cost_usd=0.01)
    spent = {each["stage"]: each["spent_usd"] for each in budgets(toy.resources)}
    assert found.cost_usd == pytest.approx(ITEMS * 0.01)
    assert spent["labels"] == pytest.approx(ITEMS * 0.01)
    pause(toy.resources, None, "audit")
    recorder.calls.clear()
    found = toy.drill(recorder, cost_usd=0.01)
    assert (found.errors, found.asked, recorder.calls) == ({"budget": ITEMS}, 0, [])
    assert not verdict([found], DrillLimits(errors=0.0, agreement={})).broken


def test_rows_that_a_fallback_made_are_no_examples(toy: Toy) -> None:
    """There is nothing to agree with."""
    last = toy.items[-1]
    stage = toy.stage(named_by_number(toy.items))
    failing = replace(
        stage.rungs[0],
        call=lambda _resources, works: [
            UpstreamMissing("x") if w.id[0] == last else Made((w.id[0],)) for w in works
        ],
    )
    stage = replace(stage, rungs=(failing, *stage.rungs[1:]))
    toy.platform.run(stage)
    assert toy.platform.rows("labels")[last]["rung"] == "fallback"
    assert toy.drill_stage(stage).rows == ITEMS - 1


def test_rows_of_another_producer_are_no_examples(toy: Toy) -> None:
    """Agreement with what the primary no longer is says nothing of today's."""
    stage = toy.stage(named_by_number(toy.items))
    toy.platform.run(stage)
    newer = replace(stage.rungs[0], producer=lambda _resources: "primary/2")
    assert toy.drill_stage(replace(stage, rungs=(newer, *stage.rungs[1:]))).rows == 0


def test_rows_whose_input_has_changed_since_are_no_examples(toy: Toy, goods: Goods) -> None:
    """The fallback would be asked about something else."""
    stage = toy.stage(named_by_number(toy.items))
    toy.platform.run(stage)
    changed = list(catalogue(ITEMS, SEED, HOUR_START, base_url=goods.url))
    toy.platform.feed([replace(changed[0], name="Another name"), *changed[1:]])
    toy.platform.items()
    assert toy.drill_stage(stage).rows == ITEMS - 1


def test_the_newest_hours_come_first_and_an_hour_may_be_named(
    platform: Platform, goods: Goods
) -> None:
    """Older ones fill the sample."""
    old = [goods.product(f"old-{n}") for n in range(5)]
    new = [
        replace(goods.product(f"new-{n}"), event_time=HOUR_START + timedelta(hours=1, minutes=5))
        for n in range(3)
    ]
    platform.feed([*old, *new])
    for hour in (HOUR, NEXT_HOUR):
        platform.items(hour)
        platform.run(hour=hour)

    def hours_of(items: int, hour: str | None = None) -> tuple[int, str | None, str | None]:
        found = drill_all(platform.resources, items=items, hour=hour)["embeddings.text_hash"]
        return found.rows, found.first_hour, found.last_hour

    assert hours_of(3) == (3, NEXT_HOUR, NEXT_HOUR)
    assert hours_of(4) == (4, HOUR, NEXT_HOUR)
    assert hours_of(100) == (8, HOUR, NEXT_HOUR)
    assert hours_of(100, HOUR) == (5, HOUR, HOUR)


def test_a_stage_without_an_hour_has_nothing_to_drill(resources: Resources) -> None:
    """A new installation's first Sunday is no error."""
    found = drill_all(resources)
    assert list(found) == ALL
    assert {each.rows for each in found.values()} == {0}
    said = verdict(list(found.values()), limits(resources.settings))
    assert (said.broken, said.disagreeing) == ((), ())


def test_an_hour_that_was_never_materialized_is_refused(platform: Platform) -> None:
    """With what to do."""
    with pytest.raises(FileNotFoundError, match=f"no table for hour {NEXT_HOUR}: run the hour"):
        drill_all(platform.resources, hour=NEXT_HOUR)


def test_a_wish_for_a_fallback_that_there_is_not_is_refused(tmp_path: Path, shop: Shop) -> None:
    """Before anything is called, and with those that there are."""
    resources = open_resources(
        tmp_path / "data", Clock(), shop, drill_agreement={"image_labels.cpu": 0.9}
    )
    with pytest.raises(SettingsError, match="PIPELINE_DRILL_AGREEMENT") as refused:
        drill_all(resources)
    assert refused.value.value == "image_labels.cpu"
    assert "image_labels.cpu_clip" in str(refused.value)
    resources.close()


def test_drills_are_kept_one_after_the_other_and_the_last_one_is_read(
    finished_copy: Platform,
) -> None:
    """With the hour that each was drilled at, and the run."""
    resources = finished_copy.resources
    assert last_drill(resources.tables) == []
    first = list(drill(resources, DrillRequest(10, "seed")))
    keep(resources, first, resources.clock(), "first")
    assert last_drill(resources.tables) == first
    second = [replace(first[0], errors={"internal": 2}, error="why")]
    keep(resources, second, resources.clock(), "second")
    assert last_drill(resources.tables) == second
    rows = drills(resources.tables).to_pylist()
    assert [row["run_id"] for row in rows] == ["first"] * len(ALL) + ["second"]
    assert dict(rows[-1]["errors"]) == {"internal": 2}
    assert [row["supported"] for row in rows[:-1]] == [each.supported for each in first]
