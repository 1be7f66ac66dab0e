"""The engine: with a made-up stage for its rules, and with the real ones for the outage."""

import errno
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy import make_url

from pipeline_assets.accelerator.accelerator import Fault, InjectedFault
from pipeline_assets.core.plan import Planned, Standing
from pipeline_assets.core.results import SLOW_RETRY
from pipeline_assets.core.rows import Made, Outcome, Work
from pipeline_assets.core.stage import Rung, Stage
from pipeline_assets.engine.engine import materialize, plan_hour
from pipeline_assets.engine.orders import Listener, Order
from pipeline_assets.errors import (
    InvalidInput,
    LeaseHeld,
    LeaseLost,
    NotFound,
    Overloaded,
    ResourceExhausted,
    StorageError,
    Timeout,
)
from pipeline_assets.resources import Resources
from pipeline_assets.sample.drawing import SAMPLE_LABELS, Subject
from pipeline_assets.stages import accelerated_rungs, classify_image, embed
from pipeline_assets.state.leases import LEASE_S
from pipeline_assets_tests.conftest import (
    HOUR,
    NEXT_HOUR,
    Clock,
    FickleShop,
    Goods,
    Platform,
    called,
    in_batches_of,
    open_resources,
)
from pipeline_assets_tests.lengths import LONG
from pipeline_assets_tests.s3 import in_a_bucket

Misbehave = Callable[[Sequence[Work]], None]


@dataclass
class Toy:
    """A stage that shouts an item's name; each rung notes its calls and may be made to fail."""

    calls: list[tuple[str, list[str]]] = field(default_factory=list)
    loud: Misbehave = lambda _works: None
    outcome: Callable[[Work], Outcome] = lambda work: Made((work["items.name"].upper(),))
    quietly: Callable[[Work], Outcome] = lambda work: Made((work["items.name"],))
    producer: str = "loud/1"
    quiet_producer: str = "quiet/1"
    micro_batch: int = 4

    @property
    def stage(self) -> Stage:
        """The declaration: `loud`, then `quiet`, then skip."""
        return Stage(
            name="toy",
            description="Names, shouted.",
            values=(pa.field("shout", pa.string()),),
            required=("shout",),
            rungs=(
                Rung(name="loud", factor=1.0, call=self._loud, reads=("items.name",),
                     producer=lambda _resources: self.producer),
                Rung(name="quiet", factor=0.5, call=self._quiet, reads=("items.name",),
                     producer=lambda _resources: self.quiet_producer),
            ),
            skip_factor=0.1,
            micro_batch=self.micro_batch,
        )  # fmt: skip

    def given(self, rung: str = "loud") -> list[str]:
        """Every item that a rung was given, in order."""
        return [item for name, items in self.calls if name == rung for item in items]

    def _loud(self, _resources: Any, works: Sequence[Work]) -> list[Outcome]:
        self.calls.append(("loud", [work.id[0] for work in works]))
        self.loud(works)
        return [self.outcome(work) for work in works]

    def _quiet(self, _resources: Any, works: Sequence[Work]) -> list[Outcome]:
        self.calls.append(("quiet", [work.id[0] for work in works]))
        return [self.quietly(work) for work in works]


NAMES = [f"i{n:02d}" for n in range(10)]


@pytest.fixture(params=["local", pytest.param("s3", marks=LONG)])
def resources(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock, shop: FickleShop
) -> Iterator[Resources]:
    """Real adapters over an empty data root, on a disk and in a bucket."""
    if request.param == "s3":
        with in_a_bucket(request.getfixturevalue("s3"), tmp_path, clock, shop) as opened:
            yield opened
    else:
        opened = open_resources(tmp_path / "data", clock, shop)
        yield opened
        opened.close()


def shards(platform: Platform) -> list[str]:
    """The durable micro-batches that are not in a table yet."""
    storage = platform.resources.shards
    return [
        name
        for pattern in ("*.arrow", "*/*.arrow")
        for name in storage.names(f"toy/hour={HOUR}", pattern)
    ]


@pytest.fixture
def ten(platform: Platform, goods: Goods) -> Platform:
    """A data root with ten items."""
    platform.feed([goods.product(name, name=name) for name in NAMES])
    platform.items()
    return platform


def raising(error: BaseException, *, at_call: int = 1) -> Misbehave:
    """Fail from the given call on."""
    seen: list[int] = []

    def misbehave(works: Sequence[Work]) -> None:
        seen.append(len(works))
        if len(seen) >= at_call:
            raise error

    return misbehave


def statuses(platform: Platform, asset: str = "toy") -> list[str]:
    """The status of each row, in order."""
    return [row["status"] for row in platform.rows(asset).values()]


def test_every_item_gets_one_row_and_a_second_run_calls_nothing(ten: Platform) -> None:
    """And publishes nothing either."""
    toy = Toy()
    first = ten.run(toy.stage)["toy"]
    assert (first.rows, first.published, first.interrupted) == (10, True, False)
    assert [row["shout"] for row in ten.rows("toy").values()] == [name.upper() for name in NAMES]
    toy.calls.clear()
    second = ten.run(toy.stage)["toy"]
    assert toy.calls == []
    assert second.rungs == {}
    assert second.standing == {Standing.CURRENT: 10}
    assert not second.published


def test_an_hour_without_items_is_a_table_of_no_rows(ten: Platform) -> None:
    """It materializes all the same, with its types."""
    ten.items(NEXT_HOUR)
    assert ten.run(Toy().stage, hour=NEXT_HOUR)["toy"].published
    table = ten.resources.tables.read("toy", NEXT_HOUR)
    assert (table.num_rows, table.schema) == (0, Toy().stage.schema)


def test_a_killed_runs_finished_batches_are_not_called_for_again(ten: Platform) -> None:
    """Whatever was durable is recovered, and only the batch in flight is redone."""
    toy = Toy(loud=raising(KeyboardInterrupt(), at_call=3))
    with pytest.raises(KeyboardInterrupt):
        ten.run(toy.stage)
    assert not ten.resources.tables.exists("toy", HOUR)
    again = Toy()
    report = ten.run(again.stage, run="second")["toy"]
    assert report.recovered_rows == 8
    assert again.given() == NAMES[8:]
    assert statuses(ten) == ["ok"] * 10
    assert [row["run_id"] for row in ten.rows("toy").values()] == ["run"] * 8 + ["second"] * 2
    assert not shards(ten)


def test_a_damaged_shard_costs_just_its_own_rows(ten: Platform) -> None:
    """A wrong hash is thrown away; the other shard stands."""
    toy = Toy(loud=raising(KeyboardInterrupt(), at_call=3))
    with pytest.raises(KeyboardInterrupt):
        ten.run(toy.stage)
    storage, damaged = ten.resources.shards, shards(ten)[0]
    storage.put(damaged, storage.whole(damaged).to_pybytes()[:-1])
    again = Toy()
    ten.run(again.stage)
    assert again.given() == [*NAMES[:4], *NAMES[8:]]
    assert statuses(ten) == ["ok"] * 10


def test_an_interrupted_run_leaves_pending_rows_that_the_next_run_finishes(ten: Platform) -> None:
    """What is finished is published, and the report says that there is more to do."""
    toy = Toy()
    order = Order("toy", HOUR, "run")
    report = materialize(
        order, ten.resources, Listener(stopped=lambda: len(toy.calls) == 2), toy.stage
    )
    assert (report.interrupted, report.published) == (True, True)
    assert statuses(ten) == ["ok"] * 8 + ["pending"] * 2
    assert ten.rows("toy")["i09"]["quality"] is None
    assert not ten.run(toy.stage)["toy"].interrupted
    assert toy.given() == NAMES
    assert statuses(ten) == ["ok"] * 10


def test_a_run_that_is_stopped_before_it_begins_changes_nothing_that_stands(ten: Platform) -> None:
    """Not even a row."""
    ten.run(Toy().stage)
    before = ten.rows("toy")
    toy = Toy(producer="loud/2")
    order = Order("toy", HOUR, "late")
    report = materialize(order, ten.resources, Listener(stopped=lambda: True), toy.stage)
    assert report.interrupted
    assert ten.rows("toy") == before


def test_progress_counts_every_row_once(ten: Platform) -> None:
    """Those that stand included."""
    told: list[int] = []
    order, stage = Order("toy", HOUR, "run"), Toy().stage
    listener = Listener(finished=lambda rows, _rungs: told.append(rows))
    for _ in range(3):
        materialize(order, ten.resources, listener, stage)
        assert sum(told) == 10
        told.clear()


def test_a_row_that_fails_falls_back_alone(ten: Platform) -> None:
    """The rest of its batch keeps its result."""

    def outcome(work: Work) -> Outcome:
        return InvalidInput("bad") if work.id == ("i03",) else Made((work["items.name"],))

    toy = Toy(outcome=outcome)
    ten.run(toy.stage)
    assert toy.given("quiet") == ["i03"]
    row = ten.rows("toy")["i03"]
    assert (row["status"], row["rung"], row["fallback_used"]) == ("ok", "quiet", "quiet")
    assert (row["quality"], row["error_kind"], row["retryable"]) == (0.5, "invalid_input", False)


def test_a_bug_is_loud_and_the_run_still_ends(ten: Platform) -> None:
    """The row is saved by the fallback, and names the type of the exception."""
    ten.run(Toy(loud=raising(KeyError("no such thing"))).stage)
    row = ten.rows("toy")["i00"]
    assert (row["rung"], row["error_kind"]) == ("quiet", "internal")
    assert "KeyError" in row["error"]


def test_a_disk_that_refuses_within_a_rung_ends_the_run_and_not_the_rows(ten: Platform) -> None:
    """What was finished stays; the next run goes on from there."""
    full = StorageError("/data/blobs", "No space left on device")
    with pytest.raises(StorageError, match="No space left"):
        ten.run(Toy(loud=raising(full, at_call=2)).stage)
    again = Toy()
    ten.run(again.stage)
    assert again.given() == NAMES[4:]
    assert [row["error_kind"] for row in ten.rows("toy").values()] == [None] * 10


@pytest.mark.parametrize("resources", ["local"], indirect=True)
def test_a_disk_that_refuses_a_checkpoint_ends_the_run(
    ten: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old table stays, and committed rows too."""
    ten.run(Toy().stage)
    before = ten.rows("toy")

    def refuse(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    changed = Toy(producer="loud/2")
    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", refuse)
        with pytest.raises(StorageError, match="No space left"):
            ten.run(changed.stage)
    assert ten.rows("toy") == before
    ten.run(changed.stage)
    assert {row["producer"] for row in ten.rows("toy").values()} == {"loud/2"}


def test_memory_that_runs_out_halves_the_batch_and_keeps_the_order(ten: Platform) -> None:
    """No row falls back while a smaller batch fits."""

    def only_two_fit(works: Sequence[Work]) -> None:
        if len(works) > 2:
            raise ResourceExhausted("out of memory")

    toy = Toy(loud=only_two_fit, micro_batch=8)
    ten.run(toy.stage)
    assert toy.given("quiet") == []
    assert [row["shout"] for row in ten.rows("toy").values()] == [name.upper() for name in NAMES]
    assert [len(items) for _rung, items in toy.calls][:4] == [8, 4, 2, 2]


def test_an_outage_is_answered_by_the_fallback_and_healed_afterwards(ten: Platform) -> None:
    """After it opened, the breaker spares the calls; healed rows are called for exactly once."""
    toy = Toy(loud=raising(Overloaded("503")), micro_batch=1)
    ten.run(toy.stage)
    assert len(toy.given()) == 5
    assert {row["rung"] for row in ten.rows("toy").values()} == {"quiet"}
    assert toy.given("quiet") == NAMES
    well = Toy(micro_batch=1)
    assert ten.run(well.stage)["toy"].standing == {Standing.NO_BETTER_RUNG: 10}
    ten.resources.breakers.probe_again(("toy.loud",))
    ten.run(well.stage)
    assert well.calls == [("loud", [name]) for name in NAMES]
    assert {row["quality"] for row in ten.rows("toy").values()} == {1.0}
    assert {row["attempts"] for row in ten.rows("toy").values()} == {2}
    assert not ten.run(well.stage)["toy"].rungs


def test_a_new_model_during_an_outage_downgrades_nothing(ten: Platform) -> None:
    """A changed producer replaces only by an equal or better rung."""
    ten.run(Toy().stage)
    ten.run(Toy(producer="loud/2", loud=raising(Overloaded("503"))).stage)
    assert {row["producer"] for row in ten.rows("toy").values()} == {"loud/1"}
    ten.resources.breakers.reset("toy.loud")
    ten.run(Toy(producer="loud/2").stage)
    assert {row["producer"] for row in ten.rows("toy").values()} == {"loud/2"}


def test_only_the_items_asked_for_are_worked_on_and_force_redoes_them(ten: Platform) -> None:
    """The others stand."""
    ten.run(Toy().stage)
    toy = Toy()
    report = ten.run(toy.stage, items=frozenset({"i03", "nobody"}), force=True)["toy"]
    assert toy.given() == ["i03"]
    assert report.standing == {Standing.NOT_ASKED_FOR: 9}


def test_items_that_were_not_asked_for_are_pending_until_they_are(ten: Platform) -> None:
    """Every item has a row from the first run on."""
    ten.run(Toy().stage, items=frozenset({"i03"}))
    assert statuses(ten) == ["pending"] * 3 + ["ok"] + ["pending"] * 6
    toy = Toy()
    ten.run(toy.stage)
    assert toy.given() == [name for name in NAMES if name != "i03"]


def test_a_changed_input_is_redone_alone(ten: Platform, goods: Goods) -> None:
    """And a late item joins the table."""
    ten.run(Toy().stage)
    names = {name: name for name in NAMES} | {"i04": "renamed", "i99": "late"}
    ten.feed([goods.product(item, name=name) for item, name in names.items()])
    ten.items()
    toy = Toy()
    ten.run(toy.stage)
    assert toy.given() == ["i04", "i99"]
    assert ten.rows("toy")["i04"]["shout"] == "RENAMED"
    assert len(ten.rows("toy")) == 11


def test_a_second_run_of_the_same_hour_is_told_so(ten: Platform) -> None:
    """It calls no rung."""
    toy = Toy()
    with ten.resources.leases.acquire(f"toy/{HOUR}"), pytest.raises(LeaseHeld):
        ten.run(toy.stage)
    assert toy.calls == []


def test_an_owner_that_slept_past_its_lease_changes_nothing(ten: Platform) -> None:
    """A successor finished while it slept; the successor's table stands."""
    successor = Toy(producer="successor/1")

    def sleep_past_the_lease(_works: Sequence[Work]) -> None:
        ten.clock.advance(LEASE_S)
        slow.loud = lambda _works: None
        ten.run(successor.stage, run="successor")

    slow = Toy(loud=sleep_past_the_lease, micro_batch=20)
    with pytest.raises(LeaseLost):
        ten.run(slow.stage, run="slow")
    assert {row["run_id"] for row in ten.rows("toy").values()} == {"successor"}
    assert ten.run(successor.stage, run="next")["toy"].recovered_rows == 0
    assert {row["run_id"] for row in ten.rows("toy").values()} == {"successor"}


def test_a_plan_says_what_a_run_would_do_and_does_nothing(ten: Platform) -> None:
    """Reasons for rows to work on, standings for the others; no call, no file."""
    toy = Toy()
    order = Order("toy", HOUR, "p")
    planned = [decision for _work, decision in plan_hour(order, ten.resources, toy.stage)]
    assert [type(decision) for decision in planned] == [Planned] * 10
    assert toy.calls == []
    assert not ten.resources.tables.exists("toy", HOUR)
    ten.run(toy.stage)
    after = [decision for _work, decision in plan_hour(order, ten.resources, toy.stage)]
    assert after == [Standing.CURRENT] * 10


# The real stages: an outage of the accelerator, and work that is shared.


@pytest.fixture
def mixed(platform: Platform, goods: Goods) -> Platform:
    """Sixteen products; every fourth has no picture."""
    platform.feed(
        [
            goods.product(
                f"p{n:02d}", Subject(SAMPLE_LABELS[n % 4], "red", n), has_image=n % 4 != 3
            )
            for n in range(16)
        ]
    )
    platform.items()
    return platform


def qualities(platform: Platform) -> dict[str, float]:
    """The score of each item, rounded as it is compared."""
    return {item: round(row["quality"], 4) for item, row in platform.rows("enriched_items").items()}


def is_text_only(item: str) -> bool:
    """Whether the item has no picture."""
    return int(item[1:]) % 4 == 3


def test_an_outage_in_the_middle_degrades_just_the_rest_and_heals(mixed: Platform) -> None:
    """0.72 with a picture, 0.8 without; then only the degraded rows see the primary rung."""
    resources = mixed.resources
    resources.accelerator.fail(InjectedFault(Fault.OOM, after_rows=4))
    mixed.run(run="outage")
    labels = mixed.rows("image_labels")
    spared = {item for item, row in labels.items() if row["rung"] == "accelerator_clip"}
    degraded = set(labels) - spared
    assert len(spared) == 4
    assert qualities(mixed) == {
        item: 1.0 if item in spared else 0.8 if is_text_only(item) else 0.72 for item in labels
    }
    families = {
        (labels[item]["family"], row["space"])
        for item, row in mixed.rows("embeddings").items()
        if not is_text_only(item)
    }
    assert families == {(name, name) for name in (resources.primary.producer,
                                                  resources.fallback.producer)}  # fmt: skip

    resources.accelerator.heal()
    resources.breakers.probe_again(accelerated_rungs(resources.settings))
    healed = mixed.run(run="healed")
    pictures = [item for item in degraded if not is_text_only(item)]
    work = called(healed)
    assert work["image_labels.accelerator_clip"] == len(pictures)
    assert set(work) == {
        "image_labels.accelerator_clip",
        "embeddings.accelerator_clip",
        "enriched_items.join",
    }
    for asset in ("embeddings", "enriched_items"):
        redone = {i for i, row in mixed.rows(asset).items() if row["run_id"] == "healed"}
        assert redone == degraded
    assert set(qualities(mixed).values()) == {1.0}
    assert called(mixed.run(run="third")) == {}


def test_an_open_breaker_is_left_alone_until_the_accelerator_is_back(mixed: Platform) -> None:
    """Once enough calls have failed, a rerun makes no call of the primary rung."""
    mixed.resources.accelerator.fail(InjectedFault(Fault.OOM))
    mixed.run()
    mixed.run()
    degraded = qualities(mixed)
    again = called(mixed.run(run="again"))
    assert not [rung for rung in again if rung.endswith("accelerator_clip")]
    assert qualities(mixed) == degraded


def test_the_same_picture_goes_through_the_model_once(platform: Platform, goods: Goods) -> None:
    """In two items, in two stages, and again in the next hour under another address."""
    rows: list[int] = []
    primary = platform.resources.primary

    def counted(count: int, call: Callable[[], Any]) -> Any:
        rows.append(count)
        return primary.run(count, call)

    platform.resources.__dict__["primary"] = replace(primary, run=counted)
    platform.feed([goods.product("a"), goods.product("b", file_name="other")])
    platform.items()
    platform.run()
    assert rows == [1]
    vectors = [tuple(row["embedding"]) for row in platform.rows("embeddings").values()]
    assert vectors[0] == vectors[1]
    later = goods.product("c", file_name="third")
    later = replace(later, event_time=later.event_time.replace(hour=7))
    platform.feed([later])
    platform.items(NEXT_HOUR)
    platform.run(hour=NEXT_HOUR)
    assert rows == [1]
    assert platform.rows("enriched_items", NEXT_HOUR)["c"]["quality"] == 1.0


def test_a_url_that_is_gone_is_answered_with_its_last_good_copy(
    platform: Platform, goods: Goods, shop: FickleShop
) -> None:
    """The row says so, and everything downstream goes on from the old bytes."""
    first = goods.product("a")
    again = replace(first, event_time=first.event_time.replace(hour=7))
    platform.feed([first, again])
    platform.items()
    platform.run()
    assert first.image_url is not None
    shop.gone[first.image_url.removeprefix(shop.url)] = 404
    platform.items(NEXT_HOUR)
    platform.run(hour=NEXT_HOUR)
    row = platform.rows("fetched", NEXT_HOUR)["a/image"]
    assert (row["status"], row["rung"], row["error_kind"]) == ("ok", "last_good_copy", "not_found")
    assert row["sha256"] == platform.rows("fetched")["a/image"]["sha256"]
    assert platform.rows("enriched_items", NEXT_HOUR)["a"]["quality"] == pytest.approx(0.95)


def test_the_state_database_can_be_lost(mixed: Platform) -> None:
    """The tables carry all that matters: no row is lost and none redone."""
    mixed.run()
    before = qualities(mixed)
    mixed.resources.close()
    database = Path(make_url(mixed.resources.settings.database_url).database or "")
    for path in database.parent.glob("state.db*"):
        path.unlink()
    reopened = Resources(mixed.resources.settings, mixed.clock)
    later = Platform(reopened, mixed.clock)
    assert called(later.run(run="after")) == {}
    assert qualities(later) == before
    reopened.close()


@pytest.mark.parametrize("stage", [classify_image.STAGE, embed.STAGE], ids=lambda each: each.name)
def test_smaller_batches_give_the_same_rows(finished_copy: Platform, stage: Stage) -> None:
    """The size of a batch is a matter of memory, not of results."""
    before = finished_copy.rows(stage.name)
    finished_copy.run(in_batches_of(stage, 3), run="small", force=True)
    after = finished_copy.rows(stage.name)
    assert {item: row["rung"] for item, row in after.items()} == {
        item: row["rung"] for item, row in before.items()
    }


def test_a_run_that_heals_rolls_no_new_producer_out(ten: Platform) -> None:
    """Only rows that may be better now are touched; what a new producer would redo stands."""
    ten.run(Toy().stage)
    toy = Toy(producer="loud/2")
    healing = ten.run(toy.stage, only_improvable=True)["toy"]
    assert toy.given() == []
    assert healing.standing == {"not asked for": 10}
    ten.run(toy.stage)
    assert toy.given() == NAMES


@pytest.mark.parametrize("quiet_producer", ["quiet/1", "quiet/2"])
def test_healing_uses_up_a_rows_attempts_whatever_else_has_changed(
    ten: Platform, quiet_producer: str
) -> None:
    """Then it waits a day, also where a new producer of the rung that made it makes nothing."""
    ten.run(Toy(outcome=lambda _work: Timeout("slow")).stage)
    toy = Toy(
        outcome=lambda _work: Timeout("slow"),
        quietly=lambda _work: NotFound("404"),
        quiet_producer=quiet_producer,
    )
    for _ in range(14):
        ten.clock.advance(3600)
        ten.run(toy.stage, only_improvable=True)
    rows = ten.rows("toy").values()
    assert len(toy.given("loud")) == (toy.stage.attempts - 1) * len(NAMES)
    assert {(row["rung"], row["attempts"]) for row in rows} == {("quiet", toy.stage.attempts)}
    assert all(row["retry_at"] > ten.clock() for row in rows)
    ten.clock.advance(SLOW_RETRY.total_seconds())
    assert ten.run(toy.stage, only_improvable=True)["toy"].planned.total() == len(NAMES)
