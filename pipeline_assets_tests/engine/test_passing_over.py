"""A finished hour is passed over without a look at its rows, and only as long as it is one."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from pipeline_assets.core.plan import Standing, Verdict
from pipeline_assets.core.rows import Made
from pipeline_assets.engine.shard import OpenOrder
from pipeline_assets.errors import NotFound, Overloaded
from pipeline_assets.state.decisions import DeadRow
from pipeline_assets_tests.conftest import HOUR, Goods, Platform
from pipeline_assets_tests.engine.test_engine import NAMES, Toy, raising, ten

__all__ = ["ten"]


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The first item of each piece of an hour that is planned."""
    spans: list[str] = []
    decisions = OpenOrder.decisions

    def noted(opened: OpenOrder, span: tuple[str, str], situation: object) -> object:
        spans.append(span[0])
        return decisions(opened, span, situation)  # type: ignore[arg-type]

    monkeypatch.setattr(OpenOrder, "decisions", noted)
    return spans


def test_a_finished_hour_is_passed_over_and_counted_as_it_stands(
    ten: Platform, looked_at: list[str]
) -> None:
    """Its rows are not read, and nothing is written."""
    ten.run(Toy().stage)
    looked_at.clear()
    for _ in range(2):
        report = ten.run(Toy().stage)["toy"]
        assert (report.rows, report.published) == (10, False)
        assert report.standing == {Standing.CURRENT: 10}
    assert looked_at == []


def corrected(platform: Platform, goods: Goods) -> None:
    """An item of the feed is another one now."""
    platform.feed([goods.product(name, name=name) for name in (*NAMES[1:], "new")])
    platform.items()


def table_written(platform: Platform, _goods: Goods) -> None:
    """Somebody took a row out of the table: retention, say."""
    tables = platform.resources.tables
    tables.write("toy", HOUR, tables.read("toy", HOUR).slice(1))


def breaker_opened(platform: Platform, _goods: Goods) -> None:
    """What could be called no longer can, or can again."""
    platform.resources.breakers.open_for("toy.loud", 60.0)


def discarded(platform: Platform, _goods: Goods) -> None:
    """A person has decided about a row."""
    row = platform.rows("toy")["i00"]
    dead = DeadRow(HOUR, "toy", ("i00",), row["key"], row["updated_at"])
    platform.resources.decisions.decide([dead], Verdict.DISCARD, "why not")


@pytest.mark.parametrize("change", [corrected, table_written, breaker_opened, discarded])
def test_whatever_decides_about_a_row_has_the_rows_looked_at_again(
    ten: Platform,
    goods: Goods,
    looked_at: list[str],
    change: Callable[[Platform, Goods], None],
) -> None:
    """Once: then it is finished again."""
    ten.run(Toy().stage)
    looked_at.clear()
    change(ten, goods)
    ten.run(Toy().stage)
    assert len(looked_at) == 1
    ten.run(Toy().stage)
    assert len(looked_at) == 1
    assert {row["status"] for row in ten.rows("toy").values()} == {"ok"}


def test_another_producer_and_what_is_forced_are_no_finished_hour(
    ten: Platform, looked_at: list[str]
) -> None:
    """Nor is what was asked for of single items, or of those that may be better."""
    ten.run(Toy().stage)
    looked_at.clear()
    ten.run(Toy(producer="loud/2").stage)
    ten.run(Toy(producer="loud/2").stage, force=True)
    ten.run(Toy(producer="loud/2").stage, items=frozenset({"i01"}))
    ten.run(Toy(producer="loud/2").stage, only_improvable=True)
    assert len(looked_at) == 4
    ten.run(Toy(producer="loud/2").stage, only_improvable=True)
    assert len(looked_at) == 4


@pytest.mark.parametrize("asked", [None, timedelta(hours=1)])
def test_rows_that_may_be_tried_again_are_looked_at_when_it_is_time(
    ten: Platform, looked_at: list[str], asked: timedelta | None
) -> None:
    """At once, in every run, where nobody asked for a wait."""
    busy = Overloaded("503", retry_after=asked)
    failing = Toy(
        outcome=lambda work: busy if work.id[0] == "i03" else Made(("A",)),
        quietly=lambda _work: NotFound("nothing"),
    )
    ten.run(failing.stage)
    looked_at.clear()
    ten.run(failing.stage)
    assert len(looked_at) == (asked is None)
    looked_at.clear()
    ten.clock.advance(3600)
    ten.run(failing.stage)
    assert len(looked_at) == 1


def test_a_killed_run_leaves_no_finished_hour(ten: Platform, looked_at: list[str]) -> None:
    """What it left durable is folded by the next, although the inputs are what they were."""
    ten.run(Toy().stage)
    with pytest.raises(KeyboardInterrupt):
        ten.run(Toy(loud=raising(KeyboardInterrupt(), at_call=2)).stage, force=True, run="killed")
    looked_at.clear()
    report = ten.run(Toy().stage)["toy"]
    assert (report.recovered_rows, report.published) == (4, True)
    assert [row["run_id"] for row in ten.rows("toy").values()] == ["killed"] * 4 + ["run"] * 6
