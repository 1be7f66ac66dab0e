"""A state database that was lost between two runs."""

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline_assets.commands.dead_letters import EVERYTHING, LetterFilter, dead_letters, decide
from pipeline_assets.core.breaker import BreakerRule
from pipeline_assets.core.contract import SCHEMA_VERSION, SCHEMA_VERSION_KEY
from pipeline_assets.core.names import DEAD_LETTERS, QUALITY_SUMMARY
from pipeline_assets.core.plan import Verdict
from pipeline_assets.monitoring.derived import derive
from pipeline_assets.monitoring.known_hours import learn_hours
from pipeline_assets.stages import STAGES
from pipeline_assets.state.database import BORN
from pipeline_assets.upkeep.lost_state import recover
from pipeline_assets_tests.conftest import (
    HOUR,
    FickleShop,
    Goods,
    Platform,
    called,
    open_resources,
)

FORGOTTEN = ("breakers", "budgets", "kept results", "GPU")


def delete_database(data: Path) -> None:
    """With what SQLite keeps beside it."""
    for path in data.glob("state.db*"):
        path.unlink()


def reopened(platform: Platform, shop: FickleShop) -> Platform:
    """The same data root, whose state database was deleted while nobody looked."""
    platform.resources.close()
    delete_database(platform.resources.data)
    opened = open_resources(platform.resources.data, platform.clock, shop)
    return Platform(opened, platform.clock)


@pytest.fixture
def worked(platform: Platform, goods: Goods) -> Platform:
    """An hour with a dead letter that was discarded."""
    recover(platform.resources)
    platform.feed([goods.product("good"), goods.product("lost", image_fault="404")])
    platform.items()
    platform.run()
    tables = platform.resources.tables
    tables.write(DEAD_LETTERS, HOUR, derive(tables, DEAD_LETTERS, HOUR, 0.8))
    decide(platform.resources, Verdict.DISCARD, LetterFilter(items=("lost",)), "the shop moved")
    return platform


def stands(platform: Platform) -> dict[str, object]:
    """All rows of all stages."""
    return {stage.name: platform.rows(stage.name) for stage in STAGES}


def test_a_new_data_root_has_lost_nothing(
    platform: Platform, goods: Goods, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor has one whose items are there before its first stage runs."""
    platform.feed([goods.product("a")])
    platform.items()
    assert recover(platform.resources) is None
    assert platform.resources.state.fact(BORN) is not None
    platform.run()
    assert recover(platform.resources) is None
    assert caplog.records == []


def test_nothing_is_redone_and_what_was_forgotten_is_said_once(
    worked: Platform, shop: FickleShop, caplog: pytest.LogCaptureFixture
) -> None:
    """No row is lost, and no server is asked."""
    before, asked = stands(worked), dict(shop.all_requests())
    after = reopened(worked, shop)
    said = recover(after.resources)
    assert said is not None
    assert all(word in said for word in FORGOTTEN)
    assert "state.db is new" in said
    assert "1 decisions" in said
    assert [(each.levelno, each.message) for each in caplog.records] == [(logging.WARNING, said)]
    assert recover(after.resources) is None
    after.items()
    assert called(after.run()) == {}
    assert stands(after) == before
    assert dict(shop.all_requests()) == asked
    after.resources.close()


def test_a_discard_made_before_still_stands(worked: Platform, shop: FickleShop) -> None:
    """And is listed, though no run has been since."""
    after = reopened(worked, shop)
    [letter] = dead_letters(after.resources, EVERYTHING)
    assert (letter["decision"], letter["stands"]) == ("discard", True)
    assert letter["why"] == "the shop moved"
    assert ("lost", "image") in after.resources.decisions.of("fetched", HOUR)
    after.resources.close()


def test_the_last_good_copy_is_found_again(worked: Platform, shop: FickleShop) -> None:
    """Wherever it lies in the packs."""
    url = worked.rows("fetched")["good/image"]["url"]
    before = worked.resources.copies.find([url])
    assert before
    after = reopened(worked, shop)
    assert after.resources.copies.find([url]) == {}
    recover(after.resources)
    [copy] = before.values()  # which page its validators are of is in no table
    copy = replace(copy, validators=replace(copy.validators, url=None))
    assert after.resources.copies.find([url]) == {url: copy}
    shop.gone[url.removeprefix(shop.url)] = 503
    report = after.run(STAGES[0], force=True)["fetched"]
    assert report.rungs["last_good_copy"].made == 1
    after.resources.close()


def test_the_index_of_hours_is_known_again(worked: Platform, shop: FickleShop) -> None:
    """From the summaries beside the tables."""
    tables = worked.resources.tables
    made = derive(tables, QUALITY_SUMMARY, HOUR, 0.8)
    tables.write(QUALITY_SUMMARY, HOUR, made)
    worked.resources.hours.keep(HOUR, made)
    before = worked.resources.hours.all()
    after = reopened(worked, shop)
    assert after.resources.hours.all() == []
    recover(after.resources)
    learn_hours(after.resources)  # as a sensor's next look does
    assert after.resources.hours.all() == before
    after.resources.close()


def test_breakers_are_as_new(worked: Platform, shop: FickleShop) -> None:
    """Their memory is nowhere but in the database."""
    worked.resources.breakers.gate(BreakerRule()).permit("fetched.http", "")
    after = reopened(worked, shop)
    recover(after.resources)
    assert after.resources.breakers.all() == {}
    after.resources.close()


def test_processes_that_start_at_once_say_it_once(worked: Platform, shop: FickleShop) -> None:
    """And each goes on only with all that can be known."""
    worked.resources.close()
    delete_database(worked.resources.data)
    url = worked.rows("fetched")["good/image"]["url"]
    opened = [open_resources(worked.resources.data, worked.clock, shop) for _ in range(4)]
    said: list[str | None] = []
    knew: list[bool] = []

    def start(number: int) -> None:
        said.append(recover(opened[number]))
        knew.append(bool(opened[number].copies.find([url])))
        knew.append(bool(opened[number].decisions.of("fetched", HOUR)))

    threads = [threading.Thread(target=start, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(each is not None for each in said) == 1
    assert knew == [True] * 8
    for each in opened:
        each.close()


class KilledError(BaseException):
    """The process is gone."""


def test_killed_on_the_way_it_begins_again(
    worked: Platform, shop: FickleShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a recovery is not taken for a whole one."""
    after = reopened(worked, shop)

    def killed(*_arguments: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr("pipeline_assets.state.copies.Copies.keep", killed)
        with pytest.raises(KilledError):
            recover(after.resources)
    assert after.resources.state.fact(BORN) is None
    said = recover(after.resources)
    assert said is not None
    assert "1 decisions" in said
    after.resources.close()


def damage(path: Path) -> None:
    """Bytes that are no Parquet."""
    path.write_bytes(b"not Parquet at all")


def outdate(path: Path) -> None:
    """A table of a newer program."""
    newer = {SCHEMA_VERSION_KEY: str(SCHEMA_VERSION + 1)}
    pq.write_table(pq.ParquetFile(path).read().replace_schema_metadata(newer), path)


@pytest.mark.parametrize("spoil", [damage, outdate])
@pytest.mark.parametrize("name", ["fetched", "decisions"])
def test_a_file_that_cannot_be_read_is_named_and_holds_nothing_up(
    worked: Platform, shop: FickleShop, name: str, spoil: Callable[[Path], None]
) -> None:
    """One hour's trouble is not every hour's."""
    after = reopened(worked, shop)
    spoil(after.resources.tables.path(name, HOUR))
    said = recover(after.resources)
    assert said is not None
    assert f"{name} of {HOUR} (" in said
    assert recover(after.resources) is None
    after.resources.close()
